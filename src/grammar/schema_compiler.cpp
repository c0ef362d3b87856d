#include "grammar/schema_compiler.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/json_text.h"
#include "base/text.h"

namespace loadline::grammar {
namespace {

// Depth and size of a text are checked while it is read, before anything is built of it.
class DepthCheck : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool key(string_t&) override { return true; }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }
  bool too_deep = false;

 private:
  bool enter() {
    too_deep = ++depth_ > kDeepestJson;
    return !too_deep;
  }
  bool leave() {
    --depth_;
    return true;
  }
  int depth_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, std::string_view what) {
  constexpr std::size_t kLongest = std::size_t{16} << 20;
  if (text.size() > kLongest) throw bad_input(fmt::format("{} is longer than 16 MiB", what));
  DepthCheck check;
  if (!Json::sax_parse(text, &check) && check.too_deep) {
    throw bad_input(fmt::format("{} is nested more than {} deep", what, kDeepestJson));
  }
  return loadline::parse_json<Json>(text, what);
}

Source read_json_schema(const Json& schema) {
  Source source;
  source.root = add_json_schema(source.expressions, schema);
  return source;
}

RuleId add_json_schema(Expressions& out, const Json& schema, const ValueStyle& style, const MemberStyle* members) {
  return SchemaCompiler(out, schema, style, members).compile();
}

SchemaCompiler::SchemaCompiler(Expressions& out, const Json& root, const ValueStyle& style, const MemberStyle* members)
    : out_(out), root_(root), style_(style), members_(members) {
  places_[&root] = "#";
  std::vector<std::string_view> never(style.never.begin(), style.never.end());
  if (!style.quote.empty()) never.emplace_back(style.quote);
  if (!never.empty()) clean_ = texts_without(never);
}

RuleId SchemaCompiler::compile() {
  // The root's own rule is no other's: a reference to it means values of any type where it names none.
  const RuleId root = out_.add_rule("#");
  to_write_.emplace_back(root, Schemas{&root_});
  // Rules are written one after the other, however deep schemas refer to each other.
  for (std::size_t i = 0; i < to_write_.size(); ++i) {
    const auto [rule, schemas] = to_write_[i];
    spoken_only_ = i == 0;
    std::vector<NodeId> choices;
    for (const Alternative& one : expand_all(schemas, 0)) {
      choices.push_back(i == 0 && members_ != nullptr ? write_members(one) : write(one));
    }
    out_.set_body(rule, out_.choice(choices));
  }
  return root;
}

RuleId SchemaCompiler::rule_for(const Schemas& schemas) {
  Schemas key = schemas;
  std::ranges::sort(key);
  key.erase(std::unique(key.begin(), key.end()), key.end());
  std::erase_if(key, [](const Json* schema) { return schema->is_boolean() && schema->get<bool>(); });
  if (const auto known = rules_.find(key); known != rules_.end()) return known->second;
  if (rules_.size() == kMostRules) throw bad_input(fmt::format("the JSON schema needs more than {} rules", kMostRules));
  const RuleId rule = out_.add_rule(key.empty() ? "any JSON" : places_[schemas[0]]);
  rules_.emplace(std::move(key), rule);
  to_write_.emplace_back(rule, schemas);
  return rule;
}

// Values of the types in `among`.
NodeId SchemaCompiler::write(const Alternative& all, std::uint8_t among) {
  for (const Json* schema : all) {
    if (schema->value("uniqueItems", false)) unsupported(*schema, "uniqueItems");
  }
  if (const auto values = values_of(all)) return write_values(*values);
  const auto types = static_cast<std::uint8_t>(types_of(all) & among);
  std::vector<NodeId> choices;
  if ((types & JsonType::Null) != 0) choices.push_back(out_.literal(style_.null_word));
  if ((types & JsonType::Boolean) != 0) {
    choices.push_back(out_.literal(style_.true_word));
    choices.push_back(out_.literal(style_.false_word));
  }
  if ((types & JsonType::Number) != 0) choices.push_back(write_number(all, (types & JsonType::Fraction) == 0));
  if ((types & JsonType::String) != 0) choices.push_back(write_string(all));
  if ((types & JsonType::Array) != 0) choices.push_back(write_array(all));
  if ((types & JsonType::Object) != 0) choices.push_back(write_object(all));
  return out_.choice(choices);
}

// ---- numbers

Range SchemaCompiler::range_of(const Alternative& all) {
  Range range;
  const auto limit = [](std::optional<Bound>& bound, Bound other, int sign) {
    const int order = bound ? sign * compare(other.value, bound->value) : -1;
    if (order < 0 || (order == 0 && other.exclusive)) bound = std::move(other);
  };
  for (const Json* schema : all) {
    const auto add = [&](const char* name, bool low, bool exclusive) {
      const auto at = schema->find(name);
      if (at == schema->end()) return;
      limit(low ? range.low : range.high, {decimal_of(*at), exclusive}, low ? -1 : 1);
    };
    add("minimum", true, false);
    add("exclusiveMinimum", true, true);
    add("maximum", false, false);
    add("exclusiveMaximum", false, true);
  }
  return range;
}

NodeId SchemaCompiler::write_number(const Alternative& all, bool integers) {
  const Range range = range_of(all);
  std::optional<Decimal> step;
  for (const Json* schema : all) {
    const auto at = schema->find("multipleOf");
    if (at == schema->end()) continue;
    if (step) unsupported(*schema, "multipleOf", "there are two of them");
    step = decimal_of(*at);
    // Validators compute with doubles, which make of 36.51 no multiple of 0.01.
    if (!step->fraction.empty()) unsupported(*schema, "multipleOf", "it is not a whole number");
    try {
      multiples_of(*step, integers);
    } catch (const Error& error) {
      unsupported(*schema, "multipleOf", error.what());
    }
  }
  if (is_empty(range)) return out_.choice({});
  if (!range.low && !range.high && !step) {
    static const CodePointSet kDigits{{'0', '9'}};
    static const CodePointSet kFromOne{{'1', '9'}};
    const NodeId digits = out_.repeat(out_.characters(kDigits), 1, kUnbounded);
    const NodeId whole =
        out_.choice({out_.literal("0"),
                     out_.sequence({out_.characters(kFromOne), out_.repeat(out_.characters(kDigits), 0, kUnbounded)})});
    const NodeId sign = out_.optional(out_.literal("-"));
    if (integers) return out_.sequence({sign, whole});
    const NodeId fraction = out_.optional(out_.sequence({out_.literal("."), digits}));
    const NodeId power = out_.optional(out_.sequence(
        {out_.characters({{'E', 'E'}, {'e', 'e'}}), out_.optional(out_.characters({{'+', '+'}, {'-', '-'}})), digits}));
    return out_.sequence({sign, whole, fraction, power});
  }
  return number_in(out_, range, integers, step);
}

// ---- strings

std::uint32_t SchemaCompiler::count_at(const Json& schema, const char* keyword, std::uint32_t otherwise) {
  const auto at = schema.find(keyword);
  if (at == schema.end()) return otherwise;
  return static_cast<std::uint32_t>(std::min(at->get<double>(), 4e9));
}

SchemaCompiler::Lengths SchemaCompiler::lengths(const Alternative& all, const char* least, const char* most) {
  Lengths result;
  for (const Json* schema : all) {
    result.least = std::max(result.least, count_at(*schema, least, 0));
    result.most = std::min(result.most, count_at(*schema, most, kUnbounded));
  }
  return result;
}

const CharDfa& SchemaCompiler::pattern(const Json& schema, const std::string& text) {
  const auto [at, added] = patterns_.try_emplace(text);
  if (added) {
    try {
      at->second = Regex(text).anywhere();
    } catch (const Error& error) {
      patterns_.erase(at);
      refuse(schema, "pattern", error.what());
    }
  }
  return at->second;
}

// Patterns and formats together; nullopt where there is none.
std::optional<CharDfa> SchemaCompiler::text_of(const Alternative& all, bool with_length) {
  std::optional<CharDfa> dfa;
  const Json* last = nullptr;
  const auto add = [&](const CharDfa& other, const Json& schema) {
    last = &schema;
    dfa = dfa ? CharDfa::intersection(*dfa, other) : other;
  };
  for (const Json* schema : all) {
    try {
      if (const auto at = schema->find("format"); at != schema->end()) {
        const auto& name = at->get_ref<const std::string&>();
        if (is_text_format(name)) {
          const auto [known, added] = formats_.try_emplace(name);
          if (added) known->second = *format_texts(name);
          add(known->second, *schema);
        }
      }
    } catch (const Error& error) {
      refuse(*schema, "format", error.what());
    }
    if (const auto at = schema->find("pattern"); at != schema->end()) {
      add(pattern(*schema, at->get_ref<const std::string&>()), *schema);
    }
  }
  const Lengths limits = lengths(all, "minLength", "maxLength");
  if (dfa && with_length && !limits.impossible() && (limits.least != 0 || limits.most != kUnbounded)) {
    try {
      dfa = CharDfa::intersection(*dfa, CharDfa::of_length(limits.least, limits.most));
    } catch (const Error& error) {
      refuse(*last, "maxLength", error.what());
    }
  }
  return dfa;
}

NodeId SchemaCompiler::write_string(const Alternative& all) {
  const Lengths limits = lengths(all, "minLength", "maxLength");
  if (limits.impossible()) return out_.choice({});
  auto dfa = text_of(all, true);
  if (!dfa && !clean_) return out_.sequence({out_.literal("\""), out_.json_string(limits.least, limits.most)});
  if (!dfa && limits.least == 0 && limits.most == kUnbounded) {
    if (!any_clean_) {
      any_clean_ = out_.add_rule("any text");
      out_.set_body(*any_clean_, write_text(*clean_));
    }
    return out_.call(*any_clean_);
  }
  try {
    return write_text(dfa ? *std::move(dfa) : CharDfa::of_length(limits.least, limits.most));
  } catch (const Error& error) {
    refuse(all.empty() ? root_ : *all.front(), "maxLength", error.what());
  }
}

// A string of these texts.
NodeId SchemaCompiler::write_text(CharDfa texts) {
  if (clean_) texts = CharDfa::intersection(texts, *clean_);
  if (style_.quote.empty()) return out_.sequence({out_.literal("\""), out_.json_text(std::move(texts))});
  return out_.sequence({out_.literal(style_.quote), out_.plain_text(std::move(texts)), out_.literal(style_.quote)});
}

// ---- arrays

std::size_t SchemaCompiler::prefix_of(const Alternative& all) {
  std::size_t longest = 0;
  for (const Json* schema : all) {
    for (const char* name : {"prefixItems", "items"}) {
      const auto at = schema->find(name);
      if (at != schema->end() && at->is_array()) longest = std::max(longest, at->size());
    }
  }
  return longest;
}

// What the item at `place` must satisfy.
Schemas SchemaCompiler::item_at(const Alternative& all, std::size_t place) {
  Schemas result;
  for (const Json* schema : all) {
    const auto items = schema->find("items");
    const bool old = items != schema->end() && items->is_array();  // draft 7: a list, and "additionalItems"
    const char* list_name = old ? "items" : "prefixItems";
    const char* rest_name = old ? "additionalItems" : "items";
    const auto list = schema->find(list_name);
    const auto rest = schema->find(rest_name);
    if (list != schema->end() && place < list->size()) {
      result.push_back(&child(*schema, list_name, (*list)[place], std::to_string(place)));
    } else if (rest != schema->end()) {
      result.push_back(&child(*schema, rest_name, *rest));
    }
  }
  return result;
}

// Models write JSON with a blank behind ":" and ",", or without: whoever is held to the other way answers worse. One at
// most, since a model that may write blanks without end sometimes does.
NodeId SchemaCompiler::blank() { return style_.quote.empty() ? out_.optional(out_.literal(" ")) : out_.literal(""); }

NodeId SchemaCompiler::write_array(const Alternative& all) {
  Lengths limits = lengths(all, "minItems", "maxItems");
  if (limits.impossible()) return out_.choice({});
  const std::size_t prefix = std::min<std::size_t>(prefix_of(all), limits.most);
  constexpr std::size_t kLongestPrefix = 1000;
  if (prefix > kLongestPrefix) throw bad_input("the JSON schema lists more than 1000 items of an array one by one");
  std::vector<NodeId> items;
  for (std::size_t i = 0; i < prefix; ++i) items.push_back(out_.call(rule_for(item_at(all, i))));
  const auto add_rest = [&](std::uint32_t least, std::uint32_t most) {
    return out_.repeat(out_.sequence({out_.literal(","), blank(), out_.call(rule_for(item_at(all, prefix)))}), least,
                       most);
  };
  const auto behind = [&](std::size_t used, std::uint32_t limit, bool unbounded) {
    return unbounded ? kUnbounded : limit > used ? limit - static_cast<std::uint32_t>(used) : 0;
  };
  const bool unbounded = limits.most == kUnbounded;
  std::vector<NodeId> choices;
  if (prefix == 0) {
    if (limits.least == 0) choices.push_back(out_.literal(""));
    if (limits.most > 0) {
      choices.push_back(
          out_.sequence({out_.call(rule_for(item_at(all, 0))),
                         add_rest(limits.least > 0 ? limits.least - 1 : 0, behind(1, limits.most, unbounded))}));
    }
  } else {
    // From the last item back: what may follow the item at `i`.
    NodeId rest = limits.most > prefix
                      ? add_rest(limits.least > prefix ? limits.least - static_cast<std::uint32_t>(prefix) : 0,
                                 behind(prefix, limits.most, unbounded))
                      : out_.literal("");
    for (std::size_t i = prefix; i-- > 1;) {
      rest = out_.sequence({out_.literal(","), blank(), items[i], rest});
      if (limits.least <= i) rest = out_.optional(rest);
    }
    rest = out_.sequence({items[0], rest});
    if (limits.least == 0) rest = out_.optional(rest);
    choices.push_back(rest);
  }
  return out_.sequence({out_.literal("["), out_.choice(choices), out_.literal("]")});
}

}  // namespace loadline::grammar

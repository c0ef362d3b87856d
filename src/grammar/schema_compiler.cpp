#include "grammar/schema_compiler.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace loadline::grammar {
namespace {

std::string dumped(const std::string& text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

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
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& problem) override {
    place = position;
    message = problem.what();
    return false;
  }
  std::size_t place = 0;
  std::string message;
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
  if (!Json::sax_parse(text, &check)) {
    if (check.too_deep) throw bad_input(fmt::format("{} is nested more than {} deep", what, kDeepestJson));
    throw bad_input(fmt::format("{} is not JSON: the text goes wrong at byte {}", what, check.place));
  }
  return Json::parse(text);
}

Source read_json_schema(const Json& schema) {
  Source source;
  source.root = add_json_schema(source.expressions, schema);
  return source;
}

RuleId add_json_schema(Expressions& out, const Json& schema) { return SchemaCompiler(out, schema).compile(); }

RuleId SchemaCompiler::compile() {
  // The root's own rule is no other's: a reference to it means values of any type where it names none.
  const RuleId root = out_.add_rule("#");
  to_write_.emplace_back(root, Schemas{&root_});
  // Rules are written one after the other, however deep schemas refer to each other.
  for (std::size_t i = 0; i < to_write_.size(); ++i) {
    const auto [rule, schemas] = to_write_[i];
    spoken_only_ = i == 0;
    std::vector<NodeId> choices;
    for (const Alternative& one : expand_all(schemas, 0)) choices.push_back(write(one));
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

NodeId SchemaCompiler::write(const Alternative& all) {
  for (const Json* schema : all) {
    if (schema->value("uniqueItems", false)) unsupported(*schema, "uniqueItems");
  }
  if (const auto values = values_of(all)) return write_values(*values);
  const std::uint8_t types = types_of(all);
  std::vector<NodeId> choices;
  if ((types & JsonType::Null) != 0) choices.push_back(out_.literal("null"));
  if ((types & JsonType::Boolean) != 0) {
    choices.push_back(out_.literal("true"));
    choices.push_back(out_.literal("false"));
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
  const NodeId quote = out_.literal("\"");
  if (auto dfa = text_of(all, true)) return out_.sequence({quote, out_.json_text(*std::move(dfa))});
  return out_.sequence({quote, out_.json_string(limits.least, limits.most)});
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
NodeId SchemaCompiler::blank() { return out_.optional(out_.literal(" ")); }

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

// ---- objects

// The properties that are named, in the order in which they are offered.
std::vector<SchemaCompiler::Property> SchemaCompiler::properties_of(const Alternative& all) {
  std::vector<Property> result;
  std::unordered_map<std::string, std::size_t> places;
  const auto property = [&](const std::string& name) -> Property& {
    const auto [at, added] = places.try_emplace(name, result.size());
    if (added) result.push_back({name, {}, false});
    return result[at->second];
  };
  for (const Json* schema : all) {
    const auto named = schema->find("properties");
    if (named == schema->end()) continue;
    for (const auto& [name, value] : named->items()) property(name);
  }
  for (const Json* schema : all) {
    const auto required = schema->find("required");
    if (required == schema->end()) continue;
    for (const Json& name : *required) property(name.get_ref<const std::string&>()).required = true;
  }
  for (Property& one : result) {
    const std::u32string text = decode_utf8(one.name);
    for (const Json* schema : all) {
      bool spoken = false;
      const auto named = schema->find("properties");
      if (named != schema->end()) {
        if (const auto at = named->find(one.name); at != named->end()) {
          one.schemas.push_back(&child(*schema, "properties", *at, one.name));
          spoken = true;
        }
      }
      if (const auto patterns = schema->find("patternProperties"); patterns != schema->end()) {
        for (const auto& [name, value] : patterns->items()) {
          if (!pattern(*schema, name).accepts(text)) continue;
          one.schemas.push_back(&child(*schema, "patternProperties", value, name));
          spoken = true;
        }
      }
      const auto others = schema->find("additionalProperties");
      if (!spoken && others != schema->end()) one.schemas.push_back(&child(*schema, "additionalProperties", *others));
      if (const auto names = schema->find("propertyNames"); names != schema->end()) {
        const auto texts = name_texts({&child(*schema, "propertyNames", *names)}, *schema);
        static const Json kFalse = false;
        if (texts && !texts->accepts(text)) one.schemas.push_back(&kFalse);
      }
    }
  }
  return result;
}

// The strings that satisfy schemas; nullopt: all of them.
std::optional<CharDfa> SchemaCompiler::name_texts(const Schemas& schemas, const Json& schema) {
  CharDfa result;
  bool first = true;
  for (const Alternative& one : expand_all(schemas, 0)) {
    if (!first) unsupported(schema, "propertyNames", "it has alternatives");
    first = false;
    if (const auto values = values_of(one)) {
      std::vector<std::u32string> texts;
      for (const Json& value : *values) {
        if (value.is_string()) texts.push_back(decode_utf8(value.get_ref<const std::string&>()));
      }
      result = CharDfa::of_texts(texts);
      continue;
    }
    // A name is a string: schemas that speak of nothing else, or of other types, allow or forbid all of them.
    bool named = false;
    for (const Json* part : one) named = named || part->contains("type");
    if (named && (types_of(one) & JsonType::String) == 0) continue;
    const auto text = text_of(one, true);
    if (text) {
      result = *text;
      continue;
    }
    const Lengths limits = lengths(one, "minLength", "maxLength");
    if (limits.least == 0 && limits.most == kUnbounded) return std::nullopt;
    result = pruned(CharDfa::of_length(limits.least, limits.most));
  }
  return result;
}

// All other properties, in groups of names for which the same schemas hold.
std::vector<SchemaCompiler::OtherProperties> SchemaCompiler::others_of(const Alternative& all,
                                                                       const std::vector<Property>& known) {
  struct Group {
    CharDfa names;
    Schemas schemas;
    std::vector<bool> spoken;  // [all] a pattern of that schema matches
  };
  std::vector<std::u32string> taken;
  for (const Property& property : known) taken.push_back(decode_utf8(property.name));
  bool any_name = taken.empty();
  std::vector<Group> groups;
  groups.push_back({CharDfa::of_texts(taken).complement(), {}, std::vector<bool>(all.size(), false)});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Json& schema = *all[i];
    if (const auto names = schema.find("propertyNames"); names != schema.end()) {
      if (const auto texts = name_texts({&child(schema, "propertyNames", *names)}, schema)) {
        any_name = false;
        for (Group& group : groups) group.names = CharDfa::intersection(group.names, *texts);
      }
    }
    const auto patterns = schema.find("patternProperties");
    if (patterns == schema.end()) continue;
    for (const auto& [name, value] : patterns->items()) {
      any_name = false;
      const CharDfa& matching = pattern(schema, name);
      const CharDfa others = matching.complement();
      std::vector<Group> split;
      for (const Group& group : groups) {
        Group inside = group;
        inside.names = CharDfa::intersection(group.names, matching);
        inside.schemas.push_back(&child(schema, "patternProperties", value, name));
        inside.spoken[i] = true;
        Group outside = group;
        outside.names = CharDfa::intersection(group.names, others);
        for (Group* one : {&inside, &outside}) {
          if (!one->names.empty()) split.push_back(std::move(*one));
        }
      }
      constexpr std::size_t kMostGroups = 64;
      if (split.size() > kMostGroups) unsupported(schema, "patternProperties", "its patterns overlap in too many ways");
      groups = std::move(split);
    }
  }
  std::vector<OtherProperties> result;
  for (Group& group : groups) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto others = all[i]->find("additionalProperties");
      if (others != all[i]->end() && !group.spoken[i]) {
        group.schemas.push_back(&child(*all[i], "additionalProperties", *others));
      }
    }
    const bool none =
        std::ranges::any_of(group.schemas, [](const Json* s) { return s->is_boolean() && !s->get<bool>(); });
    if (none || group.names.empty()) continue;
    result.push_back({std::move(group.names), any_name, std::move(group.schemas)});
  }
  return result;
}

NodeId SchemaCompiler::write_object(const Alternative& all) {
  const std::vector<Property> known = properties_of(all);
  std::vector<NodeId> items;
  std::string flags;
  for (const Property& property : known) {
    const bool never =
        std::ranges::any_of(property.schemas, [](const Json* s) { return s->is_boolean() && !s->get<bool>(); });
    if (never && !property.required) continue;
    const NodeId value = never ? out_.choice({}) : out_.call(rule_for(property.schemas));
    items.push_back(out_.sequence({out_.literal(dumped(property.name) + ":"), blank(), value}));
    flags.push_back(property.required ? 'r' : 'o');
  }
  std::vector<NodeId> others;
  for (OtherProperties& other : others_of(all, known)) {
    const NodeId name = other.any_name ? out_.json_string() : out_.json_text(std::move(other.names));
    others.push_back(
        out_.sequence({out_.literal("\""), name, out_.literal(":"), blank(), out_.call(rule_for(other.schemas))}));
  }
  if (!others.empty()) {
    items.push_back(out_.choice(others));
    flags.push_back('*');
  }
  const Lengths limits = lengths(all, "minProperties", "maxProperties");
  if (limits.impossible()) return out_.choice({});
  return out_.sequence(
      {out_.literal("{"), out_.comma_list(items, flags, limits.least, limits.most), out_.literal("}")});
}

}  // namespace loadline::grammar

// The outermost object where its members stand in tags, or as keywords between brackets, instead of as JSON: the
// arguments of a call. What a reader could take for something else than was written is not offered.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "grammar/schema_compiler.h"

namespace loadline::grammar {

const CharDfa& words() {
  static const CharDfa kWords = Regex("[A-Za-z_][A-Za-z0-9_.-]*").whole();
  return kWords;
}

bool is_word(std::string_view name) { return words().accepts(decode_utf8(name)); }

NodeId SchemaCompiler::write_members(const Alternative& all) {
  for (const Json* schema : all) {
    for (const char* keyword : {"enum", "const"}) {
      if (schema->contains(keyword)) unsupported(*schema, keyword, "these are the arguments of a call");
    }
  }
  if ((types_of(all) & JsonType::Object) == 0) return out_.choice({});
  const Lengths limits = lengths(all, "minProperties", "maxProperties");
  if (limits.impossible()) return out_.choice({});
  spoken_only_ = false;
  const auto is_never = [](const Json* s) { return s->is_boolean() && !s->get<bool>(); };
  const std::vector<Property> known = properties_of(all);
  std::vector<NodeId> items;
  std::string flags;
  for (const Property& property : known) {
    const bool never = std::ranges::any_of(property.schemas, is_never);
    if (never && !property.required) continue;
    items.push_back(never ? out_.choice({}) : write_member(*all.front(), property.name, property.schemas));
    flags.push_back(property.required ? 'r' : 'o');
  }
  // Names that no schema speaks of are allowed, but no model that was shown the tool has a reason to write them.
  const bool others_named = std::ranges::any_of(all, [](const Json* schema) {
    return schema->contains("additionalProperties") || schema->contains("patternProperties");
  });
  std::vector<NodeId> others;
  if (others_named) {
    for (const OtherProperties& other : others_of(all, known)) {
      CharDfa names = CharDfa::intersection(other.names, words());
      if (names.empty()) continue;
      others.push_back(write_tagged(out_.plain_text(std::move(names)), {}, other.schemas));
    }
  }
  if (!others.empty()) {
    items.push_back(out_.choice(others));
    flags.push_back('*');
  }
  return members_->commas ? out_.comma_list(items, flags, limits.least, limits.most)
                          : out_.plain_list(items, flags, limits.least, limits.most);
}

NodeId SchemaCompiler::write_member(const Json& schema, const std::string& name, const Schemas& schemas) {
  const bool tag_takes_it = !name.empty() && name.find_first_of("<>\"\r\n\t") == std::string::npos &&
                            !name.starts_with(' ') && !name.ends_with(' ');
  if (members_->commas ? !is_word(name) : !tag_takes_it) {
    refuse(schema, "properties",
           fmt::format("the name \"{}\" cannot be written in the form of calls that the model has", printable(name)));
  }
  return write_tagged(out_.literal(name), name, schemas);
}

// A member. `known_name` is empty where the name is one of many.
NodeId SchemaCompiler::write_tagged(NodeId name, std::string_view known_name, const Schemas& schemas) {
  const NodeId before = out_.literal(members_->before_name);
  if (members_->commas) {
    return out_.sequence({before, name, out_.literal(members_->after_name), out_.call(rule_for(schemas)),
                          out_.literal(members_->after_value)});
  }
  ReadAs read;
  if (!members_->after_name_other.empty()) {
    read = {false, false, false, false};  // it says which values are strings
  } else if (members_->read_as && !known_name.empty()) {
    read = members_->read_as(known_name);
  }
  std::vector<NodeId> choices;
  for (const Alternative& one : expand_all(schemas, 0)) choices.push_back(tag_value(name, one, tag_texts(read)));
  return out_.sequence({before, out_.choice(choices)});
}

// The rest of a member, from its name on.
NodeId SchemaCompiler::tag_value(NodeId name, const Alternative& one, const TagTexts& texts) {
  const auto tagged = [&](bool is_string, NodeId value) {
    const bool other = !is_string && !members_->after_name_other.empty();
    return out_.sequence({name, out_.literal(other ? members_->after_name_other : members_->after_name), value,
                          out_.literal(members_->after_value)});
  };
  std::vector<NodeId> choices;
  if (const auto values = values_of(one)) {
    std::vector<Json> others;
    std::vector<std::u32string> strings;
    for (const Json& value : *values) {
      if (value.is_string()) {
        strings.push_back(decode_utf8(value.get_ref<const std::string&>()));
        if (!texts.texts.accepts(strings.back())) strings.pop_back();
      } else {
        others.push_back(value);
      }
    }
    if (!strings.empty()) choices.push_back(tagged(true, out_.plain_text(CharDfa::of_texts(strings))));
    if (!others.empty()) choices.push_back(tagged(false, write_values(others)));
    return out_.choice(choices);
  }
  const std::uint8_t types = types_of(one);
  const Lengths limits = lengths(one, "minLength", "maxLength");
  if ((types & JsonType::String) != 0 && !limits.impossible()) {
    try {
      auto wanted = text_of(one, true);
      if (!wanted && (limits.least > 0 || limits.most != kUnbounded)) {
        wanted = CharDfa::of_length(limits.least, limits.most);
      }
      choices.push_back(
          tagged(true, wanted ? out_.plain_text(CharDfa::intersection(*wanted, texts.texts)) : out_.call(texts.rule)));
    } catch (const Error& error) {
      refuse(one.empty() ? root_ : *one.front(), "maxLength", error.what());
    }
  }
  constexpr auto kOthers = static_cast<std::uint8_t>(JsonType::AnyType & ~JsonType::String);
  if ((types & kOthers) != 0) choices.push_back(tagged(false, write(one, kOthers)));
  return out_.choice(choices);
}

// Texts that stand in a tag as they are and are read as themselves: see chat's `typed_value`.
const SchemaCompiler::TagTexts& SchemaCompiler::tag_texts(const ReadAs& read) {
  const int key = (read.number ? 1 : 0) | (read.boolean ? 2 : 0) | (read.null ? 4 : 0) | (read.container ? 8 : 0);
  const auto [at, added] = tag_texts_.try_emplace(key);
  if (!added) return at->second;
  CharDfa& texts = at->second.texts;
  texts = texts_without({members_->value_end});
  std::string other;
  const auto add = [&](bool is_read, std::string_view pattern) {
    if (is_read) other += fmt::format("{}{}", other.empty() ? "" : "|", pattern);
  };
  add(read.number, "-?[0-9][-+.0-9eE]*");
  add(read.boolean, "true|True|false|False");
  add(read.null, "null|None");
  add(read.container, "[\\[{(][^]*");
  const std::string blanks = "[ \\t\\r\\n]*";
  if (!other.empty()) {
    texts = CharDfa::intersection(texts, Regex(blanks + "(" + other + ")" + blanks).whole().complement());
  }
  // A line end at either end belongs to the tags.
  const bool padded = members_->after_name.ends_with('\n') && members_->after_value.starts_with('\n');
  if (!padded) texts = CharDfa::intersection(texts, Regex("\\n[^]*|[^]*\\n").whole().complement());
  at->second.rule = out_.add_rule("text of a tag");
  out_.set_body(at->second.rule, out_.plain_text(texts));
  return at->second;
}

}  // namespace loadline::grammar

// Objects: which properties there are, what each must satisfy, and how they are written.
#include <algorithm>

#include "base/error.h"
#include "grammar/schema_compiler.h"

namespace loadline::grammar {

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

NodeId SchemaCompiler::write_name(const std::string& name) {
  if (style_.quote.empty()) return out_.literal(styled(Json(name)) + ":");
  if (is_word(name)) return out_.literal(name + ":");
  return out_.sequence({write_text(CharDfa::of_texts({decode_utf8(name)})), out_.literal(":")});
}

NodeId SchemaCompiler::write_other_names(OtherProperties& other) {
  if (style_.quote.empty() && !clean_ && other.any_name) {
    return out_.sequence({out_.literal("\""), out_.json_string(), out_.literal(":")});
  }
  if (style_.quote.empty()) return out_.sequence({write_text(std::move(other.names)), out_.literal(":")});
  const NodeId bare = out_.plain_text(CharDfa::intersection(other.names, words()));
  return out_.sequence({out_.choice({bare, write_text(std::move(other.names))}), out_.literal(":")});
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
    items.push_back(out_.sequence({write_name(property.name), blank(), value}));
    flags.push_back(property.required ? 'r' : 'o');
  }
  std::vector<NodeId> others;
  for (OtherProperties& other : others_of(all, known)) {
    others.push_back(out_.sequence({write_other_names(other), blank(), out_.call(rule_for(other.schemas))}));
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

// Taking schemas apart into alternatives, and finding what in them cannot be honoured.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "grammar/schema_compiler.h"

namespace loadline::grammar {
namespace {

constexpr std::array<std::pair<std::string_view, std::uint8_t>, 7> kTypes = {{{"null", JsonType::Null},
                                                                              {"boolean", JsonType::Boolean},
                                                                              {"integer", JsonType::Integer},
                                                                              {"number", JsonType::Number},
                                                                              {"string", JsonType::String},
                                                                              {"array", JsonType::Array},
                                                                              {"object", JsonType::Object}}};

// What a keyword's value must be, and of which type of instance it speaks.
enum class Value : std::uint8_t { Any, Number, Count, Text, Texts, Schema, SchemaList, SchemaMap, List, Flag, Type };
struct Keyword {
  std::string_view name;
  Value value;
  std::uint8_t speaks_of;
};
constexpr std::array kKeywords = {
    Keyword{"type", Value::Type, 0},
    Keyword{"enum", Value::List, 0},
    Keyword{"const", Value::Any, 0},
    Keyword{"properties", Value::SchemaMap, JsonType::Object},
    Keyword{"required", Value::Texts, JsonType::Object},
    Keyword{"additionalProperties", Value::Schema, JsonType::Object},
    Keyword{"patternProperties", Value::SchemaMap, JsonType::Object},
    Keyword{"propertyNames", Value::Schema, JsonType::Object},
    Keyword{"minProperties", Value::Count, JsonType::Object},
    Keyword{"maxProperties", Value::Count, JsonType::Object},
    Keyword{"items", Value::Any, JsonType::Array},
    Keyword{"prefixItems", Value::SchemaList, JsonType::Array},
    Keyword{"additionalItems", Value::Schema, JsonType::Array},
    Keyword{"minItems", Value::Count, JsonType::Array},
    Keyword{"maxItems", Value::Count, JsonType::Array},
    Keyword{"uniqueItems", Value::Flag, 0},
    Keyword{"minLength", Value::Count, JsonType::String},
    Keyword{"maxLength", Value::Count, JsonType::String},
    Keyword{"pattern", Value::Text, JsonType::String},
    Keyword{"format", Value::Text, 0},
    Keyword{"minimum", Value::Number, JsonType::Number},
    Keyword{"maximum", Value::Number, JsonType::Number},
    Keyword{"exclusiveMinimum", Value::Number, JsonType::Number},
    Keyword{"exclusiveMaximum", Value::Number, JsonType::Number},
    Keyword{"multipleOf", Value::Number, JsonType::Number},
    Keyword{"allOf", Value::SchemaList, 0},
    Keyword{"anyOf", Value::SchemaList, 0},
    Keyword{"oneOf", Value::SchemaList, 0},
    Keyword{"$ref", Value::Text, 0},
};

// Thrown and caught here: whether schemas exclude each other would need what is being found out.
struct NotKnown {};

bool is_schema(const Json& value) { return value.is_object() || value.is_boolean(); }

bool fits(const Json& value, Value wanted) {
  const auto all = [&](auto&& test) { return std::ranges::all_of(value, test); };
  const auto is_text = [](const Json& item) { return item.is_string(); };
  switch (wanted) {
    case Value::Any: return true;
    case Value::Number: return value.is_number();
    case Value::Count:
      return value.is_number() && value.get<double>() >= 0 &&
             value.get<double>() == static_cast<double>(static_cast<std::int64_t>(std::min(value.get<double>(), 9e15)));
    case Value::Text: return value.is_string();
    case Value::Texts: return value.is_array() && all(is_text);
    case Value::Schema: return is_schema(value);
    case Value::SchemaList: return value.is_array() && !value.empty() && all(is_schema);
    case Value::SchemaMap: return value.is_object() && all(is_schema);
    case Value::List: return value.is_array();
    case Value::Flag: return value.is_boolean();
    case Value::Type: return value.is_string() || (value.is_array() && !value.empty() && all(is_text));
  }
  return false;
}

std::string_view wanted_form(Value value) {
  switch (value) {
    case Value::Number: return "must be a number";
    case Value::Count: return "must be a whole number, 0 or more";
    case Value::Text: return "must be a string";
    case Value::Texts: return "must be a list of strings";
    case Value::Schema: return "must be a schema";
    case Value::SchemaList: return "must be a list of schemas, and not empty";
    case Value::SchemaMap: return "must be an object of schemas";
    case Value::List: return "must be a list";
    case Value::Flag: return "must be true or false";
    case Value::Type: return "must be the name of a type, or a list of them";
    case Value::Any: break;
  }
  return "has the wrong form";
}

// A JSON pointer's token from a fragment: %22, ~0 and ~1.
std::string unescaped(std::string_view token) {
  std::string out;
  for (std::size_t i = 0; i < token.size(); ++i) {
    unsigned value = 0;
    if (token[i] == '%' && i + 2 < token.size() &&
        std::from_chars(token.data() + i + 1, token.data() + i + 3, value, 16).ptr == token.data() + i + 3) {
      out.push_back(static_cast<char>(value));
      i += 2;
    } else {
      out.push_back(token[i]);
    }
  }
  std::string result;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == '~' && i + 1 < out.size() && (out[i + 1] == '0' || out[i + 1] == '1')) {
      result.push_back(out[++i] == '0' ? '~' : '/');
    } else {
      result.push_back(out[i]);
    }
  }
  return result;
}

}  // namespace

void SchemaCompiler::refuse(const Json& schema, std::string_view keyword, std::string_view problem) const {
  const auto at = places_.find(&schema);
  const std::string place = at == places_.end() ? "#" : at->second;
  throw bad_input(fmt::format("JSON schema, {}/{}: {}", printable(place), printable(keyword), problem));
}

void SchemaCompiler::unsupported(const Json& schema, std::string_view keyword, std::string_view why) const {
  refuse(schema, keyword,
         fmt::format("\"{}\" cannot be honoured{}", printable(keyword), why.empty() ? "" : fmt::format(": {}", why)));
}

// A schema below another, whose place is noted for messages.
const Json& SchemaCompiler::child(const Json& schema, std::string_view keyword, const Json& at, std::string_view name) {
  std::string& place = places_[&at];
  if (place.empty()) {
    place = places_[&schema] + "/" + std::string(keyword);
    if (!name.empty()) place += "/" + std::string(name);
  }
  return at;
}

const Json& SchemaCompiler::target_of(const Json& schema) {
  const std::string& reference = schema.at("$ref").get_ref<const std::string&>();
  if (!reference.starts_with('#')) {
    refuse(schema, "$ref", fmt::format("\"{}\" is in another document, which is not fetched", printable(reference)));
  }
  const Json* at = &root_;
  std::string_view rest = std::string_view(reference).substr(1);
  const auto missing = [&] { refuse(schema, "$ref", fmt::format("\"{}\" does not exist", printable(reference))); };
  if (!rest.empty() && rest[0] != '/') missing();
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    const std::string token = unescaped(rest.substr(0, slash));
    rest.remove_prefix(slash);
    if (at->is_object()) {
      const auto found = at->find(token);
      if (found == at->end()) missing();
      at = &*found;
    } else if (at->is_array()) {
      std::size_t index = 0;
      const auto [end, problem] = std::from_chars(token.data(), token.data() + token.size(), index);
      if (problem != std::errc() || end != token.data() + token.size() || index >= at->size()) missing();
      at = &(*at)[index];
    } else {
      missing();
    }
  }
  if (!is_schema(*at)) refuse(schema, "$ref", fmt::format("\"{}\" is not a schema", printable(reference)));
  std::string& place = places_[at];
  if (place.empty()) place = reference;
  return *at;
}

// Refuses keywords whose values have the wrong form, and those that cannot be honoured.
void SchemaCompiler::check_keywords(const Json& schema) {
  if (!checked_.insert(&schema).second) return;
  for (const auto& [name, value] : schema.items()) {
    const auto keyword = std::ranges::find(kKeywords, std::string_view(name), &Keyword::name);
    if (keyword != kKeywords.end()) {
      if (!fits(value, keyword->value)) refuse(schema, name, wanted_form(keyword->value));
      continue;
    }
    const bool container = value.is_array() || value.is_object();
    if (name == "not" || name == "$dynamicRef" || name == "$recursiveRef") unsupported(schema, name);
    if (name == "contains" &&
        !(schema.contains("minContains") && schema["minContains"] == 0 && !schema.contains("maxContains"))) {
      unsupported(schema, name);
    }
    if ((name == "then" || name == "else") && schema.contains("if") && value != true) unsupported(schema, name);
    if ((name == "dependentRequired" || name == "dependentSchemas" || name == "dependencies") &&
        !(container && value.empty())) {
      unsupported(schema, name);
    }
    if ((name == "unevaluatedItems" || name == "unevaluatedProperties") && value != true &&
        !(value.is_object() && value.empty())) {
      unsupported(schema, name);
    }
  }
  if (const auto type = schema.find("type"); type != schema.end()) {
    const auto known = [&](const Json& one) {
      const auto& text = one.get_ref<const std::string&>();
      if (std::ranges::none_of(kTypes, [&](const auto& entry) { return entry.first == text; })) {
        refuse(schema, "type", fmt::format("there is no type \"{}\"", printable(text)));
      }
    };
    if (type->is_string()) {
      known(*type);
    } else {
      std::ranges::for_each(*type, known);
    }
  }
  if (const auto items = schema.find("items"); items != schema.end()) {
    const bool list = items->is_array() && std::ranges::all_of(*items, is_schema);
    if (!list && !is_schema(*items)) refuse(schema, "items", "must be a schema, or a list of schemas");
  }
  if (const auto step = schema.find("multipleOf"); step != schema.end() && step->get<double>() <= 0) {
    refuse(schema, "multipleOf", "must be more than 0");
  }
}

SchemaCompiler::Alternatives SchemaCompiler::product(const Json& schema, const Alternatives& a,
                                                     const Alternatives& b) const {
  Alternatives result;
  if (a.size() * b.size() > kMostAlternatives) {
    refuse(schema, "anyOf", fmt::format("more than {} combinations of alternatives", kMostAlternatives));
  }
  for (const Alternative& x : a) {
    for (const Alternative& y : b) {
      Alternative both = x;
      for (const Json* part : y) {
        if (std::ranges::find(both, part) == both.end()) both.push_back(part);
      }
      result.push_back(std::move(both));
    }
  }
  return result;
}

SchemaCompiler::Alternatives SchemaCompiler::expand_all(const Schemas& schemas, int depth) {
  Alternatives result{{}};
  for (const Json* schema : schemas) result = product(*schema, result, expand(*schema, depth));
  return result;
}

SchemaCompiler::Alternatives SchemaCompiler::expand(const Json& schema, int depth) {
  if (schema.is_boolean()) return schema.get<bool>() ? Alternatives{{}} : Alternatives{};
  if (!schema.is_object()) refuse(schema, "", "a schema must be an object, true or false");
  if (depth > kDeepestExpansion) refuse(schema, "", "schemas refer to each other too deep");
  check_keywords(schema);
  if (outer_.contains(&schema)) throw NotKnown();
  if (!open_.insert(&schema).second) refuse(schema, "$ref", "the reference leads back to itself");
  struct Close {
    std::set<const Json*>& open;
    const Json* schema;
    ~Close() { open.erase(schema); }
  } const close{open_, &schema};
  Alternatives result{{&schema}};
  const auto find = [&](const char* name) {
    const auto at = schema.find(name);
    return at == schema.end() ? nullptr : &*at;
  };
  if (find("$ref") != nullptr) {
    const Alternatives target = expand(target_of(schema), depth + 1);
    // Up to draft 7 whatever stands beside a reference is ignored.
    const auto draft = root_.is_object() && root_.contains("$schema") ? root_["$schema"] : Json();
    const bool old = draft.is_string() && draft.get_ref<const std::string&>().contains("/draft-0");
    if (old) return target;
    result = product(schema, result, target);
  }
  if (const Json* all = find("allOf")) {
    for (std::size_t i = 0; i < all->size(); ++i) {
      result = product(schema, result, expand(child(schema, "allOf", (*all)[i], std::to_string(i)), depth + 1));
    }
  }
  if (const Json* any = find("anyOf")) {
    Alternatives branches;
    for (std::size_t i = 0; i < any->size(); ++i) {
      for (Alternative& one : expand(child(schema, "anyOf", (*any)[i], std::to_string(i)), depth + 1)) {
        branches.push_back(std::move(one));
      }
    }
    result = product(schema, result, branches);
  }
  if (find("oneOf") != nullptr) add_one_of(schema, result, depth);
  return result;
}

// "oneOf" is "anyOf" where no value satisfies two of its schemas.
void SchemaCompiler::add_one_of(const Json& schema, Alternatives& so_far, int depth) {
  const Json& one = schema["oneOf"];
  constexpr std::size_t kMostBranches = 64;
  if (one.size() > kMostBranches) unsupported(schema, "oneOf", "it has more than 64 schemas");
  std::vector<Alternatives> branches;
  for (std::size_t i = 0; i < one.size(); ++i) {
    branches.push_back(product(schema, so_far, expand(child(schema, "oneOf", one[i], std::to_string(i)), depth + 1)));
  }
  Alternatives result;
  for (std::size_t i = 0; i < branches.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      for (const Alternative& both : product(schema, branches[i], branches[j])) {
        if (is_impossible(both, depth + 1)) continue;
        unsupported(schema, "oneOf",
                    fmt::format("a value could satisfy both its schemas {} and {}; use anyOf, or tell them apart by "
                                "type, const or enum",
                                j, i));
      }
    }
    result.insert(result.end(), branches[i].begin(), branches[i].end());
  }
  if (result.size() > kMostAlternatives) unsupported(schema, "oneOf", "it has too many alternatives");
  so_far = std::move(result);
}

std::uint8_t SchemaCompiler::types_of(const Alternative& all) const {
  int types = JsonType::AnyType;
  std::uint8_t spoken = 0;
  bool named = false;
  for (const Json* schema : all) {
    for (const auto& [name, value] : schema->items()) {
      const auto keyword = std::ranges::find(kKeywords, std::string_view(name), &Keyword::name);
      if (keyword != kKeywords.end()) spoken |= keyword->speaks_of;
      if (name == "format" && is_text_format(value.get_ref<const std::string&>())) spoken |= JsonType::String;
      if (name != "type") continue;
      std::uint8_t these = 0;
      const auto add = [&](const Json& type) {
        for (const auto& [text, bits] : kTypes) {
          if (type == text) these |= bits;
        }
      };
      if (value.is_string()) {
        add(value);
      } else {
        std::ranges::for_each(value, add);
      }
      types &= these;
      named = true;
    }
  }
  if (named) return static_cast<std::uint8_t>(types);
  return spoken_only_ && spoken != 0 ? spoken : std::uint8_t{JsonType::AnyType};
}

bool SchemaCompiler::exclude_each_other(const Schemas& schemas, int depth) {
  if (depth > 8) return false;  // not known to be
  // What is being expanded outside is not entered again: what would come of it is not known.
  const std::set<const Json*> outer = outer_;
  std::set<const Json*> open;
  outer_.insert(open_.begin(), open_.end());
  std::swap(open, open_);
  const bool spoken_only = std::exchange(spoken_only_, false);
  bool impossible = false;
  try {
    impossible = std::ranges::all_of(expand_all(schemas, depth),
                                     [&](const Alternative& one) { return is_impossible(one, depth); });
  } catch (const NotKnown&) {
    impossible = false;
  }
  std::swap(open, open_);
  outer_ = outer;
  spoken_only_ = spoken_only;
  return impossible;
}

// True only where it is certain that no value that would be offered satisfies all.
bool SchemaCompiler::is_impossible(const Alternative& all, int depth) {
  if (const auto values = values_of(all)) return values->empty();
  std::uint8_t types = types_of(all);
  if ((types & JsonType::Number) != 0 && is_empty(range_of(all))) types &= static_cast<std::uint8_t>(~JsonType::Number);
  if ((types & JsonType::String) != 0) {
    const auto text = text_of(all, true);
    if (lengths(all, "minLength", "maxLength").impossible() || (text && text->empty()))
      types &= static_cast<std::uint8_t>(~JsonType::String);
  }
  if ((types & JsonType::Array) != 0) {
    const Lengths items = lengths(all, "minItems", "maxItems");
    bool impossible = items.impossible();
    for (std::size_t i = 0; i < std::min<std::size_t>(items.least, 8) && !impossible; ++i) {
      impossible = exclude_each_other(item_at(all, i), depth + 1);
    }
    if (impossible) types &= static_cast<std::uint8_t>(~JsonType::Array);
  }
  if ((types & JsonType::Object) != 0) {
    for (const Property& property : properties_of(all)) {
      if (!property.required || !exclude_each_other(property.schemas, depth + 1)) continue;
      types &= static_cast<std::uint8_t>(~JsonType::Object);
      break;
    }
  }
  return types == 0;
}

}  // namespace loadline::grammar

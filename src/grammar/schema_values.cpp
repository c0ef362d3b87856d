// Values that a schema names ("enum", "const"): which of them satisfy everything else, and how they are written.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "grammar/schema_compiler.h"

namespace loadline::grammar {
namespace {

std::string dumped(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

// JSON's equality: 1 and 1.0 are the same, and the order of members does not matter.
bool equal(const Json& a, const Json& b) {
  if (a.is_object() && b.is_object()) {
    if (a.size() != b.size()) return false;
    return std::ranges::all_of(a.items(), [&](const auto& item) {
      const auto other = b.find(item.key());
      return other != b.end() && equal(item.value(), *other);
    });
  }
  if (a.is_array() && b.is_array()) return std::ranges::equal(a, b, equal);
  return a == b;
}

std::uint8_t type_of(const Json& value) {
  if (value.is_null()) return JsonType::Null;
  if (value.is_boolean()) return JsonType::Boolean;
  if (value.is_number_integer()) return JsonType::Integer;
  if (value.is_number())
    return std::trunc(value.get<double>()) == value.get<double>() ? JsonType::Integer : JsonType::Fraction;
  if (value.is_string()) return JsonType::String;
  return value.is_array() ? JsonType::Array : JsonType::Object;
}

}  // namespace

bool SchemaCompiler::satisfies(const Json& value, const Json& schema, int depth) {
  if (schema.is_boolean()) return schema.get<bool>();
  constexpr std::size_t kMostWork = 5'000'000;
  if (++work_ > kMostWork) refuse(schema, "enum", "checking the values of enum takes too long");
  if (depth > kDeepestExpansion) refuse(schema, "$ref", "the reference leads back to itself");
  check_keywords(schema);
  if (schema.contains("$ref") && !satisfies(value, target_of(schema), depth + 1)) return false;
  const auto holds = [&](const Json& one) { return satisfies(value, one, depth + 1); };
  if (schema.contains("allOf") && !std::ranges::all_of(schema["allOf"], holds)) return false;
  if (schema.contains("anyOf") && !std::ranges::any_of(schema["anyOf"], holds)) return false;
  if (schema.contains("oneOf") && std::ranges::count_if(schema["oneOf"], holds) != 1) return false;
  return satisfies_own(value, schema, depth);
}

// Without references and combinations.
bool SchemaCompiler::satisfies_own(const Json& value, const Json& schema, int depth) {
  const std::uint8_t type = type_of(value);
  const Alternative alone{&schema};
  if (schema.contains("type") && (types_of(alone) & type) == 0) return false;
  if (schema.contains("const") && !equal(value, schema["const"])) return false;
  if (schema.contains("enum") &&
      std::ranges::none_of(schema["enum"], [&](const Json& one) { return equal(value, one); })) {
    return false;
  }
  switch (type) {
    case JsonType::Integer:
    case JsonType::Fraction: {
      const Range range = range_of(alone);
      const Decimal number = decimal_of(value);
      if (range.low) {
        const int order = compare(number, range.low->value);
        if (order < 0 || (order == 0 && range.low->exclusive)) return false;
      }
      if (range.high) {
        const int order = compare(number, range.high->value);
        if (order > 0 || (order == 0 && range.high->exclusive)) return false;
      }
      if (!schema.contains("multipleOf")) return true;
      Decimal size = number;
      size.negative = false;
      const std::string text =
          (size.whole.empty() ? "0" : size.whole) + (size.fraction.empty() ? "" : "." + size.fraction);
      return multiples_of(decimal_of(schema["multipleOf"]), false).accepts(std::u32string(text.begin(), text.end()));
    }
    case JsonType::String: {
      const std::u32string text = decode_utf8(value.get_ref<const std::string&>());
      const Lengths limits = lengths(alone, "minLength", "maxLength");
      if (text.size() < limits.least || text.size() > limits.most) return false;
      const auto texts = text_of(alone, false);
      return !texts || texts->accepts(text);
    }
    case JsonType::Array: return satisfies_array(value, schema, depth);
    case JsonType::Object: return satisfies_object(value, schema, depth);
    default: return true;
  }
}

bool SchemaCompiler::satisfies_array(const Json& value, const Json& schema, int depth) {
  const Alternative alone{&schema};
  const Lengths limits = lengths(alone, "minItems", "maxItems");
  if (value.size() < limits.least || value.size() > limits.most) return false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    for (const Json* item : item_at(alone, i)) {
      if (!satisfies(value[i], *item, depth + 1)) return false;
    }
    if (!schema.value("uniqueItems", false)) continue;
    for (std::size_t j = 0; j < i; ++j) {
      if (equal(value[i], value[j])) return false;
    }
  }
  return true;
}

bool SchemaCompiler::satisfies_object(const Json& value, const Json& schema, int depth) {
  const Alternative alone{&schema};
  const Lengths limits = lengths(alone, "minProperties", "maxProperties");
  if (value.size() < limits.least || value.size() > limits.most) return false;
  const std::vector<Property> known = properties_of(alone);
  for (const Property& property : known) {
    if (property.required && !value.contains(property.name)) return false;
  }
  const std::vector<OtherProperties> others = others_of(alone, known);
  for (const auto& [name, member] : value.items()) {
    const auto property = std::ranges::find(known, name, &Property::name);
    const Schemas* schemas = nullptr;
    if (property != known.end()) {
      schemas = &property->schemas;
    } else {
      const std::u32string text = decode_utf8(name);
      for (const OtherProperties& other : others) {
        if (other.any_name || other.names.accepts(text)) schemas = &other.schemas;
      }
    }
    if (schemas == nullptr) return false;
    for (const Json* one : *schemas) {
      if (!satisfies(member, *one, depth + 1)) return false;
    }
  }
  return true;
}

// The values that satisfy all, where one of the schemas lists values.
std::optional<std::vector<Json>> SchemaCompiler::values_of(const Alternative& all) {
  const auto lists = [](const Json* schema) { return schema->contains("enum") || schema->contains("const"); };
  const auto first = std::ranges::find_if(all, lists);
  if (first == all.end()) return std::nullopt;
  std::vector<Json> values;
  const auto consider = [&](const Json& value) {
    for (const Json* schema : all) {
      if (!satisfies_own(value, *schema, 0)) return;
    }
    values.push_back(value);
  };
  // Most often the one schema lists strings and says that they are strings: nothing to check value by value.
  const Json& source = **first;
  const bool only_type =
      all.size() == 1 && !source.contains("const") && std::ranges::all_of(source.items(), [](const auto& item) {
        return item.key() == "enum" || item.key() == "description" || item.key() == "title" ||
               (item.key() == "type" && item.value() == "string");
      });
  if (only_type) {
    const bool strings = source.contains("type");
    for (const Json& value : source["enum"]) {
      if (!strings || value.is_string()) values.push_back(value);
    }
  } else if (source.contains("const")) {
    consider(source["const"]);
  } else {
    std::ranges::for_each(source["enum"], consider);
  }
  return values;
}

// Whether `style_` can write all strings in it.
bool SchemaCompiler::is_clean(const Json& value) const {
  if (value.is_string()) return clean_->accepts(decode_utf8(value.get_ref<const std::string&>()));
  if (!value.is_structured()) return true;
  return std::ranges::all_of(value.items(), [&](const auto& item) {
    return (!value.is_object() || is_clean(Json(item.key()))) && is_clean(item.value());
  });
}

std::string SchemaCompiler::styled(const Json& value) const {
  if (value.is_null()) return style_.null_word;
  if (value.is_boolean()) return value.get<bool>() ? style_.true_word : style_.false_word;
  if (value.is_string()) {
    if (style_.quote.empty()) return dumped(value);
    return style_.quote + value.get_ref<const std::string&>() + style_.quote;
  }
  if (!value.is_structured()) return dumped(value);
  std::string out;
  for (const auto& [name, item] : value.items()) {
    if (!out.empty()) out += ',';
    if (value.is_object()) {
      out += !style_.quote.empty() && is_word(name) ? name : styled(Json(name));
      out += ':';
    }
    out += styled(item);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

NodeId SchemaCompiler::write_values(const std::vector<Json>& values) {
  std::vector<NodeId> choices;
  std::vector<std::u32string> texts;
  for (const Json& value : values) {
    if (clean_ && !is_clean(value)) continue;
    if (value.is_string()) {
      texts.push_back(decode_utf8(value.get_ref<const std::string&>()));
      continue;
    }
    if (value.is_number_float()) {
      const Decimal number = decimal_of(value);
      std::string text = number.negative ? "-" : "";
      text += number.whole.empty() ? "0" : number.whole;
      if (!number.fraction.empty()) {
        text += "." + number.fraction;
      } else {
        choices.push_back(out_.literal(text + ".0"));
      }
      choices.push_back(out_.literal(text));
      if (dumped(value).contains('e')) choices.push_back(out_.literal(dumped(value)));
      continue;
    }
    choices.push_back(out_.literal(styled(value)));
  }
  if (!texts.empty()) choices.push_back(write_text(CharDfa::of_texts(texts)));
  return out_.choice(choices);
}

}  // namespace loadline::grammar

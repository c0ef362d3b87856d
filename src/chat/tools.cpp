#include "chat/tools.h"

#include "base/error.h"
#include "chat/jinja/json.h"
#include "chat/jinja/value.h"
#include "chat/template.h"

namespace loadline::chat {
namespace {

using jinja::Kind;
using jinja::Value;

std::uint8_t type_bit(std::string_view name) {
  if (name == "string") return TypeSet::kString;
  if (name == "number" || name == "integer") return TypeSet::kNumber;
  if (name == "boolean") return TypeSet::kBoolean;
  if (name == "null") return TypeSet::kNull;
  if (name == "array") return TypeSet::kArray;
  if (name == "object") return TypeSet::kObject;
  return TypeSet::kAll;
}

std::uint8_t type_bit(const Value& value) {
  switch (value.kind()) {
    case Kind::String: return TypeSet::kString;
    case Kind::Int:
    case Kind::Float: return TypeSet::kNumber;
    case Kind::Bool: return TypeSet::kBoolean;
    case Kind::None: return TypeSet::kNull;
    case Kind::List: return TypeSet::kArray;
    default: return TypeSet::kObject;
  }
}

// What a schema says of the type, where it says it simply.
TypeSet types_in(const Value& schema, int depth = 0) {
  TypeSet out;
  if (!schema.is(Kind::Dict) || depth > 8) return out;
  if (const Value* type = schema.dict().find("type")) {
    std::uint8_t types = 0;
    if (type->is_string()) types = type_bit(type->text());
    if (type->is(Kind::List)) {
      for (const Value& name : type->items()) types |= name.is_string() ? type_bit(name.text()) : TypeSet::kAll;
    }
    if (types != 0) return {types, true};
  }
  if (const Value* constant = schema.dict().find("const")) return {type_bit(*constant), true};
  if (const Value* values = schema.dict().find("enum"); values != nullptr && values->is(Kind::List)) {
    std::uint8_t types = 0;
    for (const Value& value : values->items()) types |= type_bit(value);
    if (types != 0) return {types, true};
  }
  for (const std::string_view key : {"anyOf", "oneOf"}) {
    const Value* choices = schema.dict().find(key);
    if (choices == nullptr || !choices->is(Kind::List)) continue;
    std::uint8_t types = 0;
    bool known = true;
    for (const Value& choice : choices->items()) {
      const TypeSet one = types_in(choice, depth + 1);
      types |= one.types;
      known = known && one.known;
    }
    if (known && types != 0) return {types, true};
  }
  return out;
}

}  // namespace

Tools::Tools(std::string_view json) {
  if (json.empty()) return;
  jinja::Heap heap = make_heap({});
  Value list;
  try {
    list = jinja::parse_json(heap, json);
  } catch (const jinja::Failure& failure) {
    throw bad_input(std::string("the tools are ") + failure.what());
  }
  if (list.is_none()) return;
  if (!list.is(Kind::List)) throw bad_input("the tools are no JSON array");
  for (const Value& entry : list.items()) {
    if (entry.is_string()) {
      parameters_[entry.text()];
      continue;
    }
    const Value* function = entry.is(Kind::Dict) ? entry.dict().find("function") : nullptr;
    const Value& tool = function != nullptr && function->is(Kind::Dict) ? *function : entry;
    const Value* name = tool.is(Kind::Dict) ? tool.dict().find("name") : nullptr;
    if (name == nullptr || !name->is_string()) throw bad_input("a tool has no name");
    Parameters& parameters = parameters_[name->text()];
    const Value* schema = tool.dict().find("parameters");
    const Value* properties = schema != nullptr && schema->is(Kind::Dict) ? schema->dict().find("properties") : nullptr;
    if (properties == nullptr || !properties->is(Kind::Dict)) continue;
    for (const auto& [key, property] : properties->dict().entries) parameters[key.text()] = types_in(property);
  }
}

TypeSet Tools::type_of(std::string_view tool, std::string_view parameter) const {
  const auto at = parameters_.find(tool);
  if (at == parameters_.end()) return {};
  const auto found = at->second.find(parameter);
  return found == at->second.end() ? TypeSet{} : found->second;
}

bool Tools::begins_name(std::string_view text) const {
  const auto at = parameters_.lower_bound(text);
  return at != parameters_.end() && at->first.starts_with(text);
}

std::vector<std::string> Tools::names() const {
  std::vector<std::string> out;
  for (const auto& [name, parameters] : parameters_) out.push_back(name);
  return out;
}

}  // namespace loadline::chat

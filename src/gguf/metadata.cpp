#include "gguf/metadata.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/error.h"
#include "base/text.h"

namespace loadline::gguf {
namespace {

struct TypeRow {
  std::string_view name;
  std::uint64_t stored_size;
};

// In the order of ValueType. A string stores its length (8 bytes) first, an array its element type and count (4 + 8).
constexpr std::array<TypeRow, kValueTypes> kTypes = {{
    {"uint8", 1},
    {"int8", 1},
    {"uint16", 2},
    {"int16", 2},
    {"uint32", 4},
    {"int32", 4},
    {"float32", 4},
    {"bool", 1},
    {"string", 8},
    {"array", 12},
    {"uint64", 8},
    {"int64", 8},
    {"float64", 8},
}};

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;
template <typename T>
constexpr bool kIsNumber = kIsInteger<T> || std::is_floating_point_v<T>;

std::string described(const Value& value) {
  if (const auto* array = std::get_if<Array>(&value.data)) {
    return fmt::format("an array of {}", name_of(array->element_type));
  }
  return fmt::format("of type {}", name_of(value.type()));
}

Error wrong_type(std::string_view key, const Value& value, std::string_view expected) {
  return bad_input(
      fmt::format("metadata key {} is {}, where {} is expected", printable(key), described(value), expected));
}

template <typename Number>
Error out_of_range(std::string_view key, Number number) {
  return bad_input(fmt::format("metadata key {} has the value {}, which is out of range", printable(key), number));
}

// Any stored integer as Target, where Target can hold it.
template <typename Target>
std::optional<Target> integer(std::string_view key, const Value* value) {
  if (value == nullptr) return std::nullopt;
  return std::visit(
      [&](const auto& stored) -> Target {
        using Stored = std::decay_t<decltype(stored)>;
        if constexpr (kIsInteger<Stored>) {
          if (!std::in_range<Target>(stored)) throw out_of_range(key, stored);
          return static_cast<Target>(stored);
        } else {
          throw wrong_type(key, *value, "a whole number");
        }
      },
      value->data);
}

}  // namespace

std::string_view name_of(ValueType type) { return kTypes.at(static_cast<std::size_t>(type)).name; }

std::uint64_t stored_size(ValueType type) { return kTypes.at(static_cast<std::size_t>(type)).stored_size; }

std::size_t Array::size() const {
  return std::visit([](const auto& elements) { return elements.size(); }, items);
}

const Value* Metadata::find(std::string_view key) const {
  const auto position = positions_.find(key);
  return position == positions_.end() ? nullptr : &entries_[position->second].second;
}

std::optional<std::uint64_t> Metadata::get_unsigned(std::string_view key) const {
  return integer<std::uint64_t>(key, find(key));
}

std::optional<std::int64_t> Metadata::get_signed(std::string_view key) const {
  return integer<std::int64_t>(key, find(key));
}

std::optional<double> Metadata::get_number(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  return std::visit(
      [&](const auto& stored) -> double {
        using Stored = std::decay_t<decltype(stored)>;
        if constexpr (std::is_floating_point_v<Stored>) {
          return stored;
        } else if constexpr (kIsInteger<Stored>) {
          // The widest range in which every whole number is a double: 2^53 either way.
          constexpr std::int64_t kExact = std::int64_t{1} << std::numeric_limits<double>::digits;
          if (std::cmp_greater(stored, kExact) || std::cmp_less(stored, -kExact)) throw out_of_range(key, stored);
          return static_cast<double>(stored);
        } else {
          throw wrong_type(key, *value, "a number");
        }
      },
      value->data);
}

std::optional<bool> Metadata::get_bool(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* stored = std::get_if<bool>(&value->data)) return *stored;
  throw wrong_type(key, *value, "a bool");
}

const std::string* Metadata::get_string(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* stored = std::get_if<std::string>(&value->data)) return stored;
  throw wrong_type(key, *value, "a string");
}

const Array* Metadata::get_array(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* stored = std::get_if<Array>(&value->data)) return stored;
  throw wrong_type(key, *value, "an array");
}

const Strings* Metadata::get_strings(std::string_view key) const {
  const Value* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* array = std::get_if<Array>(&value->data)) {
    if (const auto* strings = std::get_if<Strings>(&array->items)) return strings;
  }
  throw wrong_type(key, *value, "an array of strings");
}

std::optional<std::vector<float>> Metadata::get_floats(std::string_view key) const {
  const Array* array = get_array(key);
  if (array == nullptr) return std::nullopt;
  return std::visit(
      [&](const auto& elements) -> std::vector<float> {
        using Element = typename std::decay_t<decltype(elements)>::value_type;
        if constexpr (kIsNumber<Element>) {
          std::vector<float> converted;
          converted.reserve(elements.size());
          for (const Element element : elements) converted.push_back(static_cast<float>(element));
          return converted;
        } else {
          throw wrong_type(key, *find(key), "an array of numbers");
        }
      },
      array->items);
}

std::optional<std::vector<std::int64_t>> Metadata::get_integers(std::string_view key) const {
  const Array* array = get_array(key);
  if (array == nullptr) return std::nullopt;
  return std::visit(
      [&](const auto& elements) -> std::vector<std::int64_t> {
        using Element = typename std::decay_t<decltype(elements)>::value_type;
        if constexpr (kIsInteger<Element>) {
          std::vector<std::int64_t> converted;
          converted.reserve(elements.size());
          for (const Element element : elements) {
            if (!std::in_range<std::int64_t>(element)) throw out_of_range(key, element);
            converted.push_back(static_cast<std::int64_t>(element));
          }
          return converted;
        } else {
          throw wrong_type(key, *find(key), "an array of whole numbers");
        }
      },
      array->items);
}

void Metadata::set(std::string key, Value value) {
  const auto [position, added] = positions_.try_emplace(key, entries_.size());
  if (added) {
    entries_.emplace_back(std::move(key), std::move(value));
  } else {
    entries_[position->second].second = std::move(value);
  }
}

bool Metadata::add(std::string key, Value value) {
  if (!positions_.try_emplace(key, entries_.size()).second) return false;
  entries_.emplace_back(std::move(key), std::move(value));
  return true;
}

}  // namespace loadline::gguf

// The values of GGUF metadata: numbers of every width, text, and arrays of these, nested ones included.
// Plain data; what a key means is for the modules that ask for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "gguf/strings.h"

namespace loadline::gguf {

// The type ids of metadata values, as stored (GGUF specification, "gguf_metadata_value_type").
enum class ValueType : std::uint32_t {
  Uint8 = 0,
  Int8 = 1,
  Uint16 = 2,
  Int16 = 3,
  Uint32 = 4,
  Int32 = 5,
  Float32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  Uint64 = 10,
  Int64 = 11,
  Float64 = 12,
};

inline constexpr std::uint32_t kValueTypes = 13;

// "uint32", "string", ...: as the specification writes them, in lower case.
std::string_view name_of(ValueType type);

// The least number of bytes a value of this type takes in a file (a string's or an array's when it is empty).
std::uint64_t stored_size(ValueType type);

// How many arrays may lie inside one another. Known models use one level; the limit keeps recursion shallow.
inline constexpr int kMaxNesting = 8;

// A homogeneous array. Numbers keep their width; strings and nested arrays have places of their own.
struct Array {
  ValueType element_type = ValueType::Uint8;  // always the index of the alternative in `items`
  std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
               std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>, std::vector<float>,
               std::vector<bool>, Strings, std::vector<Array>, std::vector<std::uint64_t>, std::vector<std::int64_t>,
               std::vector<double>>
      items;

  // An array of these elements, whose type follows from T.
  template <typename T>
  static Array of(std::vector<T> elements) {
    Array array;
    array.items = std::move(elements);
    array.element_type = static_cast<ValueType>(array.items.index());
    return array;
  }

  [[nodiscard]] std::size_t size() const;
  bool operator==(const Array& other) const = default;
};

struct Value {
  // The alternative's index equals the ValueType.
  std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float, bool,
               std::string, Array, std::uint64_t, std::int64_t, double>
      data;

  [[nodiscard]] ValueType type() const { return static_cast<ValueType>(data.index()); }
  bool operator==(const Value& other) const = default;
};

}  // namespace loadline::gguf

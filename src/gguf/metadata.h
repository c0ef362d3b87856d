// The key-value part of a GGUF header, with getters that trust neither the presence nor the type of a key.
// It does not know what any key means.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/value.h"

namespace loadline::gguf {

// Keys in file order, unique. The typed getters accept every integer (or float) width that holds the value exactly, and
// throw Error(BadInput) naming the key where the type is wrong or the value out of range. Copyable plain data; reading
// from several threads is safe.
class Metadata {
 public:
  [[nodiscard]] const std::vector<std::pair<std::string, Value>>& entries() const { return entries_; }
  [[nodiscard]] const Value* find(std::string_view key) const;
  [[nodiscard]] bool contains(std::string_view key) const { return find(key) != nullptr; }

  // Null or nullopt when the key is missing.
  [[nodiscard]] std::optional<std::uint64_t> get_unsigned(std::string_view key) const;
  [[nodiscard]] std::optional<std::int64_t> get_signed(std::string_view key) const;
  [[nodiscard]] std::optional<double> get_number(std::string_view key) const;
  [[nodiscard]] std::optional<bool> get_bool(std::string_view key) const;
  [[nodiscard]] const std::string* get_string(std::string_view key) const;
  [[nodiscard]] const Array* get_array(std::string_view key) const;
  [[nodiscard]] const Strings* get_strings(std::string_view key) const;
  // Arrays of any float or integer width, converted; nullopt when missing.
  [[nodiscard]] std::optional<std::vector<float>> get_floats(std::string_view key) const;
  // Arrays of any integer width; a value above the largest int64 is out of range.
  [[nodiscard]] std::optional<std::vector<std::int64_t>> get_integers(std::string_view key) const;

  // Appends, or replaces the value of a key that is there.
  void set(std::string key, Value value);

  // Appends; false, and nothing changed, when the key is there.
  bool add(std::string key, Value value);

  // Room for this many keys.
  void reserve(std::size_t keys) { entries_.reserve(keys); }

  bool operator==(const Metadata& other) const { return entries_ == other.entries_; }

 private:
  std::vector<std::pair<std::string, Value>> entries_;
  // Ordered, not hashed: keys chosen by a stranger must not be able to make looking them up slow.
  std::map<std::string, std::size_t, std::less<>> positions_;
};

}  // namespace loadline::gguf

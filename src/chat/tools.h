// The tools that a conversation offers, as far as the text of a call needs them: names, and what types their parameters
// may have.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::chat {

// The JSON types that a schema allows, as a set.
struct TypeSet {
  static constexpr std::uint8_t kString = 1;
  static constexpr std::uint8_t kNumber = 2;
  static constexpr std::uint8_t kBoolean = 4;
  static constexpr std::uint8_t kNull = 8;
  static constexpr std::uint8_t kArray = 16;
  static constexpr std::uint8_t kObject = 32;
  static constexpr std::uint8_t kAll = 63;
  std::uint8_t types = kAll;
  bool known = false;  // a schema says so
};

// Immutable after construction.
class Tools {
 public:
  Tools() = default;
  // A JSON array of tools as in OpenAI's API ({"type": "function", "function": {"name", "parameters"}}, or the inner
  // object alone), or of names. Throws Error(BadInput) for anything else.
  explicit Tools(std::string_view json);

  [[nodiscard]] bool empty() const { return parameters_.empty(); }
  [[nodiscard]] bool has(std::string_view name) const { return parameters_.contains(name); }
  [[nodiscard]] TypeSet type_of(std::string_view tool, std::string_view parameter) const;
  // A name that begins with `text` is offered.
  [[nodiscard]] bool begins_name(std::string_view text) const;
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  using Parameters = std::map<std::string, TypeSet, std::less<>>;
  std::map<std::string, Parameters, std::less<>> parameters_;
};

}  // namespace loadline::chat

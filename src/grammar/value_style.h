// How values of a JSON schema are written where a model does not write JSON: in the arguments of calls of tools.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::grammar {

// As JSON, or in a near relative of it.
struct ValueStyle {
  std::string null_word = "null";
  std::string true_word = "true";
  std::string false_word = "false";
  // Not empty: strings stand between two of these as they are, without escapes, and names that are words stand bare.
  std::string quote{};
  // What no string contains, as who reads the output would take it for the end of more than the string.
  std::vector<std::string> never{};
};

// What a text in a tag may be taken for by its reader.
struct ReadAs {
  bool number = true;
  bool boolean = true;
  bool null = true;
  bool container = true;  // an array or an object
};

// How the members of an outermost object stand where it is written without braces: before_name NAME after_name VALUE
// after_value, one after the other.
struct MemberStyle {
  std::string before_name{};
  std::string after_name{};
  std::string after_value{};
  // Commas between members, and values as ValueStyle says. Otherwise strings stand as they are, and all else is JSON.
  bool commas = false;
  std::string value_end{};         // a value ends at the first of these: the beginning of `after_value`, without blanks
  std::string after_name_other{};  // not empty: instead of `after_name` where the value is no string
  std::function<ReadAs(std::string_view name)> read_as{};  // of strings; empty: anything
};

}  // namespace loadline::grammar

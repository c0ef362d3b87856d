// What templates find ready: filters, tests, global functions, and the methods of values.
// Tables from names to functions; the functions know nothing of templates' text.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

struct FilterEntry {
  std::string_view name;
  Value (*apply)(Interpreter&, const Value& subject, Arguments&);
};

struct TestEntry {
  std::string_view name;
  bool (*holds)(Interpreter&, const Value& subject, Arguments&);
};

// Null where there is none.
const FilterEntry* find_filter(std::string_view name);
const TestEntry* find_test(std::string_view name);
// The global function of this name, or undefined.
Value find_global(Interpreter& interpreter, std::string_view name);

// A method or property of a value; false where it has none of that name. Names that Python's sandbox hides are none.
bool find_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out);

// Filters and tests by group; each file of builtins has one.
using Filters = std::span<const FilterEntry>;
Filters text_filters();
Filters layout_filters();
Filters link_filters();
Filters list_filters();
Filters selection_filters();
bool find_string_method(Interpreter& interpreter, const Value& value, std::string_view name, Value& out);

// "%s" % ..., and str.format.
std::string percent_format(Interpreter& interpreter, std::string_view format, const Value& arguments);
std::string brace_format(Interpreter& interpreter, std::string_view format, const Arguments& arguments);
// One value by Python's format specification ("{:>10.2f}").
std::string format_value(Interpreter& interpreter, const Value& value, std::string_view specification);
// strftime in the C locale.
std::string format_time(std::string_view format, std::int64_t seconds_since_1970);

// The arguments of a native function by its parameters' names, as Python binds them.
class Parameters {
 public:
  Parameters(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names);
  [[nodiscard]] bool has(std::size_t i) const { return given_[i] != nullptr; }
  [[nodiscard]] const Value& at(std::size_t i) const;  // fails where it is missing
  [[nodiscard]] Value get(std::size_t i, Value fallback) const { return has(i) ? *given_[i] : std::move(fallback); }
  [[nodiscard]] bool flag(std::size_t i, bool fallback = false) const {
    return has(i) ? is_true(*given_[i]) : fallback;
  }
  [[nodiscard]] Integer integer(std::size_t i, Integer fallback) const;
  [[nodiscard]] Integer required_integer(std::size_t i) const { return has(i) ? integer(i, 0) : at(i).as_integer(); }
  [[nodiscard]] std::string text(Interpreter& interpreter, std::size_t i, std::string_view fallback) const;

 private:
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> given_;
};

}  // namespace loadline::chat::jinja

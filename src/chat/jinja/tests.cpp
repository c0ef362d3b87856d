// The tests (`x is y`), and the look-up of filters and tests by name.
#include <algorithm>
#include <map>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

using Subject = const Value&;

template <Operator kOp>
bool compares(Interpreter& interpreter, Subject subject, Arguments& arguments) {
  const Parameters parameters("test", arguments, {"other"});
  return compare(interpreter.heap(), kOp, subject, parameters.at(0));
}

bool divisible_by(Interpreter& interpreter, Subject subject, Arguments& arguments) {
  const Parameters parameters("test_divisibleby", arguments, {"num"});
  return !is_true(arithmetic(interpreter, Operator::Modulo, subject, parameters.at(0)));
}

Value modulo_two(Interpreter& interpreter, Subject subject) {
  return arithmetic(interpreter, Operator::Modulo, subject, Value::integer(2));
}
bool odd(Interpreter& i, Subject s, Arguments&) { return equal(i.heap(), modulo_two(i, s), Value::integer(1)); }
bool even(Interpreter& i, Subject s, Arguments&) { return equal(i.heap(), modulo_two(i, s), Value::integer(0)); }

bool boolean(Interpreter&, Subject s, Arguments&) { return s.is(Kind::Bool); }
bool is_false(Interpreter&, Subject s, Arguments&) { return s.is(Kind::Bool) && !s.as_bool(); }
bool true_test(Interpreter&, Subject s, Arguments&) { return s.is(Kind::Bool) && s.as_bool(); }
bool integer(Interpreter&, Subject s, Arguments&) { return s.is(Kind::Int); }
bool real(Interpreter&, Subject s, Arguments&) { return s.is(Kind::Float); }
bool number(Interpreter&, Subject s, Arguments&) { return s.is_number(); }
bool string(Interpreter&, Subject s, Arguments&) { return s.is_string(); }
bool mapping(Interpreter&, Subject s, Arguments&) { return s.is(Kind::Dict); }
bool none(Interpreter&, Subject s, Arguments&) { return s.is_none(); }
bool defined(Interpreter&, Subject s, Arguments&) { return !s.is_undefined(); }
bool undefined(Interpreter&, Subject s, Arguments&) { return s.is_undefined(); }
bool escaped_test(Interpreter&, Subject s, Arguments&) { return s.is_markup(); }

bool sequence(Interpreter&, Subject s, Arguments&) {
  return s.is_sequence() || s.is_string() || s.is(Kind::Dict) || s.is(Kind::Range) || s.is_undefined();
}
bool iterable(Interpreter&, Subject s, Arguments&) {
  return s.is_sequence() || s.is_string() || s.is(Kind::Dict) || s.is(Kind::Range) || s.is(Kind::View) ||
         s.is(Kind::Generator) || s.is(Kind::Loop) || s.is_undefined();
}
bool callable(Interpreter&, Subject s, Arguments&) {
  return s.is(Kind::Function) || s.is(Kind::Macro) || s.is(Kind::Loop) || s.is(Kind::Joiner) || s.is_undefined();
}

bool lower(Interpreter& interpreter, Subject s, Arguments& arguments) {
  Value method;
  find_string_method(interpreter, interpreter.string(interpreter.text_of(s)), "islower", method);
  return is_true(interpreter.call(method, arguments));
}
bool upper(Interpreter& interpreter, Subject s, Arguments& arguments) {
  Value method;
  find_string_method(interpreter, interpreter.string(interpreter.text_of(s)), "isupper", method);
  return is_true(interpreter.call(method, arguments));
}

bool same_as(Interpreter& interpreter, Subject s, Arguments& arguments) {
  const Parameters parameters("test_sameas", arguments, {"other"});
  const Value& other = parameters.at(0);
  if (s.kind() != other.kind()) return false;
  if (s.is_none() || s.is_undefined()) return true;
  if (s.is_number() || s.is_string()) return equal(interpreter.heap(), s, other);
  return s.object() == other.object();
}

bool in(Interpreter& interpreter, Subject s, Arguments& arguments) {
  const Parameters parameters("test_in", arguments, {"seq"});
  return contains(interpreter.heap(), parameters.at(0), s);
}

bool filter(Interpreter& interpreter, Subject s, Arguments&) { return find_filter(interpreter.text_of(s)) != nullptr; }
bool test(Interpreter& interpreter, Subject s, Arguments&) { return find_test(interpreter.text_of(s)) != nullptr; }

constexpr TestEntry kTests[] = {
    {"!=", compares<Operator::NotEqual>},
    {"<", compares<Operator::Less>},
    {"<=", compares<Operator::LessEqual>},
    {"==", compares<Operator::Equal>},
    {">", compares<Operator::Greater>},
    {">=", compares<Operator::GreaterEqual>},
    {"boolean", boolean},
    {"callable", callable},
    {"defined", defined},
    {"divisibleby", divisible_by},
    {"eq", compares<Operator::Equal>},
    {"equalto", compares<Operator::Equal>},
    {"escaped", escaped_test},
    {"even", even},
    {"false", is_false},
    {"filter", filter},
    {"float", real},
    {"ge", compares<Operator::GreaterEqual>},
    {"greaterthan", compares<Operator::Greater>},
    {"gt", compares<Operator::Greater>},
    {"in", in},
    {"integer", integer},
    {"iterable", iterable},
    {"le", compares<Operator::LessEqual>},
    {"lessthan", compares<Operator::Less>},
    {"lower", lower},
    {"lt", compares<Operator::Less>},
    {"mapping", mapping},
    {"ne", compares<Operator::NotEqual>},
    {"none", none},
    {"number", number},
    {"odd", odd},
    {"sameas", same_as},
    {"sequence", sequence},
    {"string", string},
    {"test", test},
    {"true", true_test},
    {"undefined", undefined},
    {"upper", upper},
};

}  // namespace

const TestEntry* find_test(std::string_view name) {
  const auto* const at =
      std::find_if(std::begin(kTests), std::end(kTests), [&](const TestEntry& entry) { return entry.name == name; });
  return at == std::end(kTests) ? nullptr : at;
}

const FilterEntry* find_filter(std::string_view name) {
  static const std::map<std::string_view, const FilterEntry*> kAll = [] {
    std::map<std::string_view, const FilterEntry*> all;
    for (const Filters filters :
         {text_filters(), layout_filters(), link_filters(), list_filters(), selection_filters()}) {
      for (const FilterEntry& entry : filters) all[entry.name] = &entry;
    }
    return all;
  }();
  const auto at = kAll.find(name);
  return at == kAll.end() ? nullptr : at->second;
}

}  // namespace loadline::chat::jinja

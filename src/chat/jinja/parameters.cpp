// Binding of arguments, and the global functions.
#include <ctime>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"

namespace loadline::chat::jinja {

Parameters::Parameters(std::string_view function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : function_(function), names_(names), given_(names.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    fail(function_ + "() takes " + std::to_string(names_.size()) + " arguments but " +
         std::to_string(arguments.positional.size()) + " were given");
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) given_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    std::size_t i = 0;
    while (i < names_.size() && names_[i] != name) ++i;
    if (i == names_.size()) fail(function_ + "() got an unexpected keyword argument '" + name + "'");
    if (given_[i] != nullptr) fail(function_ + "() got multiple values for argument '" + name + "'");
    given_[i] = &value;
  }
}

const Value& Parameters::at(std::size_t i) const {
  if (given_[i] == nullptr) {
    fail(function_ + "() missing 1 required positional argument: '" + std::string(names_[i]) + "'");
  }
  return *given_[i];
}

Integer Parameters::integer(std::size_t i, Integer fallback) const {
  if (!has(i)) return fallback;
  const Value& value = *given_[i];
  if (value.is_undefined()) fail(value.why_undefined());
  if (!value.is_integral()) fail("'" + type_name(value) + "' object cannot be interpreted as an integer");
  return value.as_integer();
}

std::string Parameters::text(Interpreter& interpreter, std::size_t i, std::string_view fallback) const {
  return has(i) ? interpreter.text_of(*given_[i]) : std::string(fallback);
}

namespace {

constexpr std::size_t kLongestRange = 100000;  // jinja2.sandbox.MAX_RANGE

Value make_range(Interpreter& interpreter, Arguments& arguments) {
  const Parameters parameters("range", arguments, {"start", "stop", "step"});
  const Integer first = parameters.integer(0, 0);
  if (!parameters.has(0)) fail("range expected at least 1 argument, got 0");
  const Integer start = parameters.has(1) ? first : 0;
  const Integer stop = parameters.has(1) ? parameters.integer(1, 0) : first;
  const Integer step = parameters.integer(2, 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  constexpr Integer kFar = Integer(1) << 62;
  for (const Integer bound : {start, stop, step}) {
    if (bound > kFar || bound < -kFar) fail("a number is too large for range()");
  }
  auto* range = interpreter.heap().make<RangeObject>(start, stop, step);
  const Value value(range);
  if (range->size > kLongestRange) {
    fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE (" + std::to_string(kLongestRange) + ").");
  }
  return value;
}

// dict(...) and namespace(...).
Value make_dict(Interpreter& interpreter, Arguments& arguments, Kind kind) {
  Heap& heap = interpreter.heap();
  Value out(heap.make<DictObject>(kind));
  if (arguments.positional.size() > 1) {
    fail("dict expected at most 1 argument, got " + std::to_string(arguments.positional.size()));
  }
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional.front();
    if (from.is(Kind::Dict) || from.is(Kind::Namespace)) {
      for (const auto& [key, value] : from.dict().entries) out.dict().set(key, value);
    } else {
      for_each(heap, from, [&](const Value& item) {
        const std::vector<Value> pair = list_of(heap, item);
        if (pair.size() != 2) fail("dictionary update sequence element has length " + std::to_string(pair.size()));
        out.dict().set(pair[0], pair[1]);
        return true;
      });
    }
  }
  for (auto& [name, value] : arguments.keyword) out.dict().set(name, std::move(value));
  return out;
}

Value raise_exception(Interpreter& interpreter, Arguments& arguments) {
  const Parameters parameters("raise_exception", arguments, {"message"});
  throw Failure(Failure::Kind::Raised, interpreter.text_of(parameters.at(0)));
}

Value strftime_now(Interpreter& interpreter, Arguments& arguments) {
  const Parameters parameters("strftime_now", arguments, {"format"});
  if (!parameters.at(0).is_string()) fail("strftime() argument 1 must be str, not " + type_name(parameters.at(0)));
  return interpreter.string(format_time(parameters.at(0).text(), interpreter.now()));
}

Value make_cycler(Interpreter& interpreter, Arguments& arguments) {
  if (arguments.positional.empty()) fail("at least one item has to be provided");
  return Value(interpreter.heap().make<CyclerObject>(std::move(arguments.positional)));
}

Value make_joiner(Interpreter& interpreter, Arguments& arguments) {
  const Parameters parameters("joiner", arguments, {"sep"});
  return Value(interpreter.heap().make<JoinerObject>(parameters.get(0, interpreter.string(", "))));
}

Value lipsum(Interpreter& interpreter, Arguments&) { return interpreter.string("Lorem ipsum dolor sit amet."); }

}  // namespace

Value find_global(Interpreter& interpreter, std::string_view name) {
  Heap& heap = interpreter.heap();
  if (name == "range") return heap.function("range", make_range);
  if (name == "dict") {
    return heap.function("dict", [](Interpreter& i, Arguments& a) { return make_dict(i, a, Kind::Dict); });
  }
  if (name == "namespace") {
    return heap.function("namespace", [](Interpreter& i, Arguments& a) { return make_dict(i, a, Kind::Namespace); });
  }
  if (name == "raise_exception") return heap.function("raise_exception", raise_exception);
  if (name == "strftime_now") return heap.function("strftime_now", strftime_now);
  if (name == "cycler") return heap.function("cycler", make_cycler);
  if (name == "joiner") return heap.function("joiner", make_joiner);
  if (name == "lipsum") return heap.function("lipsum", lipsum);
  return {};
}

std::string format_time(std::string_view format, std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::string wanted;  // without what a naive datetime leaves empty
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      wanted += format[i];
      continue;
    }
    const char directive = format[++i];
    if (directive == 'Z' || directive == 'z') continue;
    if (directive == 'f') {
      wanted += "000000";
    } else {
      wanted += '%';
      wanted += directive;
    }
  }
  if (wanted.empty()) return {};
  wanted += '|';  // so that an empty result differs from one that does not fit
  std::string out(wanted.size() * 32 + 256, '\0');
  const std::size_t written = std::strftime(out.data(), out.size(), wanted.c_str(), &parts);
  if (written == 0) fail("the date format cannot be written");
  out.resize(written - 1);
  return out;
}

}  // namespace loadline::chat::jinja

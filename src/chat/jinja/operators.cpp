#include "chat/jinja/operators.h"

#include <cmath>
#include <compare>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/text_search.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

std::string_view symbol(Operator op) {
  switch (op) {
    case Operator::Add: return "+";
    case Operator::Subtract: return "-";
    case Operator::Multiply: return "*";
    case Operator::Divide: return "/";
    case Operator::FloorDivide: return "//";
    case Operator::Modulo: return "%";
    case Operator::Power: return "** or pow()";
    case Operator::Less: return "<";
    case Operator::LessEqual: return "<=";
    case Operator::Greater: return ">";
    case Operator::GreaterEqual: return ">=";
    default: return "in";
  }
}

void require_defined(const Value& value) {
  if (value.is_undefined()) fail(value.why_undefined());
}

[[noreturn]] void fail_operands(Operator op, const Value& a, const Value& b) {
  if (op == Operator::Add && a.is_string()) {
    fail("can only concatenate str (not \"" + type_name(b) + "\") to str");
  }
  if (op == Operator::Add && a.is_sequence()) {
    fail("can only concatenate " + type_name(a) + " (not \"" + type_name(b) + "\") to " + type_name(a));
  }
  fail("unsupported operand type(s) for " + std::string(symbol(op)) + ": '" + type_name(a) + "' and '" + type_name(b) +
       "'");
}

// `value` is read after `overflow` is known, whatever the order of the arguments.
Integer in_range(bool overflow, const Integer& value) {
  if (overflow) fail("a number becomes too large");
  return value;
}

Integer floor_divided(Integer a, Integer b) {
  const Integer quotient = in_range(b == -1 && a == -a && a != 0, a / b);
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

double float_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  if ((b < 0) != (rest < 0)) rest += b;
  return rest;
}

// As CPython's float_floor_div.
double float_floor_divided(double a, double b) {
  const double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value integer_power(Integer base, Integer exponent) {
  if (exponent < 0) {
    if (base == 0) fail("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  Integer result = 1;
  bool base_overflows = false;
  while (exponent > 0) {
    if (exponent % 2 != 0) {
      Integer product = 0;
      const bool overflow = base_overflows || __builtin_mul_overflow(result, base, &product);
      result = in_range(overflow, product);
    }
    exponent /= 2;
    Integer square = 0;
    if (__builtin_mul_overflow(base, base, &square)) base_overflows = true;
    base = square;
  }
  return Value::integer(result);
}

Value integer_arithmetic(Operator op, Integer a, Integer b) {
  Integer out = 0;
  if ((op == Operator::Divide || op == Operator::FloorDivide || op == Operator::Modulo) && b == 0) {
    fail(op == Operator::Divide ? "division by zero" : "integer division or modulo by zero");
  }
  switch (op) {
    case Operator::Add: return Value::integer(in_range(__builtin_add_overflow(a, b, &out), out));
    case Operator::Subtract: return Value::integer(in_range(__builtin_sub_overflow(a, b, &out), out));
    case Operator::Multiply: return Value::integer(in_range(__builtin_mul_overflow(a, b, &out), out));
    case Operator::Divide: return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Operator::FloorDivide:
      if (b == -1) return Value::integer(in_range(__builtin_sub_overflow(Integer(0), a, &out), out));
      return Value::integer(floor_divided(a, b));
    case Operator::Modulo: {
      if (b == -1) return Value::integer(0);
      const Integer rest = a % b;
      return Value::integer(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    default: return integer_power(a, b);
  }
}

Value float_arithmetic(Operator op, double a, double b) {
  if ((op == Operator::Divide || op == Operator::FloorDivide || op == Operator::Modulo) && b == 0) {
    fail(op == Operator::Divide ? "float division by zero" : "float modulo");
  }
  switch (op) {
    case Operator::Add: return Value::real(a + b);
    case Operator::Subtract: return Value::real(a - b);
    case Operator::Multiply: return Value::real(a * b);
    case Operator::Divide: return Value::real(a / b);
    case Operator::FloorDivide: return Value::real(float_floor_divided(a, b));
    case Operator::Modulo: return Value::real(float_modulo(a, b));
    default: break;
  }
  const double power = std::pow(a, b);
  if (std::isnan(power) && !std::isnan(a) && !std::isnan(b)) fail("complex numbers are not supported");
  if (std::isinf(power) && !std::isinf(a) && !std::isinf(b)) fail("Numerical result out of range");
  return Value::real(power);
}

Value repeated(Heap& heap, const Value& what, Integer times) {
  const std::size_t size = what.is_string() ? what.text().size() : what.items().size() * sizeof(Value);
  if (times <= 0 || size == 0) {
    return what.is_string() ? heap.string("") : what.is(Kind::List) ? heap.list({}) : heap.tuple({});
  }
  if (times > Integer(heap.bytes_left() / size)) fail_limit("it needs more memory than a template may");
  const auto count = static_cast<std::size_t>(times);
  heap.spend_on(size * count);
  if (what.is_string()) {
    std::string out;
    out.reserve(size * count);
    for (std::size_t i = 0; i < count; ++i) out += what.text();
    return heap.string(std::move(out), what.is_markup());
  }
  std::vector<Value> items;
  items.reserve(what.items().size() * count);
  for (std::size_t i = 0; i < count; ++i) items.insert(items.end(), what.items().begin(), what.items().end());
  return what.is(Kind::List) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
}

std::partial_ordering order_at(Heap& heap, Operator op, const Value& a, const Value& b, int& depth);

std::partial_ordering order_of_items(Heap& heap, Operator op, const Value& a, const Value& b, int& depth) {
  const Depth deeper(depth);
  const auto& x = a.items();
  const auto& y = b.items();
  for (std::size_t i = 0; i < x.size() && i < y.size(); ++i) {
    if (!equal(heap, x[i], y[i])) return order_at(heap, op, x[i], y[i], depth);
  }
  return x.size() <=> y.size();
}

std::partial_ordering order_at(Heap& heap, Operator op, const Value& a, const Value& b, int& depth) {
  heap.spend();
  if (a.is_integral() && b.is_integral()) {
    const Integer x = a.as_integer();
    const Integer y = b.as_integer();
    return x < y   ? std::partial_ordering::less
           : x > y ? std::partial_ordering::greater
                   : std::partial_ordering::equivalent;
  }
  if (a.is_number() && b.is_number()) return a.as_real() <=> b.as_real();
  if (a.is_string() && b.is_string()) {
    heap.spend_on(std::min(a.text().size(), b.text().size()));
    return a.text() <=> b.text();  // UTF-8 sorts as the characters do
  }
  if (a.is_sequence() && a.kind() == b.kind()) return order_of_items(heap, op, a, b, depth);
  require_defined(a);
  require_defined(b);
  fail("'" + std::string(symbol(op)) + "' not supported between instances of '" + type_name(a) + "' and '" +
       type_name(b) + "'");
}

bool view_contains(Heap& heap, const ViewObject& view, const Value& item) {
  DictObject& dict = view.dict.dict();
  if (view.part == ViewObject::Of::Keys) return dict.find(item) != nullptr;
  for (const auto& [key, value] : dict.entries) {
    if (view.part == ViewObject::Of::Values ? equal(heap, value, item) : equal(heap, heap.tuple({key, value}), item)) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::optional<Integer> parse_integer(std::string_view text, int base) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  Integer out = 0;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    if (digit >= base) return std::nullopt;
    Integer scaled = 0;
    if (__builtin_mul_overflow(out, Integer(base), &scaled) || __builtin_add_overflow(scaled, Integer(digit), &out)) {
      return std::nullopt;
    }
  }
  return negative ? -out : out;
}

Value arithmetic(Interpreter& interpreter, Operator op, const Value& a, const Value& b) {
  Heap& heap = interpreter.heap();
  if (op == Operator::Modulo && a.is_string()) {
    return heap.string(percent_format(interpreter, a.text(), b), a.is_markup());
  }
  require_defined(a);
  require_defined(b);
  if (a.is_integral() && b.is_integral()) return integer_arithmetic(op, a.as_integer(), b.as_integer());
  if (a.is_number() && b.is_number()) return float_arithmetic(op, a.as_real(), b.as_real());
  if (op == Operator::Add && a.is_string() && b.is_string()) {
    heap.require(a.text().size() + b.text().size());
    if (a.is_markup() == b.is_markup()) return heap.string(a.text() + b.text(), a.is_markup());
    return heap.string((a.is_markup() ? a.text() : escaped(a.text())) + (b.is_markup() ? b.text() : escaped(b.text())),
                       true);
  }
  if (op == Operator::Add && a.is_sequence() && a.kind() == b.kind()) {
    heap.require((a.items().size() + b.items().size()) * sizeof(Value));
    std::vector<Value> items;
    items.reserve(a.items().size() + b.items().size());
    items.insert(items.end(), a.items().begin(), a.items().end());
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is(Kind::List) ? heap.list(std::move(items)) : heap.tuple(std::move(items));
  }
  if (op == Operator::Multiply) {
    if ((a.is_string() || a.is_sequence()) && b.is_integral()) return repeated(heap, a, b.as_integer());
    if ((b.is_string() || b.is_sequence()) && a.is_integral()) return repeated(heap, b, a.as_integer());
  }
  fail_operands(op, a, b);
}

Value negated(const Value& a) {
  require_defined(a);
  if (a.is(Kind::Float)) return Value::real(-a.as_real());
  if (!a.is_integral()) fail("bad operand type for unary -: '" + type_name(a) + "'");
  Integer out = 0;
  return Value::integer(in_range(__builtin_sub_overflow(Integer(0), a.as_integer(), &out), out));
}

Value unary_plus(const Value& a) {
  require_defined(a);
  if (a.is(Kind::Float)) return a;
  if (!a.is_integral()) fail("bad operand type for unary +: '" + type_name(a) + "'");
  return Value::integer(a.as_integer());
}

bool compare(Heap& heap, Operator op, const Value& a, const Value& b) {
  if (op == Operator::Equal) return equal(heap, a, b);
  if (op == Operator::NotEqual) return !equal(heap, a, b);
  if (op == Operator::In) return contains(heap, b, a);
  if (op == Operator::NotIn) return !contains(heap, b, a);
  int depth = 0;
  const std::partial_ordering order = order_at(heap, op, a, b, depth);
  switch (op) {
    case Operator::Less: return order < 0;
    case Operator::LessEqual: return order <= 0;
    case Operator::Greater: return order > 0;
    default: return order >= 0;
  }
}

bool less(Heap& heap, const Value& a, const Value& b) { return compare(heap, Operator::Less, a, b); }

bool contains(Heap& heap, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::Undefined: return false;
    case Kind::String:
      if (item.is_undefined()) fail(item.why_undefined());
      if (!item.is_string()) fail("'in <string>' requires string as left operand, not " + type_name(item));
      heap.spend_on(container.text().size());
      return find_text(container.text(), item.text()) != std::string_view::npos;
    case Kind::Dict: return container.dict().find(item) != nullptr;
    case Kind::View: return view_contains(heap, container.as<ViewObject>(), item);
    case Kind::List:
    case Kind::Tuple:
    case Kind::Range:
    case Kind::Generator: {
      bool found = false;
      for_each(heap, container, [&](const Value& other) {
        found = equal(heap, other, item);
        return !found;
      });
      return found;
    }
    default: fail("argument of type '" + type_name(container) + "' is not iterable");
  }
}

std::size_t length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined: return 0;
    case Kind::String: return value.as<StringObject>().characters();
    case Kind::List:
    case Kind::Tuple: return value.items().size();
    case Kind::Dict: return value.dict().entries.size();
    case Kind::Range: return value.as<RangeObject>().size;
    case Kind::View: return value.as<ViewObject>().dict.dict().entries.size();
    case Kind::Loop: return value.as<LoopObject>().items.size();
    default: fail("object of type '" + type_name(value) + "' has no len()");
  }
}

Iterator::Iterator(Heap& heap, Value iterable) : heap_(&heap), iterable_(std::move(iterable)) {
  switch (iterable_.kind()) {
    case Kind::Undefined:
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Dict:
    case Kind::View:
    case Kind::Range:
    case Kind::Generator: return;
    default: fail("'" + type_name(iterable_) + "' object is not iterable");
  }
}

bool Iterator::next(Value& item) {
  heap_->spend();
  switch (iterable_.kind()) {
    case Kind::String: {
      const std::string& text = iterable_.text();
      if (at_ >= text.size()) return false;
      const std::size_t begin = at_;
      next_character(text, at_);
      item = heap_->string(text.substr(begin, at_ - begin));
      return true;
    }
    case Kind::List:
    case Kind::Tuple:
      if (at_ >= iterable_.items().size()) return false;
      item = iterable_.items()[at_++];
      return true;
    case Kind::Dict:
      if (at_ >= iterable_.dict().entries.size()) return false;
      item = iterable_.dict().entries[at_++].first;
      return true;
    case Kind::View: {
      const auto& view = iterable_.as<ViewObject>();
      if (at_ >= view.dict.dict().entries.size()) return false;
      const auto& [key, value] = view.dict.dict().entries[at_++];
      if (view.part == ViewObject::Of::Items) {
        item = heap_->tuple({key, value});
      } else {
        item = view.part == ViewObject::Of::Keys ? key : value;
      }
      return true;
    }
    case Kind::Range:
      if (at_ >= iterable_.as<RangeObject>().size) return false;
      item = iterable_.as<RangeObject>().at(at_++);
      return true;
    case Kind::Generator: {
      const Depth deeper(heap_->iterators);  // a generator may read from another, and so on
      return iterable_.as<GeneratorObject>().next_value(item);
    }
    default: return false;
  }
}

void for_each(Heap& heap, const Value& iterable, const std::function<bool(const Value&)>& take) {
  Iterator iterator(heap, iterable);
  Value item;
  while (iterator.next(item)) {
    if (!take(item)) return;
  }
}

std::vector<Value> list_of(Heap& heap, const Value& iterable) {
  std::vector<Value> items;
  for_each(heap, iterable, [&](const Value& item) {
    heap.require((items.size() + 1) * sizeof(Value));
    items.push_back(item);
    return true;
  });
  return items;
}

SliceRange slice_range(std::size_t length, const Value& start, const Value& stop, const Value& step) {
  const auto index = [](const Value& value, Integer missing) {
    if (value.is_none()) return missing;
    if (value.is_undefined()) fail(value.why_undefined());
    if (!value.is_integral()) fail("slice indices must be integers or None or have an __index__ method");
    return value.as_integer();
  };
  const Integer size = static_cast<Integer>(length);
  const Integer by = index(step, 1);
  if (by == 0) fail("slice step cannot be zero");
  const Integer lowest = by > 0 ? 0 : -1;
  const Integer highest = by > 0 ? size : size - 1;
  const auto clipped = [&](const Value& value, Integer missing) {
    Integer at = index(value, missing);
    if (value.is_none()) return at;
    if (at < 0) at = at < -size ? lowest - size : at;
    if (at < 0) at += size;
    return std::clamp(at, lowest, highest);
  };
  const Integer first = clipped(start, by > 0 ? 0 : size - 1);
  const Integer last = clipped(stop, by > 0 ? size : -1);
  Integer count = 0;
  if (by > 0 && last > first) count = (last - first - 1) / by + 1;
  if (by < 0 && first > last) count = (first - last - 1) / (by < -size ? size + 1 : -by) + 1;
  return {static_cast<std::size_t>(count > 0 ? first : 0), static_cast<std::size_t>(count), by};
}

}  // namespace loadline::chat::jinja

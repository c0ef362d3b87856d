// The interpreter's expressions.
#include <algorithm>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/nested.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

// "'dict object'", "'None'": how jinja2 calls the owner of what is missing.
std::string owner_of(const Value& value) { return value.is_none() ? "'None'" : "'" + type_name(value) + " object'"; }

Value missing_attribute(Heap& heap, const Value& value, std::string_view name) {
  return Value::undefined(heap, owner_of(value) + " has no attribute " + repr_of(name));
}

// The element at `index`, counted from the end where it is negative; false where there is none.
bool element(Heap& heap, const Value& value, Integer index, Value& out) {
  const auto size = static_cast<Integer>(length_of(value));
  if (index < 0) index += size;
  if (index < 0 || index >= size) return false;
  const auto at = static_cast<std::size_t>(index);
  if (value.is_sequence()) {
    out = value.items()[at];
  } else if (value.is(Kind::Range)) {
    out = value.as<RangeObject>().at(at);
  } else if (static_cast<std::size_t>(size) == value.text().size()) {
    out = heap.string(std::string(1, value.text()[at]));
  } else {
    heap.spend_on(8 * at);
    const std::size_t begin = offset_of(value.text(), at);
    std::size_t end = begin;
    next_character(value.text(), end);
    out = heap.string(value.text().substr(begin, end - begin));
  }
  return true;
}

Value sliced_text(Heap& heap, const Value& value, const SliceRange& range) {
  const std::string& text = value.text();
  const bool single_bytes = value.as<StringObject>().characters() == text.size();
  std::string out;
  if (range.step == 1) {
    const std::size_t begin = single_bytes ? range.start : offset_of(text, range.start);
    const std::size_t end =
        single_bytes ? range.start + range.count : begin + offset_of(std::string_view(text).substr(begin), range.count);
    if (!single_bytes) heap.spend_on(8 * end);
    out = text.substr(begin, end - begin);
  } else {
    heap.spend_on(8 * text.size());
    std::vector<std::uint32_t> offsets;
    if (!single_bytes) {
      heap.require(text.size() * sizeof(std::uint32_t));
      for (std::size_t position = 0; position < text.size(); next_character(text, position)) {
        offsets.push_back(static_cast<std::uint32_t>(position));
      }
      offsets.push_back(static_cast<std::uint32_t>(text.size()));
    }
    auto at = static_cast<Integer>(range.start);
    for (std::size_t i = 0; i < range.count; ++i, at += range.step) {
      const auto index = static_cast<std::size_t>(at);
      out += single_bytes ? text.substr(index, 1) : text.substr(offsets[index], offsets[index + 1] - offsets[index]);
    }
  }
  return heap.string(std::move(out), value.is_markup());
}

}  // namespace

Value Interpreter::evaluate(const Expr& expr) {
  const Nested nested(nesting_);
  heap_.spend();
  line_ = expr.line;
  return evaluate_kind(expr);
}

Value Interpreter::evaluate_kind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::Constant: return constant(expr);
    case ExprKind::Name: return lookup(expr.name);
    case ExprKind::List:
    case ExprKind::Tuple: return evaluate_items(expr);
    case ExprKind::Dict: return evaluate_dict(expr);
    case ExprKind::GetAttribute: return get_attribute(evaluate(*expr.parts[0]), expr.text);
    case ExprKind::GetItem: {
      const Value owner = evaluate(*expr.parts[0]);
      return get_item(owner, evaluate(*expr.parts[1]));
    }
    case ExprKind::Slice: return evaluate_slice(expr);
    case ExprKind::Call: return evaluate_call(expr);
    case ExprKind::Filter: return evaluate_filter(expr);
    case ExprKind::Test: return evaluate_test(expr);
    case ExprKind::Negate: return negated(evaluate(*expr.parts[0]));
    case ExprKind::Plus: return unary_plus(evaluate(*expr.parts[0]));
    case ExprKind::Not: return Value::boolean(!is_true(evaluate(*expr.parts[0])));
    case ExprKind::And:
    case ExprKind::Or: return evaluate_logic(expr);
    case ExprKind::Arithmetic: return evaluate_arithmetic(expr);
    case ExprKind::Compare: return evaluate_comparison(expr);
    case ExprKind::Concatenate: return evaluate_concatenation(expr);
    case ExprKind::Conditional: return evaluate_conditional(expr);
  }
  return {};
}

Value Interpreter::evaluate_items(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.parts.size());
  for (const Expr* part : expr.parts) items.push_back(evaluate(*part));
  return expr.kind == ExprKind::List ? heap_.list(std::move(items)) : heap_.tuple(std::move(items));
}

Value Interpreter::evaluate_dict(const Expr& expr) {
  Value out = heap_.dict();
  for (std::size_t i = 0; i < expr.parts.size(); i += 2) {
    Value key = evaluate(*expr.parts[i]);
    out.dict().set(std::move(key), evaluate(*expr.parts[i + 1]));
  }
  return out;
}

Value Interpreter::evaluate_slice(const Expr& expr) {
  const Value value = evaluate(*expr.parts[0]);
  const auto part = [&](std::size_t i) { return expr.parts[i] == nullptr ? Value::none() : evaluate(*expr.parts[i]); };
  const Value start = part(1);
  const Value stop = part(2);
  const Value step = part(3);
  if (value.is_undefined()) fail(value.why_undefined());
  if (value.is_string()) {
    return sliced_text(heap_, value, slice_range(value.as<StringObject>().characters(), start, stop, step));
  }
  if (value.is(Kind::Dict)) fail("unhashable type: 'slice'");
  if (!value.is_sequence() && !value.is(Kind::Range)) {
    fail("'" + type_name(value) + "' object is not subscriptable");
  }
  const SliceRange range = slice_range(length_of(value), start, stop, step);
  std::vector<Value> items;
  items.reserve(range.count);
  auto at = static_cast<Integer>(range.start);
  for (std::size_t i = 0; i < range.count; ++i, at += range.step) {
    const auto index = static_cast<std::size_t>(at);
    items.push_back(value.is(Kind::Range) ? value.as<RangeObject>().at(index) : value.items()[index]);
  }
  return value.is(Kind::Tuple) ? heap_.tuple(std::move(items)) : heap_.list(std::move(items));
}

Arguments Interpreter::evaluate_arguments(const Expr& expr) {
  Arguments out;
  for (const Expr* argument : expr.positional) out.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : expr.keyword) {
    for (const auto& [other, value] : out.keyword) {
      if (other == name) fail("keyword argument repeated: " + name);
    }
    out.keyword.emplace_back(name, evaluate(*argument));
  }
  if (expr.rest != nullptr) {
    for (Value& item : list_of(heap_, evaluate(*expr.rest))) out.positional.push_back(std::move(item));
  }
  if (expr.rest_keywords != nullptr) {
    const Value rest = evaluate(*expr.rest_keywords);
    if (!rest.is(Kind::Dict)) fail("argument after ** must be a mapping, not " + type_name(rest));
    for (const auto& [key, value] : rest.dict().entries) {
      if (!key.is_string()) fail("keywords must be strings");
      out.keyword.emplace_back(key.text(), value);
    }
  }
  return out;
}

Value Interpreter::evaluate_call(const Expr& expr) {
  const Value callee = evaluate(*expr.parts[0]);
  Arguments arguments = evaluate_arguments(expr);
  line_ = expr.line;
  return call(callee, arguments);
}

Value Interpreter::evaluate_filter(const Expr& expr) {
  Value subject;
  if (expr.parts[0] == nullptr) {
    subject = std::move(filtered_);
  } else {
    subject = evaluate(*expr.parts[0]);
  }
  Arguments arguments = evaluate_arguments(expr);
  line_ = expr.line;
  if (expr.filter == nullptr) fail("No filter named '" + expr.text + "' found.");
  return expr.filter->apply(*this, subject, arguments);
}

Value Interpreter::evaluate_test(const Expr& expr) {
  const Value subject = evaluate(*expr.parts[0]);
  Arguments arguments = evaluate_arguments(expr);
  line_ = expr.line;
  if (expr.test == nullptr) fail("No test named '" + expr.text + "' found.");
  return Value::boolean(expr.test->holds(*this, subject, arguments));
}

Value Interpreter::evaluate_logic(const Expr& expr) {
  Value value;
  for (const Expr* part : expr.parts) {
    value = evaluate(*part);
    if (is_true(value) == (expr.kind == ExprKind::Or)) return value;
  }
  return value;
}

Value Interpreter::evaluate_arithmetic(const Expr& expr) {
  Value value = evaluate(*expr.parts[0]);
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    const Value right = evaluate(*expr.parts[i + 1]);
    line_ = expr.parts[i + 1]->line;
    value = arithmetic(*this, expr.operators[i], value, right);
  }
  return value;
}

Value Interpreter::evaluate_comparison(const Expr& expr) {
  Value left = evaluate(*expr.parts[0]);
  for (std::size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = evaluate(*expr.parts[i + 1]);
    if (!compare(heap_, expr.operators[i], left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concatenation(const Expr& expr) {
  std::string out;
  for (const Expr* part : expr.parts) {
    append_text(heap_, out, evaluate(*part));
    heap_.require(out.size());
  }
  return heap_.string(std::move(out));
}

Value Interpreter::evaluate_conditional(const Expr& expr) {
  if (is_true(evaluate(*expr.parts[0]))) return evaluate(*expr.parts[1]);
  if (expr.parts[2] != nullptr) return evaluate(*expr.parts[2]);
  return Value::undefined(heap_, "the inline if-expression on line " + std::to_string(expr.line) +
                                     " evaluated to false and no else section was defined.");
}

Value Interpreter::get_attribute(const Value& value, std::string_view name) {
  if (value.is_undefined()) fail(value.why_undefined());
  Value out;
  if (value.is(Kind::Namespace)) {
    const Value* found = value.dict().find(name);
    return found != nullptr ? *found : missing_attribute(heap_, value, name);
  }
  if (find_member(*this, value, name, out)) return out;
  if (value.is(Kind::Dict)) {
    if (const Value* found = value.dict().find(name)) return *found;
  }
  if (name.starts_with("__")) {
    return Value::undefined(heap_, "access to attribute " + repr_of(name) + " of " + owner_of(value) + " is unsafe.");
  }
  return missing_attribute(heap_, value, name);
}

Value Interpreter::get_item(const Value& value, const Value& index) {
  if (value.is_undefined()) fail(value.why_undefined());
  Value out;
  switch (value.kind()) {
    case Kind::Dict:
      if (!index.is(Kind::List) && !index.is(Kind::Dict)) {
        if (const Value* found = value.dict().find(index)) return *found;
      }
      break;
    case Kind::List:
    case Kind::Tuple:
    case Kind::String:
    case Kind::Range:
      if (index.is_integral() && element(heap_, value, index.as_integer(), out)) return out;
      break;
    default: break;
  }
  if (index.is_string()) {
    if (value.is(Kind::Namespace)) {
      if (const Value* found = value.dict().find(index.text())) return *found;
    }
    if (find_member(*this, value, index.text(), out)) return out;
    return missing_attribute(heap_, value, index.text());
  }
  return Value::undefined(heap_, owner_of(value) + " has no element " + repr_of(heap_, index));
}

Value Interpreter::apply_filter(std::string_view name, const Value& subject, Arguments& arguments) {
  const FilterEntry* filter = find_filter(name);
  if (filter == nullptr) fail("No filter named " + repr_of(name) + ".");
  const Nested nested(nesting_);
  return filter->apply(*this, subject, arguments);
}

bool Interpreter::apply_test(std::string_view name, const Value& subject, Arguments& arguments) {
  const TestEntry* test = find_test(name);
  if (test == nullptr) fail("No test named " + repr_of(name) + ".");
  const Nested nested(nesting_);
  return test->holds(*this, subject, arguments);
}

}  // namespace loadline::chat::jinja

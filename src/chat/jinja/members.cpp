// Methods and properties of values that are no text: dicts, lists, numbers, loops and what else there is.
#include <algorithm>
#include <cmath>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"

namespace loadline::chat::jinja {
namespace {

using Method = Value (*)(Interpreter&, const Value& self, Arguments&);
struct MethodEntry {
  std::string_view name;
  Method method;
  bool changes = false;  // the value itself
};

bool find_method(Interpreter& interpreter, const Value& self, std::span<const MethodEntry> methods,
                 std::string_view name, Value& out) {
  for (const MethodEntry& entry : methods) {
    if (entry.name != name) continue;
    const Method method = entry.method;
    if (entry.changes && self.object()->given) {
      out = Value::undefined(interpreter.heap(), "access to attribute " + repr_of(name) + " of " +
                                                     repr_of(type_name(self)) + " object is unsafe.");
      return true;
    }
    out = interpreter.heap().function(std::string(name),
                                      [self, method](Interpreter& i, Arguments& a) { return method(i, self, a); });
    return true;
  }
  return false;
}

// ---- dict. Transformers' sandbox has none of the methods that change a value, but templates call them: they may, on
// what they made themselves. ----

Value dict_view(Interpreter& interpreter, const Value& self, Arguments& arguments, ViewObject::Of part) {
  const Parameters parameters("dict view", arguments, {});
  return Value(interpreter.heap().make<ViewObject>(self, part));
}
Value dict_keys(Interpreter& i, const Value& s, Arguments& a) { return dict_view(i, s, a, ViewObject::Of::Keys); }
Value dict_values(Interpreter& i, const Value& s, Arguments& a) { return dict_view(i, s, a, ViewObject::Of::Values); }
Value dict_items(Interpreter& i, const Value& s, Arguments& a) { return dict_view(i, s, a, ViewObject::Of::Items); }

Value dict_get(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("get", arguments, {"key", "default"});
  const Value* found = self.dict().find(parameters.at(0));
  return found != nullptr ? *found : parameters.get(1, Value::none());
}

Value dict_copy(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("copy", arguments, {});
  Value out = interpreter.heap().dict();
  for (const auto& [key, value] : self.dict().entries) out.dict().set(key, value);
  return out;
}

Value dict_pop(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("pop", arguments, {"key", "default"});
  Value* found = self.dict().find(parameters.at(0));
  if (found == nullptr) {
    if (parameters.has(1)) return parameters.at(1);
    fail("KeyError: " + repr_of(interpreter.heap(), parameters.at(0)));
  }
  Value out = *found;
  self.dict().erase(parameters.at(0));
  return out;
}

Value dict_popitem(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("popitem", arguments, {});
  if (self.dict().entries.empty()) fail("popitem(): dictionary is empty");
  const auto [key, value] = self.dict().entries.back();
  self.dict().erase(key);
  return interpreter.heap().tuple({key, value});
}

Value dict_setdefault(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("setdefault", arguments, {"key", "default"});
  if (const Value* found = self.dict().find(parameters.at(0))) return *found;
  Value value = parameters.get(1, Value::none());
  self.dict().set(parameters.at(0), value);
  return value;
}

Value dict_update(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (arguments.positional.size() > 1) fail("update expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value from = arguments.positional.front();
    if (from.is(Kind::Dict)) {
      for (std::size_t i = 0; i < from.dict().entries.size(); ++i) {
        const auto [key, value] = from.dict().entries[i];
        self.dict().set(key, value);
      }
    } else {
      for_each(interpreter.heap(), from, [&](const Value& item) {
        const std::vector<Value> pair = list_of(interpreter.heap(), item);
        if (pair.size() != 2) fail("dictionary update sequence element has length " + std::to_string(pair.size()));
        self.dict().set(pair[0], pair[1]);
        return true;
      });
    }
  }
  for (const auto& [name, value] : arguments.keyword) self.dict().set(name, value);
  return Value::none();
}

Value dict_clear(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("clear", arguments, {});
  while (!self.dict().entries.empty()) {
    const Value key = self.dict().entries.back().first;
    self.dict().erase(key);
  }
  return Value::none();
}

constexpr MethodEntry kDictMethods[] = {
    {"clear", dict_clear, true},
    {"copy", dict_copy},
    {"get", dict_get},
    {"items", dict_items},
    {"keys", dict_keys},
    {"pop", dict_pop, true},
    {"popitem", dict_popitem, true},
    {"setdefault", dict_setdefault, true},
    {"update", dict_update, true},
    {"values", dict_values},
};

// ---- list, tuple ----

Value list_count(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("count", arguments, {"value"});
  Integer count = 0;
  for (const Value& item : list_of(interpreter.heap(), self)) {
    if (equal(interpreter.heap(), item, parameters.at(0))) ++count;
  }
  return Value::integer(count);
}

Value list_index(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("index", arguments, {"value", "start", "stop"});
  const std::vector<Value> items = list_of(interpreter.heap(), self);
  const SliceRange range =
      slice_range(items.size(), parameters.get(1, Value::none()), parameters.get(2, Value::none()), Value::none());
  for (std::size_t i = range.start; i < range.start + range.count; ++i) {
    if (equal(interpreter.heap(), items[i], parameters.at(0))) return Value::integer(static_cast<Integer>(i));
  }
  fail(repr_of(interpreter.heap(), parameters.at(0)) + " is not in " + type_name(self));
}

Value list_copy(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("copy", arguments, {});
  return interpreter.heap().list(self.items());
}

void add_item(const Value& self, std::size_t at, const Value& item) {
  Heap& heap = *self.object()->heap;
  heap.grow(*self.object(), sizeof(Value));
  heap.spend((self.items().size() - at) / 64 + 1);
  self.items().insert(self.items().begin() + static_cast<std::ptrdiff_t>(at), item);
}

Value list_append(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("append", arguments, {"object"});
  add_item(self, self.items().size(), parameters.at(0));
  return Value::none();
}

Value list_extend(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("extend", arguments, {"iterable"});
  for (const Value& item : list_of(interpreter.heap(), parameters.at(0))) add_item(self, self.items().size(), item);
  return Value::none();
}

// A position counted from the end where it is negative, within 0 and `most`.
std::size_t clipped(Integer index, std::size_t most) {
  const auto size = static_cast<Integer>(most);
  return static_cast<std::size_t>(std::clamp<Integer>(index < 0 ? index + size : index, 0, size));
}

Value list_insert(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("insert", arguments, {"index", "object"});
  add_item(self, clipped(parameters.required_integer(0), self.items().size()), parameters.at(1));
  return Value::none();
}

Value list_pop(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("pop", arguments, {"index"});
  auto& items = self.items();
  Integer index = parameters.integer(0, -1);
  if (items.empty()) fail("pop from empty list");
  if (index < 0) index += static_cast<Integer>(items.size());
  if (index < 0 || index >= static_cast<Integer>(items.size())) fail("pop index out of range");
  const auto at = items.begin() + static_cast<std::ptrdiff_t>(index);
  Value out = *at;
  self.object()->heap->spend(items.size() / 64 + 1);
  items.erase(at);
  return out;
}

Value list_remove(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("remove", arguments, {"value"});
  auto& items = self.items();
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!equal(interpreter.heap(), items[i], parameters.at(0))) continue;
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(i));
    return Value::none();
  }
  fail("list.remove(x): x not in list");
}

Value list_reverse(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("reverse", arguments, {});
  interpreter.heap().spend(self.items().size() / 8 + 1);
  std::reverse(self.items().begin(), self.items().end());
  return Value::none();
}

Value list_sort(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("sort", arguments, {"reverse"});
  std::vector<Value> items = self.items();
  sort_by(interpreter.heap(), items, [](const Value& item) -> const Value& { return item; }, parameters.flag(0));
  self.items() = std::move(items);
  return Value::none();
}

Value list_clear(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("clear", arguments, {});
  const std::vector<Value> old = std::move(self.items());
  self.items().clear();
  return Value::none();
}

constexpr MethodEntry kListMethods[] = {
    {"append", list_append, true},   {"clear", list_clear, true},   {"copy", list_copy},
    {"count", list_count},           {"extend", list_extend, true}, {"index", list_index},
    {"insert", list_insert, true},   {"pop", list_pop, true},       {"remove", list_remove, true},
    {"reverse", list_reverse, true}, {"sort", list_sort, true},
};
constexpr MethodEntry kTupleMethods[] = {{"count", list_count}, {"index", list_index}};

// ---- numbers ----

Value bit_length(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("bit_length", arguments, {});
  Integer rest = self.as_integer();
  Integer bits = 0;
  for (; rest != 0; rest /= 2) ++bits;
  return Value::integer(bits);
}
Value is_integer(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("is_integer", arguments, {});
  return Value::boolean(std::trunc(self.as_real()) == self.as_real());
}
Value conjugate(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("conjugate", arguments, {});
  return self;
}
constexpr MethodEntry kIntMethods[] = {{"bit_length", bit_length}, {"conjugate", conjugate}};
constexpr MethodEntry kFloatMethods[] = {{"is_integer", is_integer}, {"conjugate", conjugate}};

bool number_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  if (name == "real") {
    out = value.is_integral() ? Value::integer(value.as_integer()) : value;
    return true;
  }
  if (name == "imag") {
    out = value.is_integral() ? Value::integer(0) : Value::real(0);
    return true;
  }
  if (value.is_integral() && (name == "numerator" || name == "denominator")) {
    out = Value::integer(name == "numerator" ? value.as_integer() : Integer(1));
    return true;
  }
  return value.is_integral() ? find_method(interpreter, value, kIntMethods, name, out)
                             : find_method(interpreter, value, kFloatMethods, name, out);
}

// ---- loop ----

Value loop_cycle(Interpreter&, const Value& self, Arguments& arguments) {
  if (arguments.positional.empty()) fail("no items for cycling given");
  return arguments.positional[self.as<LoopObject>().index % arguments.positional.size()];
}

Value loop_changed(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  auto& loop = self.as<LoopObject>();
  Heap& heap = interpreter.heap();
  const bool same = loop.was_changed && equal(heap, heap.tuple(loop.changed), heap.tuple(arguments.positional));
  loop.was_changed = true;
  loop.changed = arguments.positional;
  return Value::boolean(!same);
}

constexpr MethodEntry kLoopMethods[] = {{"changed", loop_changed}, {"cycle", loop_cycle}};

bool loop_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  const auto& loop = value.as<LoopObject>();
  const auto size = static_cast<Integer>(loop.items.size());
  const auto index = static_cast<Integer>(loop.index);
  if (name == "index") {
    out = Value::integer(index + 1);
  } else if (name == "index0") {
    out = Value::integer(index);
  } else if (name == "revindex") {
    out = Value::integer(size - index);
  } else if (name == "revindex0") {
    out = Value::integer(size - index - 1);
  } else if (name == "first") {
    out = Value::boolean(index == 0);
  } else if (name == "last") {
    out = Value::boolean(index + 1 == size);
  } else if (name == "length") {
    out = Value::integer(size);
  } else if (name == "depth") {
    out = Value::integer(loop.depth);
  } else if (name == "depth0") {
    out = Value::integer(loop.depth - 1);
  } else if (name == "previtem") {
    out = index > 0 ? loop.items[loop.index - 1] : Value::undefined(interpreter.heap(), "there is no previous item");
  } else if (name == "nextitem") {
    out = index + 1 < size ? loop.items[loop.index + 1] : Value::undefined(interpreter.heap(), "there is no next item");
  } else {
    return find_method(interpreter, value, kLoopMethods, name, out);
  }
  return true;
}

// ---- cycler, macro, range, groups ----

Value cycler_next(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("next", arguments, {});
  auto& cycler = self.as<CyclerObject>();
  Value out = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return out;
}
Value cycler_reset(Interpreter&, const Value& self, Arguments& arguments) {
  const Parameters parameters("reset", arguments, {});
  self.as<CyclerObject>().position = 0;
  return Value::none();
}
constexpr MethodEntry kCyclerMethods[] = {{"next", cycler_next}, {"reset", cycler_reset}};

bool macro_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  const auto& macro = value.as<MacroObject>();
  if (name == "name") {
    out = interpreter.string(macro.name);
  } else if (name == "caller") {
    out = Value::boolean(macro.definition->uses_caller);
  } else if (name == "catch_kwargs") {
    out = Value::boolean(macro.definition->uses_kwargs);
  } else if (name == "catch_varargs") {
    out = Value::boolean(macro.definition->uses_varargs);
  } else {
    return false;
  }
  return true;
}

bool range_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  const auto& range = value.as<RangeObject>();
  if (name == "start" || name == "stop" || name == "step") {
    out = Value::integer(name == "start" ? range.start : name == "stop" ? range.stop : range.step);
    return true;
  }
  return find_method(interpreter, value, kTupleMethods, name, out);
}

bool tuple_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  if (value.as<ListObject>().group && (name == "grouper" || name == "list")) {
    out = value.items()[name == "grouper" ? 0 : 1];
    return true;
  }
  return find_method(interpreter, value, kTupleMethods, name, out);
}

}  // namespace

bool find_member(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  if (name.starts_with('_')) return false;
  switch (value.kind()) {
    case Kind::String: return find_string_method(interpreter, value, name, out);
    case Kind::Dict: return find_method(interpreter, value, kDictMethods, name, out);
    case Kind::List: return find_method(interpreter, value, kListMethods, name, out);
    case Kind::Tuple: return tuple_member(interpreter, value, name, out);
    case Kind::Bool:
    case Kind::Int:
    case Kind::Float: return number_member(interpreter, value, name, out);
    case Kind::Loop: return loop_member(interpreter, value, name, out);
    case Kind::Macro: return macro_member(interpreter, value, name, out);
    case Kind::Range: return range_member(interpreter, value, name, out);
    case Kind::Cycler:
      if (name == "current") {
        const auto& cycler = value.as<CyclerObject>();
        out = cycler.items[cycler.position];
        return true;
      }
      return find_method(interpreter, value, kCyclerMethods, name, out);
    default: return false;
  }
}

}  // namespace loadline::chat::jinja

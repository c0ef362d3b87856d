// map, select, reject and their attribute forms: generators, which do their work when they are read.
#include "chat/jinja/attribute_path.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"

namespace loadline::chat::jinja {
namespace {

Value map(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  Heap& heap = interpreter.heap();
  if (!is_true(subject)) {
    return heap.generator("sync_do_map", [](Value&) { return false; });
  }
  Iterator iterator(heap, subject);
  if (arguments.positional.empty()) {
    const Parameters parameters("map", arguments, {"attribute", "default"});
    if (!parameters.has(0)) fail("map requires a filter argument");
    const AttributePath path(interpreter, parameters.at(0), parameters.get(1, Value::none()));
    return heap.generator("sync_do_map", [&interpreter, path, iterator](Value& item) mutable {
      if (!iterator.next(item)) return false;
      item = path.of(interpreter, item);
      return true;
    });
  }
  const std::string name = interpreter.text_of(arguments.positional.front());
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  return heap.generator("sync_do_map", [&interpreter, name, rest, iterator](Value& item) mutable {
    if (!iterator.next(item)) return false;
    Arguments each = rest;
    item = interpreter.apply_filter(name, item, each);
    return true;
  });
}

Value selected(Interpreter& interpreter, const Value& subject, Arguments& arguments, bool wanted, bool by_attribute) {
  Heap& heap = interpreter.heap();
  Arguments rest = arguments;
  if (by_attribute && rest.positional.empty()) fail("Missing parameter for attribute name");
  const AttributePath path(interpreter, by_attribute ? rest.positional.front() : Value::none());
  if (by_attribute) rest.positional.erase(rest.positional.begin());
  std::string test;
  if (!rest.positional.empty()) {
    test = interpreter.text_of(rest.positional.front());
    rest.positional.erase(rest.positional.begin());
  }
  Iterator iterator(heap, is_true(subject) ? subject : heap.list({}));
  return heap.generator("select_or_reject", [&interpreter, path, test, rest, wanted, iterator](Value& item) mutable {
    while (iterator.next(item)) {
      const Value tested = path.of(interpreter, item);
      Arguments each = rest;
      const bool holds = test.empty() ? is_true(tested) : interpreter.apply_test(test, tested, each);
      if (holds == wanted) return true;
    }
    return false;
  });
}

Value select(Interpreter& i, const Value& s, Arguments& a) { return selected(i, s, a, true, false); }
Value reject(Interpreter& i, const Value& s, Arguments& a) { return selected(i, s, a, false, false); }
Value selectattr(Interpreter& i, const Value& s, Arguments& a) { return selected(i, s, a, true, true); }
Value rejectattr(Interpreter& i, const Value& s, Arguments& a) { return selected(i, s, a, false, true); }

constexpr FilterEntry kSelectionFilters[] = {
    {"map", map}, {"reject", reject}, {"rejectattr", rejectattr}, {"select", select}, {"selectattr", selectattr},
};

}  // namespace

Filters selection_filters() { return kSelectionFilters; }

}  // namespace loadline::chat::jinja

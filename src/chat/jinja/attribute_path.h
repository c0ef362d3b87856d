// The `attribute` argument of filters: "a.b.0", and for sorting several with commas.
#pragma once

#include <vector>

#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

// A string in lower case; anything else as it is.
Value without_case(Heap& heap, const Value& value);

class AttributePath {
 public:
  // `attribute` None: the item itself.
  AttributePath(Interpreter& interpreter, const Value& attribute, Value default_value = Value::none());
  [[nodiscard]] Value of(Interpreter& interpreter, const Value& item) const;

  Value fallback;  // in place of what is undefined; None: nothing
  bool ignore_case = false;

 private:
  std::vector<Value> parts_;
};

class SortKey {
 public:
  SortKey(Interpreter& interpreter, const Value& attribute, bool case_sensitive);
  [[nodiscard]] std::vector<Value> sorted(Interpreter& interpreter, const Value& iterable, bool reverse_order) const;

 private:
  std::vector<AttributePath> paths_;
};

}  // namespace loadline::chat::jinja

// Python's operators on a template's values. What Python cannot do fails with Python's words.
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

// A sign and digits; nullopt where that is no number, or too large a one.
std::optional<Integer> parse_integer(std::string_view text, int base = 10);

enum class Operator : std::uint8_t {
  Add,
  Subtract,
  Multiply,
  Divide,
  FloorDivide,
  Modulo,
  Power,
  Equal,
  NotEqual,
  Less,
  LessEqual,
  Greater,
  GreaterEqual,
  In,
  NotIn,
};

Value arithmetic(Interpreter& interpreter, Operator op, const Value& a, const Value& b);
Value negated(const Value& a);
Value unary_plus(const Value& a);
bool compare(Heap& heap, Operator op, const Value& a, const Value& b);
bool contains(Heap& heap, const Value& container, const Value& item);
// `a < b`, charged; fails where Python has no order.
bool less(Heap& heap, const Value& a, const Value& b);

// How many elements; fails where Python's len() does.
std::size_t length_of(const Value& value);

// Python's iter(): fails where Python cannot iterate. The heap must outlive it.
class Iterator {
 public:
  Iterator(Heap& heap, Value iterable);
  // False where there are no more.
  bool next(Value& item);

 private:
  Heap* heap_;
  Value iterable_;
  std::size_t at_ = 0;
};

// Calls `take` with each element in turn until it gives false.
void for_each(Heap& heap, const Value& iterable, const std::function<bool(const Value&)>& take);
std::vector<Value> list_of(Heap& heap, const Value& iterable);

// A stable sort by a key. A merge sort of our own, because a comparison may fail, and a template may bring values whose
// order is none (NaN), on which std::sort's behaviour is undefined.
template <typename T, typename Key>
void sort_by(Heap& heap, std::vector<T>& items, const Key& key, bool reverse) {
  std::vector<T> other(items);
  for (std::size_t width = 1; width < items.size(); width *= 2) {
    for (std::size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const std::size_t middle = std::min(begin + width, items.size());
      const std::size_t end = std::min(begin + 2 * width, items.size());
      std::size_t left = begin;
      std::size_t right = middle;
      for (std::size_t at = begin; at < end; ++at) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          take_right = reverse ? less(heap, key(items[left]), key(items[right]))
                               : less(heap, key(items[right]), key(items[left]));
        }
        other[at] = items[take_right ? right++ : left++];
      }
    }
    items.swap(other);
  }
}

// An index of a slice as Python clips it.
struct SliceRange {
  std::size_t start;
  std::size_t count;
  Integer step;
};
SliceRange slice_range(std::size_t length, const Value& start, const Value& stop, const Value& step);

}  // namespace loadline::chat::jinja

// Filters on sequences and dicts.
#include <algorithm>
#include <random>

#include "chat/jinja/attribute_path.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/text_search.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

Value first(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("first", arguments, {});
  Iterator iterator(interpreter.heap(), subject);
  Value item;
  if (iterator.next(item)) return item;
  return Value::undefined(interpreter.heap(), "No first item, sequence was empty.");
}

Value last(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("last", arguments, {});
  if (subject.is(Kind::Generator)) fail("'generator' object is not reversible");
  const std::vector<Value> items = list_of(interpreter.heap(), subject);
  if (!items.empty()) return items.back();
  return Value::undefined(interpreter.heap(), "No last item, sequence was empty.");
}

Value length(Interpreter&, const Value& subject, Arguments& arguments) {
  const Parameters parameters("len", arguments, {});
  return Value::integer(static_cast<Integer>(length_of(subject)));
}

Value to_list(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("list", arguments, {});
  return interpreter.heap().list(list_of(interpreter.heap(), subject));
}

Value join(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_join", arguments, {"d", "attribute"});
  const AttributePath path(interpreter, parameters.get(1, Value::none()));
  const Value separator = parameters.get(0, Value());
  Heap& heap = interpreter.heap();
  std::string out;
  bool begun = false;
  for_each(heap, subject, [&](const Value& item) {
    if (begun) append_text(heap, out, separator);
    begun = true;
    append_text(heap, out, path.of(interpreter, item));
    heap.require(out.size());
    return true;
  });
  return heap.string(std::move(out));
}

Value reverse(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_reverse", arguments, {});
  Heap& heap = interpreter.heap();
  std::vector<Value> items = list_of(heap, subject);
  std::reverse(items.begin(), items.end());
  if (subject.is_string()) {
    std::string out;
    for (const Value& item : items) out += item.text();
    return heap.string(std::move(out), subject.is_markup());
  }
  if (subject.is(Kind::Generator)) return heap.list(std::move(items));
  Iterator iterator(heap, heap.list(std::move(items)));
  return heap.generator("reversed", [iterator](Value& item) mutable { return iterator.next(item); });
}

Value sort(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const SortKey key(interpreter, parameters.get(2, Value::none()), parameters.flag(1));
  return interpreter.heap().list(key.sorted(interpreter, subject, parameters.flag(0)));
}

Value unique(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_unique", arguments, {"case_sensitive", "attribute"});
  Heap& heap = interpreter.heap();
  AttributePath path(interpreter, parameters.get(1, Value::none()));
  path.ignore_case = !parameters.flag(0);
  const Value seen = heap.dict();
  Iterator iterator(heap, subject);
  return heap.generator("sync_do_unique", [&interpreter, path, seen, iterator](Value& item) mutable {
    while (iterator.next(item)) {
      Value key = path.of(interpreter, item);
      if (seen.dict().find(key) != nullptr) continue;
      seen.dict().set(std::move(key), Value::none());
      return true;
    }
    return false;
  });
}

Value extreme(Interpreter& interpreter, const Value& subject, Arguments& arguments, bool largest) {
  const Parameters parameters(largest ? "do_max" : "do_min", arguments, {"case_sensitive", "attribute"});
  Heap& heap = interpreter.heap();
  AttributePath path(interpreter, parameters.get(1, Value::none()));
  path.ignore_case = !parameters.flag(0);
  Value best;
  Value best_key;
  bool any = false;
  for_each(heap, subject, [&](const Value& item) {
    Value key = path.of(interpreter, item);
    if (!any || (largest ? less(heap, best_key, key) : less(heap, key, best_key))) {
      best = item;
      best_key = std::move(key);
    }
    any = true;
    return true;
  });
  return any ? best : Value::undefined(heap, "No aggregated item, sequence was empty.");
}

Value minimum(Interpreter& i, const Value& subject, Arguments& arguments) {
  return extreme(i, subject, arguments, false);
}
Value maximum(Interpreter& i, const Value& subject, Arguments& arguments) {
  return extreme(i, subject, arguments, true);
}

Value sum(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_sum", arguments, {"attribute", "start"});
  const AttributePath path(interpreter, parameters.get(0, Value::none()));
  Value total = parameters.get(1, Value::integer(0));
  if (total.is_string()) fail("sum() can't sum strings [use ''.join(seq) instead]");
  for_each(interpreter.heap(), subject, [&](const Value& item) {
    total = arithmetic(interpreter, Operator::Add, total, path.of(interpreter, item));
    return true;
  });
  return total;
}

Value batch(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_batch", arguments, {"linecount", "fill_with"});
  Heap& heap = interpreter.heap();
  const Integer size = parameters.required_integer(0);
  const Value fill = parameters.get(1, Value::none());
  if (!fill.is_none() && size > Integer(heap.bytes_left() / sizeof(Value))) fail_limit("a batch is too long");
  Iterator iterator(heap, subject);
  return heap.generator("do_batch", [&heap, size, fill, iterator, done = false](Value& out) mutable {
    std::vector<Value> items;
    Value item;
    while (!done && (items.empty() || static_cast<Integer>(items.size()) < size)) {
      heap.require((items.size() + 1) * sizeof(Value));
      done = !iterator.next(item);
      if (!done) items.push_back(item);
    }
    if (items.empty()) return false;
    while (!fill.is_none() && static_cast<Integer>(items.size()) < size) items.push_back(fill);
    out = heap.list(std::move(items));
    return true;
  });
}

Value slice(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_slice", arguments, {"slices", "fill_with"});
  Heap& heap = interpreter.heap();
  const Integer slices = parameters.required_integer(0);
  const Value fill = parameters.get(1, Value::none());
  const std::vector<Value> items = list_of(heap, subject);
  if (slices == 0) fail("integer division or modulo by zero");
  if (slices < 0) return heap.list({});
  if (slices > Integer(heap.bytes_left() / 128)) fail_limit("there are too many slices");
  const auto count = static_cast<std::size_t>(slices);
  const std::size_t each = items.size() / count;
  const std::size_t with_one_more = items.size() % count;
  std::vector<Value> out;
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = each + (i < with_one_more ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                            items.begin() + static_cast<std::ptrdiff_t>(at + size));
    if (!fill.is_none() && i >= with_one_more) part.push_back(fill);
    out.push_back(heap.list(std::move(part)));
    at += size;
  }
  Iterator iterator(heap, heap.list(std::move(out)));
  return heap.generator("sync_do_slice", [iterator](Value& item) mutable { return iterator.next(item); });
}

Value groupby(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_groupby", arguments, {"attribute", "default", "case_sensitive"});
  Heap& heap = interpreter.heap();
  AttributePath path(interpreter, parameters.at(0), parameters.get(1, Value::none()));
  const AttributePath name_path = path;
  path.ignore_case = !parameters.flag(2);
  std::vector<std::pair<Value, Value>> keyed;
  for_each(heap, subject, [&](const Value& item) {
    heap.require((keyed.size() + 1) * sizeof(Value) * 4);
    keyed.emplace_back(path.of(interpreter, item), item);
    return true;
  });
  sort_by(heap, keyed, [](const auto& entry) -> const Value& { return entry.first; }, false);
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < keyed.size();) {
    std::vector<Value> members;
    std::size_t end = begin;
    while (end < keyed.size() && equal(heap, keyed[end].first, keyed[begin].first))
      members.push_back(keyed[end++].second);
    if (end == begin) members.push_back(keyed[end++].second);  // what does not equal itself
    Value group = heap.tuple({name_path.of(interpreter, members.front()), heap.list(std::move(members))});
    group.as<ListObject>().group = true;
    groups.push_back(std::move(group));
    begin = end;
  }
  return heap.list(std::move(groups));
}

Value dictsort(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_dictsort", arguments, {"case_sensitive", "by", "reverse"});
  Heap& heap = interpreter.heap();
  const std::string by = parameters.text(interpreter, 1, "key");
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (!subject.is(Kind::Dict)) {
    fail(subject.is_undefined() ? subject.why_undefined()
                                : "'" + type_name(subject) + "' object has no attribute 'items'");
  }
  const bool case_sensitive = parameters.flag(0);
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : subject.dict().entries) {
    const Value& sorted_by = by == "key" ? key : value;
    keyed.emplace_back(case_sensitive ? sorted_by : without_case(heap, sorted_by), heap.tuple({key, value}));
  }
  sort_by(heap, keyed, [](const auto& entry) -> const Value& { return entry.first; }, parameters.flag(2));
  std::vector<Value> out;
  for (auto& [key, entry] : keyed) out.push_back(std::move(entry));
  return heap.list(std::move(out));
}

Value items(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_items", arguments, {});
  Heap& heap = interpreter.heap();
  if (!subject.is_undefined() && !subject.is(Kind::Dict)) fail("Can only get item pairs from a mapping.");
  const Value view = subject.is_undefined() ? subject : Value(heap.make<ViewObject>(subject, ViewObject::Of::Items));
  Iterator iterator(heap, view);
  return heap.generator("do_items", [iterator](Value& item) mutable { return iterator.next(item); });
}

Value random(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_random", arguments, {});
  const std::size_t size = length_of(subject);
  if (size == 0) return Value::undefined(interpreter.heap(), "No random item, sequence was empty.");
  std::random_device device;
  return interpreter.get_item(subject, Value::integer(static_cast<Integer>(device() % size)));
}

constexpr FilterEntry kListFilters[] = {
    {"batch", batch}, {"count", length}, {"dictsort", dictsort}, {"first", first},     {"groupby", groupby},
    {"items", items}, {"join", join},    {"last", last},         {"length", length},   {"list", to_list},
    {"max", maximum}, {"min", minimum},  {"random", random},     {"reverse", reverse}, {"slice", slice},
    {"sort", sort},   {"sum", sum},      {"unique", unique},
};

}  // namespace

Filters list_filters() { return kListFilters; }

// ---- paths of attributes ----

Value without_case(Heap& heap, const Value& value) {
  return value.is_string() ? heap.string(to_lower(value.text())) : value;
}

AttributePath::AttributePath(Interpreter& interpreter, const Value& attribute, Value default_value)
    : fallback(std::move(default_value)) {
  Heap& heap = interpreter.heap();
  if (attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  const std::string& text = attribute.text();
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const auto number = parse_integer(part);
    const bool is_number = number && part.find_first_not_of("0123456789") == std::string::npos;
    parts_.push_back(is_number ? Value::integer(*number) : heap.string(part));
    begin = end + 1;
  }
}

Value AttributePath::of(Interpreter& interpreter, const Value& item) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = interpreter.get_item(value, part);
    if (value.is_undefined() && !fallback.is_none()) value = fallback;
  }
  return ignore_case ? without_case(interpreter.heap(), value) : value;
}

SortKey::SortKey(Interpreter& interpreter, const Value& attribute, bool case_sensitive) {
  Heap& heap = interpreter.heap();
  if (!attribute.is_string()) {
    paths_.emplace_back(interpreter, attribute);
  } else {
    const std::string& text = attribute.text();
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      paths_.emplace_back(interpreter, heap.string(text.substr(begin, end - begin)));
      begin = end + 1;
    }
  }
  for (AttributePath& path : paths_) path.ignore_case = !case_sensitive;
}

std::vector<Value> SortKey::sorted(Interpreter& interpreter, const Value& iterable, bool reverse_order) const {
  Heap& heap = interpreter.heap();
  std::vector<std::pair<Value, Value>> keyed;
  for_each(heap, iterable, [&](const Value& item) {
    heap.require((keyed.size() + 1) * sizeof(Value) * 4);
    std::vector<Value> keys;
    for (const AttributePath& path : paths_) keys.push_back(path.of(interpreter, item));
    keyed.emplace_back(heap.list(std::move(keys)), item);
    return true;
  });
  sort_by(heap, keyed, [](const auto& entry) -> const Value& { return entry.first; }, reverse_order);
  std::vector<Value> out;
  out.reserve(keyed.size());
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return out;
}

}  // namespace loadline::chat::jinja

#include "chat/jinja/value.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

constexpr std::size_t kFewEntries = 8;  // up to here a dict is searched from the front

std::uint64_t seed() {
  static const std::uint64_t kSeed = [] {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32 | device();
  }();
  return kSeed;
}

// Stafford's "Mix13": every input bit reaches every output bit.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

std::uint64_t hash_text(std::string_view text) {
  std::uint64_t hash = mix(seed() + text.size());
  for (std::size_t at = 0; at < text.size(); at += 8) {
    std::uint64_t word = 0;
    for (std::size_t i = at; i < text.size() && i < at + 8; ++i) {
      word = word << 8 | static_cast<unsigned char>(text[i]);
    }
    hash = mix(hash ^ word) + seed();
  }
  return hash;
}

std::uint64_t hash_integer(Integer value) {
  return mix(mix(seed() ^ static_cast<std::uint64_t>(value)) ^ static_cast<std::uint64_t>(value >> 64));
}

// Whether a float is a whole number that Integer holds.
bool is_whole(double value) { return std::trunc(value) == value && std::abs(value) < 0x1p126; }

std::uint64_t hash_at(Heap& heap, const Value& value, int& depth) {
  heap.spend();
  switch (value.kind()) {
    case Kind::String: heap.spend_on(value.text().size()); return hash_text(value.text());
    case Kind::Bool:
    case Kind::Int: return hash_integer(value.as_integer());
    case Kind::Float:
      return is_whole(value.as_real()) ? hash_integer(static_cast<Integer>(value.as_real()))
                                       : mix(seed() ^ std::bit_cast<std::uint64_t>(value.as_real()));
    case Kind::None: return mix(seed() + 1);
    case Kind::Undefined: return mix(seed() + 2);
    case Kind::Tuple: {
      const Depth deeper(depth);
      std::uint64_t hash = mix(seed() + 3);
      for (const Value& item : value.items()) hash = mix(hash ^ hash_at(heap, item, depth));
      return hash;
    }
    case Kind::List:
    case Kind::Dict: fail("unhashable type: '" + type_name(value) + "'");
    default: return mix(seed() ^ reinterpret_cast<std::uintptr_t>(value.object()));
  }
}

bool equal_at(Heap& heap, const Value& a, const Value& b, int& depth);

bool equal_items(Heap& heap, const std::vector<Value>& a, const std::vector<Value>& b, int& depth) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!equal_at(heap, a[i], b[i], depth)) return false;
  }
  return true;
}

bool equal_at(Heap& heap, const Value& a, const Value& b, int& depth) {
  heap.spend();
  if (a.is_integral() && b.is_integral()) return a.as_integer() == b.as_integer();
  if (a.is_number() && b.is_number()) return a.as_real() == b.as_real();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::Undefined:
    case Kind::None: return true;
    case Kind::String:
      if (a.text().size() == b.text().size()) heap.spend_on(a.text().size());
      return a.text() == b.text();
    default: break;
  }
  if (a.object() == b.object()) return true;
  const Depth deeper(depth);
  switch (a.kind()) {
    case Kind::List:
    case Kind::Tuple: return equal_items(heap, a.items(), b.items(), depth);
    case Kind::Dict: {
      if (a.dict().entries.size() != b.dict().entries.size()) return false;
      for (const auto& [key, value] : a.dict().entries) {
        const Value* other = b.dict().find(key);
        if (other == nullptr || !equal_at(heap, value, *other, depth)) return false;
      }
      return true;
    }
    case Kind::Range: {
      const auto& x = a.as<RangeObject>();
      const auto& y = b.as<RangeObject>();
      return x.size == y.size && (x.size == 0 || (x.start == y.start && (x.size == 1 || x.step == y.step)));
    }
    default: return false;
  }
}

}  // namespace

void fail(const std::string& message) { throw Failure(Failure::Kind::Runtime, message); }
void fail_limit(const std::string& message) { throw Failure(Failure::Kind::Limit, message); }

void Heap::fail_memory() { fail_limit("it needs more memory than a template may"); }
void Heap::fail_steps() { fail_limit("it takes more steps than a template may"); }

Heap::~Heap() {
  clearing_ = true;
  // Objects may refer to one another in circles: all are held while each lets go.
  for (Object* object = first_; object != nullptr; object = object->next) ++object->references;
  for (Object* object = first_; object != nullptr; object = object->next) object->clear();
  while (first_ != nullptr) {
    Object* object = first_;
    first_ = object->next;
    delete object;
  }
}

void Heap::unreferenced(Object* object) noexcept {
  if (object->previous != nullptr) {
    object->previous->next = object->next;
  } else {
    first_ = object->next;
  }
  if (object->next != nullptr) object->next->previous = object->previous;
  object->previous = nullptr;
  object->next = dead_;
  dead_ = object;
  if (clearing_) return;  // whoever clears comes to it
  clearing_ = true;
  while (dead_ != nullptr) {
    Object* dying = dead_;
    dead_ = dying->next;
    bytes_left_ += dying->held;
    delete dying;
  }
  clearing_ = false;
}

Value Heap::string(std::string text, bool markup) {
  spend_on(text.size());
  hold(text.size());
  StringObject* object = nullptr;
  try {
    object = make<StringObject>(std::move(text), markup);
  } catch (...) {
    give_back(text.size());
    throw;
  }
  object->held += object->text.size();
  return Value(object);
}

Value Heap::sequence(Kind kind, std::vector<Value> items) {
  spend(items.size() / 8 + 1);
  const std::size_t bytes = items.size() * sizeof(Value);
  hold(bytes);
  ListObject* object = nullptr;
  try {
    object = make<ListObject>(kind, std::move(items));
  } catch (...) {
    give_back(bytes);
    throw;
  }
  object->held += bytes;
  return Value(object);
}

Value Value::undefined(Heap& heap, std::string why) {
  Value v = heap.string(std::move(why));
  v.kind_ = Kind::Undefined;
  return v;
}

std::string Value::why_undefined() const {
  return as_.object == nullptr ? std::string("the value is undefined") : static_cast<StringObject*>(as_.object)->text;
}

std::size_t StringObject::characters() const {
  if (count == SIZE_MAX) {
    heap->spend_on(text.size());
    count = count_characters(text);
  }
  return count;
}

RangeObject::RangeObject(Heap& owner, Integer begin, Integer end, Integer by)
    : Object(owner, Kind::Range), start(begin), stop(end), step(by), size(0) {
  if (step > 0 && stop > start) size = static_cast<std::size_t>((stop - start + step - 1) / step);
  if (step < 0 && stop < start) size = static_cast<std::size_t>((start - stop - step - 1) / -step);
}

template <typename Matches>
std::size_t DictObject::position(std::uint64_t hash, const Matches& matches) const {
  if (slots_.empty()) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (matches(entries[i].first)) return i;
    }
    return SIZE_MAX;
  }
  for (std::size_t slot = hash & (slots_.size() - 1); slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
    const std::size_t i = slots_[slot] - 1;
    if (hashes_[i] == hash && matches(entries[i].first)) return i;
  }
  return SIZE_MAX;
}

Value* DictObject::find(const Value& key) {
  const std::uint64_t hash = hash_of(*heap, key);  // also where it is not needed: what cannot be hashed is refused
  const std::size_t at = position(hash, [&](const Value& other) { return equal(*heap, key, other); });
  return at == SIZE_MAX ? nullptr : &entries[at].second;
}

Value* DictObject::find(std::string_view key) {
  heap->spend();
  const std::uint64_t hash = slots_.empty() ? 0 : hash_text(key);
  const std::size_t at = position(hash, [&](const Value& other) { return other.is_string() && other.text() == key; });
  return at == SIZE_MAX ? nullptr : &entries[at].second;
}

void DictObject::insert(std::uint64_t hash, Value key, Value value) {
  heap->grow(*this, sizeof(Entry) + 16);
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() <= kFewEntries) return;
  if (slots_.empty() || entries.size() * 2 > slots_.size()) {
    rebuild();
    return;
  }
  hashes_.push_back(hash);
  std::size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
  slots_[slot] = static_cast<std::uint32_t>(entries.size());
}

void DictObject::rebuild() {
  slots_.clear();
  hashes_.clear();
  if (entries.size() <= kFewEntries) return;
  heap->spend(entries.size());
  slots_.assign(std::bit_ceil(entries.size() * 4), 0);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    hashes_.push_back(hash_of(*heap, entries[i].first));
    std::size_t slot = hashes_[i] & (slots_.size() - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = static_cast<std::uint32_t>(i + 1);
  }
}

void DictObject::set(Value key, Value value) {
  const std::uint64_t hash = hash_of(*heap, key);
  const std::size_t at = position(hash, [&](const Value& other) { return equal(*heap, key, other); });
  if (at != SIZE_MAX) {
    entries[at].second = std::move(value);
  } else {
    insert(hash, std::move(key), std::move(value));
  }
}

void DictObject::set(std::string_view key, Value value) { set(heap->string(std::string(key)), std::move(value)); }

bool DictObject::erase(const Value& key) {
  const std::uint64_t hash = hash_of(*heap, key);
  const std::size_t at = position(hash, [&](const Value& other) { return equal(*heap, key, other); });
  if (at == SIZE_MAX) return false;
  heap->spend(entries.size());
  entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(at));
  heap->give_back(sizeof(Entry) + 16);
  held -= sizeof(Entry) + 16;
  rebuild();
  return true;
}

bool equal(Heap& heap, const Value& a, const Value& b) {
  int depth = 0;
  return equal_at(heap, a, b, depth);
}

std::uint64_t hash_of(Heap& heap, const Value& value) {
  int depth = 0;
  return hash_at(heap, value, depth);
}

bool is_true(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined:
    case Kind::None: return false;
    case Kind::Bool:
    case Kind::Int: return value.as_integer() != 0;
    case Kind::Float: return value.as_real() != 0;
    case Kind::String: return !value.text().empty();
    case Kind::List:
    case Kind::Tuple: return !value.items().empty();
    case Kind::Dict: return !value.dict().entries.empty();
    case Kind::Range: return value.as<RangeObject>().size > 0;
    case Kind::View: return !value.as<ViewObject>().dict.dict().entries.empty();
    default: return true;
  }
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined: return "Undefined";
    case Kind::None: return "NoneType";
    case Kind::Bool: return "bool";
    case Kind::Int: return "int";
    case Kind::Float: return "float";
    case Kind::String: return value.is_markup() ? "Markup" : "str";
    case Kind::List: return "list";
    case Kind::Tuple: return "tuple";
    case Kind::Dict: return "dict";
    case Kind::Namespace: return "Namespace";
    case Kind::Range: return "range";
    case Kind::View: {
      const auto part = value.as<ViewObject>().part;
      return part == ViewObject::Of::Keys ? "dict_keys" : part == ViewObject::Of::Values ? "dict_values" : "dict_items";
    }
    case Kind::Generator: return "generator";
    case Kind::Function: return "function";
    case Kind::Macro: return "Macro";
    case Kind::Loop: return "LoopContext";
    case Kind::Cycler: return "Cycler";
    case Kind::Joiner: return "Joiner";
  }
  return "object";
}

}  // namespace loadline::chat::jinja

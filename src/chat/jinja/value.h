// The values of a template while it is rendered: Python's, as far as templates can see them, and the heap they live on.
// Every object belongs to one Heap, which bounds what a render may hold (bytes) and do (steps): a template is a
// stranger's program. Not thread-safe; a heap and its values are one render's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loadline::chat::jinja {

__extension__ using Integer = __int128;  // Python's have no bounds; what leaves these is refused

class Heap;
class Interpreter;
struct StringObject;
struct ListObject;
struct DictObject;

// Thrown while rendering; the template's entry points turn it into an Error.
class Failure : public std::runtime_error {
 public:
  enum class Kind : std::uint8_t { Raised, Runtime, Limit };
  Failure(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  [[nodiscard]] Kind kind() const { return kind_; }
  int line = 0;  // of the template, once known

 private:
  Kind kind_;
};

[[noreturn]] void fail(const std::string& message);        // the operation cannot be done
[[noreturn]] void fail_limit(const std::string& message);  // a bound is reached

enum class Kind : std::uint8_t {
  Undefined,
  None,
  Bool,
  Int,
  Float,
  String,
  List,
  Tuple,
  Dict,
  Namespace,
  Range,
  View,       // what dict.keys(), .values() and .items() give
  Generator,  // what map, select and their like give; used up by the first who reads it
  Function,
  Macro,
  Loop,
  Cycler,
  Joiner,
};

struct Object {
  Object(Heap& owner, Kind its_kind) : heap(&owner), kind(its_kind) {}
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual void clear() {}  // lets go of every other object

  Heap* heap;
  Object* previous = nullptr;  // in the heap's list of all objects
  Object* next = nullptr;
  std::uint32_t references = 0;
  Kind kind;
  std::size_t held = 0;  // bytes counted by the heap
  bool given = false;    // came with the render's variables, which the template must not change
};

// A value, or a counted reference to an object.
class Value {
 public:
  Value() = default;  // undefined
  Value(const Value& other) : kind_(other.kind_), as_(other.as_) { retain(); }
  Value(Value&& other) noexcept : kind_(other.kind_), as_(other.as_) {
    other.kind_ = Kind::Undefined;
    other.as_.object = nullptr;
  }
  Value& operator=(Value other) noexcept {
    std::swap(kind_, other.kind_);
    std::swap(as_, other.as_);
    return *this;
  }
  ~Value() { release(); }
  explicit Value(Object* object) : kind_(object->kind) {
    as_.object = object;
    retain();
  }

  static Value none() {
    Value v;
    v.kind_ = Kind::None;
    return v;
  }
  static Value boolean(bool b) {
    Value v;
    v.kind_ = Kind::Bool;
    v.as_.boolean = b;
    return v;
  }
  static Value integer(Integer i) {
    Value v;
    v.kind_ = Kind::Int;
    v.as_.integer = i;
    return v;
  }
  static Value real(double d) {
    Value v;
    v.kind_ = Kind::Float;
    v.as_.real = d;
    return v;
  }
  // `why`: what an operation that cannot do with it says.
  static Value undefined(Heap& heap, std::string why);

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] bool is(Kind kind) const { return kind_ == kind; }
  [[nodiscard]] bool is_undefined() const { return kind_ == Kind::Undefined; }
  [[nodiscard]] bool is_none() const { return kind_ == Kind::None; }
  [[nodiscard]] bool is_string() const { return kind_ == Kind::String; }
  [[nodiscard]] bool is_markup() const;
  // Booleans are integers too, as in Python.
  [[nodiscard]] bool is_integral() const { return kind_ == Kind::Int || kind_ == Kind::Bool; }
  [[nodiscard]] bool is_number() const { return is_integral() || kind_ == Kind::Float; }
  [[nodiscard]] bool is_sequence() const { return kind_ == Kind::List || kind_ == Kind::Tuple; }

  // Each only for its kind.
  [[nodiscard]] bool as_bool() const { return as_.boolean; }
  [[nodiscard]] Integer as_integer() const { return kind_ == Kind::Bool ? Integer(as_.boolean ? 1 : 0) : as_.integer; }
  [[nodiscard]] double as_real() const { return kind_ == Kind::Float ? as_.real : static_cast<double>(as_integer()); }
  [[nodiscard]] const std::string& text() const;
  [[nodiscard]] std::vector<Value>& items() const;  // of a list or tuple
  [[nodiscard]] DictObject& dict() const;           // of a dict or namespace
  [[nodiscard]] Object* object() const { return as_.object; }
  template <typename T>
  [[nodiscard]] T& as() const {
    return static_cast<T&>(*as_.object);
  }
  [[nodiscard]] std::string why_undefined() const;

 private:
  [[nodiscard]] bool counted() const {
    return (kind_ >= Kind::String || kind_ == Kind::Undefined) && as_.object != nullptr;
  }
  inline void retain();
  inline void release();

  Kind kind_ = Kind::Undefined;
  union {
    Object* object = nullptr;
    bool boolean;
    double real;
    Integer integer;
  } as_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

using Native = std::function<Value(Interpreter&, Arguments&)>;

struct StringObject : Object {
  StringObject(Heap& owner, std::string content, bool is_markup)
      : Object(owner, Kind::String), text(std::move(content)), markup(is_markup) {}
  [[nodiscard]] std::size_t characters() const;  // counted once
  std::string text;                              // UTF-8; not changed after construction
  bool markup;                                   // HTML that needs no escaping, after |safe or |escape
  mutable std::size_t count = SIZE_MAX;
};

struct ListObject : Object {  // and tuple
  ListObject(Heap& owner, Kind its_kind, std::vector<Value> content)
      : Object(owner, its_kind), items(std::move(content)) {}
  void clear() override { items.clear(); }
  std::vector<Value> items;
  bool group = false;  // a tuple of |groupby, whose members have names
};

// Keys in the order they came. Lookups are constant on average; the hash is seeded per process, as keys are a
// stranger's.
struct DictObject : Object {
  using Entry = std::pair<Value, Value>;
  DictObject(Heap& owner, Kind its_kind) : Object(owner, its_kind) {}
  void clear() override { entries.clear(); }
  [[nodiscard]] Value* find(const Value& key);
  [[nodiscard]] Value* find(std::string_view key);
  void set(Value key, Value value);
  void set(std::string_view key, Value value);
  bool erase(const Value& key);

  std::vector<Entry> entries;

 private:
  template <typename Matches>
  [[nodiscard]] std::size_t position(std::uint64_t hash, const Matches& matches) const;
  void insert(std::uint64_t hash, Value key, Value value);
  void rebuild();
  std::vector<std::uint32_t> slots_;   // index + 1 into entries, 0: empty; a power of two, at most half full
  std::vector<std::uint64_t> hashes_;  // of the entries; both empty while there are few
};

struct RangeObject : Object {
  RangeObject(Heap& owner, Integer begin, Integer end, Integer by);
  [[nodiscard]] Value at(std::size_t index) const { return Value::integer(start + Integer(index) * step); }
  Integer start;
  Integer stop;
  Integer step;
  std::size_t size;
};

struct ViewObject : Object {
  enum class Of : std::uint8_t { Keys, Values, Items };
  ViewObject(Heap& owner, Value its_dict, Of its_part)
      : Object(owner, Kind::View), dict(std::move(its_dict)), part(its_part) {}
  void clear() override { dict = Value(); }
  Value dict;
  Of part;
};

struct GeneratorObject : Object {
  using Next = std::function<bool(Value&)>;
  GeneratorObject(Heap& owner, std::string its_name, Next its_next)
      : Object(owner, Kind::Generator), name(std::move(its_name)), next_value(std::move(its_next)) {}
  void clear() override { next_value = nullptr; }
  std::string name;  // of the Python function: "sync_do_map"
  Next next_value;   // false: there are no more
};

struct FunctionObject : Object {
  FunctionObject(Heap& owner, std::string its_name, Native its_body)
      : Object(owner, Kind::Function), name(std::move(its_name)), body(std::move(its_body)) {}
  void clear() override { body = nullptr; }
  std::string name;
  Native body;
};

struct CyclerObject : Object {
  CyclerObject(Heap& owner, std::vector<Value> its_items) : Object(owner, Kind::Cycler), items(std::move(its_items)) {}
  void clear() override { items.clear(); }
  std::vector<Value> items;
  std::size_t position = 0;
};

struct JoinerObject : Object {
  JoinerObject(Heap& owner, Value its_separator) : Object(owner, Kind::Joiner), separator(std::move(its_separator)) {}
  void clear() override { separator = Value(); }
  Value separator;
  bool used = false;
};

// Owns every object of a render and counts bytes and steps. Objects whose count falls to zero go at once, one after the
// other and not inside one another; those in cycles go with the heap.
class Heap {
 public:
  Heap(std::size_t most_bytes, std::uint64_t most_steps) : bytes_left_(most_bytes), steps_left_(most_steps) {}
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  Value string(std::string text, bool markup = false);
  Value list(std::vector<Value> items) { return sequence(Kind::List, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(Kind::Tuple, std::move(items)); }
  Value dict() { return Value(make<DictObject>(Kind::Dict)); }
  Value function(std::string name, Native body) {
    return Value(make<FunctionObject>(std::move(name), std::move(body)));
  }
  Value generator(std::string name, GeneratorObject::Next next) {
    return Value(make<GeneratorObject>(std::move(name), std::move(next)));
  }

  template <typename T, typename... Arguments>
  T* make(Arguments&&... arguments) {
    hold(sizeof(T));
    T* object = new T(*this, std::forward<Arguments>(arguments)...);
    object->held = sizeof(T);
    object->next = first_;
    if (first_ != nullptr) first_->previous = object;
    first_ = object;
    return object;
  }
  // `object` takes this much more.
  void grow(Object& object, std::size_t bytes) {
    hold(bytes);
    object.held += bytes;
  }
  void hold(std::size_t bytes) {
    if (bytes > bytes_left_) fail_memory();
    bytes_left_ -= bytes;
  }
  void give_back(std::size_t bytes) { bytes_left_ += bytes; }
  // Before something that large is made.
  void require(std::size_t bytes) const {
    if (bytes > bytes_left_) fail_memory();
  }
  void spend(std::uint64_t steps = 1) {
    if (steps > steps_left_) fail_steps();
    steps_left_ -= steps;
  }
  // Work on that many bytes of text.
  void spend_on(std::size_t bytes) { spend(bytes / 64 + 1); }
  [[nodiscard]] std::size_t bytes_left() const { return bytes_left_; }
  [[nodiscard]] std::uint64_t steps_left() const { return steps_left_; }

  void unreferenced(Object* object) noexcept;

  int iterators = 0;  // generators that wait for one another, which Iterator bounds

 private:
  Value sequence(Kind kind, std::vector<Value> items);
  [[noreturn]] static void fail_memory();
  [[noreturn]] static void fail_steps();

  std::size_t bytes_left_;
  std::uint64_t steps_left_;
  Object* first_ = nullptr;
  Object* dead_ = nullptr;  // a list by `next`
  bool clearing_ = false;
};

inline void Value::retain() {
  if (counted()) ++as_.object->references;
}
inline void Value::release() {
  if (counted() && --as_.object->references == 0) as_.object->heap->unreferenced(as_.object);
}

inline bool Value::is_markup() const { return is_string() && as<StringObject>().markup; }
inline const std::string& Value::text() const { return as<StringObject>().text; }
inline std::vector<Value>& Value::items() const { return as<ListObject>().items; }
inline DictObject& Value::dict() const { return as<DictObject>(); }

// Guards recursion over nested values, of which a template can make any depth.
class Depth {
 public:
  static constexpr int kMost = 200;
  explicit Depth(int& depth) : depth_(depth) {
    if (++depth_ > kMost) {
      --depth_;
      fail_limit("values are nested too deeply");
    }
  }
  ~Depth() { --depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  int& depth_;
};

// Python's `==`; charged to the heap, as shared parts can make it long.
bool equal(Heap& heap, const Value& a, const Value& b);
// Throws for what Python cannot hash.
std::uint64_t hash_of(Heap& heap, const Value& value);
bool is_true(const Value& value);
// "str", "NoneType", ... as Python's messages name types.
std::string type_name(const Value& value);

// str() and repr().
void append_text(Heap& heap, std::string& out, const Value& value);
void append_repr(Heap& heap, std::string& out, const Value& value);
std::string text_of(Heap& heap, const Value& value);
std::string repr_of(Heap& heap, const Value& value);
std::string repr_of(std::string_view text);  // of a string
std::string repr_of(double number);
std::string decimal(Integer number);

}  // namespace loadline::chat::jinja

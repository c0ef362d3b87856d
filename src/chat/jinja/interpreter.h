// Renders a template's tree: statements in order, expressions by Python's rules, names by jinja2's scopes.
// One object is one render. What filters and methods do is builtins' affair.
#pragma once

#include <string>
#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

// The names that a loop's body, a macro's or a block's set for themselves; what is not here is looked up in `parent`,
// and at last among the template's own.
struct Scope : Object {
  Scope(Heap& owner, Value its_parent) : Object(owner, Kind::Function), parent(std::move(its_parent)) {}
  void clear() override {
    parent = Value();
    variables.clear();
  }
  void reset() {
    variables.clear();
    heap->give_back(held - sizeof(Scope));
    held = sizeof(Scope);
  }
  Value parent;  // a Scope, or undefined
  std::vector<std::pair<std::uint32_t, Value>> variables;
};

struct MacroObject : Object {
  MacroObject(Heap& owner, const Stmt& its_definition, std::string its_name, Value its_scope)
      : Object(owner, Kind::Macro),
        definition(&its_definition),
        name(std::move(its_name)),
        scope(std::move(its_scope)) {}
  void clear() override { scope = Value(); }
  const Stmt* definition;
  std::string name;
  Value scope;  // where it was defined
};

struct LoopObject : Object {
  explicit LoopObject(Heap& owner) : Object(owner, Kind::Loop) {}
  void clear() override {
    items.clear();
    changed.clear();
    scope = Value();
  }
  std::vector<Value> items;
  std::size_t index = 0;
  std::vector<Value> changed;  // what loop.changed() was last given
  bool was_changed = false;    // whether it was given anything
  const Stmt* definition = nullptr;
  Value scope;  // around the loop
  int depth = 1;
};

struct RenderSettings {
  std::size_t most_output;  // bytes
  int most_calls;           // macros inside one another
  std::int64_t now;         // what strftime_now prints, in seconds since 1970 on the local clock
};

class Interpreter {
 public:
  Interpreter(const Tree& tree, Heap& heap, const RenderSettings& settings);

  // `variables` is a dict. Throws Failure.
  std::string run(const Value& variables);

  // ---- for builtins ----

  [[nodiscard]] Heap& heap() { return heap_; }
  [[nodiscard]] std::int64_t now() const { return settings_.now; }
  Value call(const Value& callee, Arguments& arguments);
  Value get_attribute(const Value& value, std::string_view name);
  Value get_item(const Value& value, const Value& index);
  Value apply_filter(std::string_view name, const Value& subject, Arguments& arguments);
  bool apply_test(std::string_view name, const Value& subject, Arguments& arguments);
  std::string text_of(const Value& value);
  Value string(std::string text, bool markup = false) { return heap_.string(std::move(text), markup); }
  Value call_loop(LoopObject& loop, const Value& items);
  [[nodiscard]] bool escapes() const { return escapes_; }

 private:
  enum class Flow : std::uint8_t { Next, Break, Continue };
  class Nested;

  void mark_given(const Value& variables);
  // ---- names ----
  Value lookup(std::uint32_t name);
  void assign(std::uint32_t name, Value value);
  void assign(const Target& target, const Value& value, int line);
  [[nodiscard]] Value new_scope(const Value& parent);
  static void set_in(Scope& scope, std::uint32_t name, Value value);

  // ---- statements ----
  Flow run_body(const Body& body);
  Flow run_statement(const Stmt& statement);
  Flow run_if(const Stmt& statement);
  Flow run_for(const Stmt& statement);
  Flow run_loop(const Stmt& statement, std::vector<Value> items, int depth);
  std::vector<Value> loop_items(const Stmt& statement, const Value& iterable);
  void run_set(const Stmt& statement);
  Flow run_set_block(const Stmt& statement);
  void run_call_block(const Stmt& statement);
  Flow run_filter_block(const Stmt& statement);
  Flow run_with(const Stmt& statement);
  Flow run_scoped(const Body& body);
  Flow run_autoescape(const Stmt& statement);
  void emit(std::string_view text);
  void print(const Value& value);
  template <typename Run>
  std::string captured(const Run& run);

  // ---- expressions ----
  Value evaluate(const Expr& expr);
  Value evaluate_kind(const Expr& expr);
  Value constant(const Expr& expr) { return constants_[expr.constant]; }
  Value evaluate_items(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_call(const Expr& expr);
  Value evaluate_filter(const Expr& expr);
  Value evaluate_test(const Expr& expr);
  Value evaluate_logic(const Expr& expr);
  Value evaluate_arithmetic(const Expr& expr);
  Value evaluate_comparison(const Expr& expr);
  Value evaluate_concatenation(const Expr& expr);
  Value evaluate_conditional(const Expr& expr);
  Arguments evaluate_arguments(const Expr& expr);
  Value call_macro(const MacroObject& macro, Arguments& arguments);
  void bind_parameters(const MacroObject& macro, Arguments& arguments, const Value& scope);

  const Tree& tree_;
  Heap& heap_;
  RenderSettings settings_;
  std::vector<Value> constants_;
  std::vector<Value> root_;  // by name: the template's variables, what it sets at the top, and global functions
  Value scope_;              // undefined at the top
  Value filtered_;           // what a filter block's filters begin with
  std::string* out_ = nullptr;
  bool capturing_ = false;
  bool escapes_ = false;  // in {% autoescape true %}
  int nesting_ = 0;       // of the interpreter's own recursion
  int calls_ = 0;
  int line_ = 0;
};

}  // namespace loadline::chat::jinja

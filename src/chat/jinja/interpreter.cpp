// Statements and names; expressions are in expressions.cpp.
#include "chat/jinja/interpreter.h"

#include <algorithm>

#include "chat/jinja/builtins.h"
#include "chat/jinja/nested.h"
#include "chat/jinja/text_search.h"

namespace loadline::chat::jinja {

Interpreter::Interpreter(const Tree& tree, Heap& heap, const RenderSettings& settings)
    : tree_(tree), heap_(heap), settings_(settings) {
  for (const Constant& constant : tree.constants) {
    switch (constant.kind) {
      case Kind::Bool: constants_.push_back(Value::boolean(constant.boolean)); break;
      case Kind::Int: constants_.push_back(Value::integer(constant.integer)); break;
      case Kind::Float: constants_.push_back(Value::real(constant.real)); break;
      case Kind::String: constants_.push_back(heap.string(constant.text)); break;
      default: constants_.push_back(Value::none());
    }
  }
}

void Interpreter::mark_given(const Value& variables) {
  std::vector<Value> rest = {variables};
  while (!rest.empty()) {
    const Value value = std::move(rest.back());
    rest.pop_back();
    heap_.spend();
    if (!value.is_sequence() && !value.is(Kind::Dict)) continue;
    if (value.object()->given) continue;
    value.object()->given = true;
    if (value.is_sequence()) {
      rest.insert(rest.end(), value.items().begin(), value.items().end());
    } else {
      for (const auto& [key, item] : value.dict().entries) rest.push_back(item);
    }
  }
}

std::string Interpreter::run(const Value& variables) {
  mark_given(variables);
  for (const std::string& name : tree_.names) {
    const Value* given = variables.dict().find(name);
    if (given != nullptr) {
      root_.push_back(*given);
      continue;
    }
    Value global = find_global(*this, name);
    root_.push_back(global.is_undefined() ? Value::undefined(heap_, "'" + name + "' is undefined") : global);
  }
  std::string out;
  out_ = &out;
  try {
    run_body(tree_.body);
  } catch (Failure& failure) {
    if (failure.line == 0) failure.line = line_;
    throw;
  }
  return out;
}

// ---- names ----

Value Interpreter::lookup(std::uint32_t name) {
  for (Value* scope = &scope_; !scope->is_undefined(); scope = &scope->as<Scope>().parent) {
    heap_.spend();
    for (const auto& [number, value] : scope->as<Scope>().variables) {
      if (number == name) return value;
    }
  }
  return root_[name];
}

void Interpreter::set_in(Scope& scope, std::uint32_t name, Value value) {
  for (auto& [number, old] : scope.variables) {
    if (number != name) continue;
    old = std::move(value);
    return;
  }
  scope.heap->grow(scope, sizeof(Value) + 16);
  scope.variables.emplace_back(name, std::move(value));
}

void Interpreter::assign(std::uint32_t name, Value value) {
  if (scope_.is_undefined()) {
    root_[name] = std::move(value);
  } else {
    set_in(scope_.as<Scope>(), name, std::move(value));
  }
}

void Interpreter::assign(const Target& target, const Value& value, int line) {
  line_ = line;
  switch (target.kind) {
    case Target::Kind::Name: assign(target.name, value); return;
    case Target::Kind::Attribute: {
      const Value owner = lookup(target.name);
      if (!owner.is(Kind::Namespace)) fail("cannot assign attribute on non-namespace object");
      owner.dict().set(target.attribute, value);
      return;
    }
    case Target::Kind::Several: break;
  }
  const std::vector<Value> items = list_of(heap_, value);
  if (items.size() > target.several.size()) {
    fail("too many values to unpack (expected " + std::to_string(target.several.size()) + ")");
  }
  if (items.size() < target.several.size()) {
    fail("not enough values to unpack (expected " + std::to_string(target.several.size()) + ", got " +
         std::to_string(items.size()) + ")");
  }
  for (std::size_t i = 0; i < items.size(); ++i) assign(target.several[i], items[i], line);
}

Value Interpreter::new_scope(const Value& parent) { return Value(heap_.make<Scope>(parent)); }

// ---- output ----

void Interpreter::emit(std::string_view text) {
  heap_.spend_on(text.size());
  if (capturing_) {
    heap_.hold(text.size());
  } else if (out_->size() + text.size() > settings_.most_output) {
    fail_limit("its output is longer than " + std::to_string(settings_.most_output) + " bytes");
  }
  *out_ += text;
}

void Interpreter::print(const Value& value) {
  if (value.is_string()) {
    emit(escapes_ && !value.is_markup() ? escaped(value.text()) : value.text());
    return;
  }
  std::string text;
  append_text(heap_, text, value);
  emit(escapes_ ? escaped(text) : text);
}

template <typename Run>
std::string Interpreter::captured(const Run& run) {
  std::string text;
  std::string* const out = out_;
  const bool was_capturing = capturing_;
  out_ = &text;
  capturing_ = true;
  run();
  out_ = out;
  capturing_ = was_capturing;
  heap_.give_back(text.size());
  return text;
}

// ---- statements ----

Interpreter::Flow Interpreter::run_body(const Body& body) {
  for (const Stmt* statement : body) {
    const Flow flow = run_statement(*statement);
    if (flow != Flow::Next) return flow;
  }
  return Flow::Next;
}

Interpreter::Flow Interpreter::run_statement(const Stmt& statement) {
  const Nested nested(nesting_);
  heap_.spend();
  line_ = statement.line;
  switch (statement.kind) {
    case StmtKind::Text: emit(statement.text); return Flow::Next;
    case StmtKind::Print: print(evaluate(*statement.value)); return Flow::Next;
    case StmtKind::If: return run_if(statement);
    case StmtKind::For: return run_for(statement);
    case StmtKind::Set: run_set(statement); return Flow::Next;
    case StmtKind::SetBlock: return run_set_block(statement);
    case StmtKind::Macro:
      assign(statement.name, Value(heap_.make<MacroObject>(statement, statement.text, scope_)));
      return Flow::Next;
    case StmtKind::CallBlock: run_call_block(statement); return Flow::Next;
    case StmtKind::FilterBlock: return run_filter_block(statement);
    case StmtKind::With: return run_with(statement);
    case StmtKind::Scoped: return run_scoped(statement.body);
    case StmtKind::Autoescape: return run_autoescape(statement);
    case StmtKind::Break: return Flow::Break;
    case StmtKind::Continue: return Flow::Continue;
    case StmtKind::Unsupported: fail("\"" + statement.text + "\" needs other templates, and there are none");
  }
  return Flow::Next;
}

Interpreter::Flow Interpreter::run_if(const Stmt& statement) {
  for (const Branch& branch : statement.branches) {
    if (is_true(evaluate(*branch.test))) return run_body(branch.body);
  }
  return run_body(statement.otherwise);
}

std::vector<Value> Interpreter::loop_items(const Stmt& statement, const Value& iterable) {
  std::vector<Value> items = list_of(heap_, iterable);
  if (statement.condition == nullptr) return items;
  const Value outer = scope_;
  std::vector<Value> kept;
  for (const Value& item : items) {
    scope_ = new_scope(outer);
    assign(statement.target, item, statement.line);
    if (is_true(evaluate(*statement.condition))) kept.push_back(item);
  }
  scope_ = outer;
  return kept;
}

Interpreter::Flow Interpreter::run_for(const Stmt& statement) {
  std::vector<Value> items = loop_items(statement, evaluate(*statement.value));
  return run_loop(statement, std::move(items), 1);
}

Interpreter::Flow Interpreter::run_loop(const Stmt& statement, std::vector<Value> items, int depth) {
  if (items.empty()) return run_scoped(statement.otherwise);
  const std::size_t held = items.size() * sizeof(Value);
  heap_.hold(held);
  const Value outer = scope_;
  Value loop;
  if (statement.uses_loop || statement.recursive) {
    loop = Value(heap_.make<LoopObject>());
    auto& object = loop.as<LoopObject>();
    object.items = items;
    object.definition = &statement;
    object.scope = outer;
    object.depth = depth;
  }
  Value scope;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!scope.is_undefined() && scope.object()->references == 2) {  // `scope` and `scope_`: nobody kept it
      scope.as<Scope>().reset();
    } else {
      scope = new_scope(outer);
    }
    scope_ = scope;
    if (!loop.is_undefined()) {
      loop.as<LoopObject>().index = i;
      set_in(scope.as<Scope>(), tree_.loop_name, loop);
    }
    assign(statement.target, items[i], statement.line);
    if (run_body(statement.body) == Flow::Break) break;
  }
  scope_ = outer;
  heap_.give_back(held);
  return Flow::Next;
}

Value Interpreter::call_loop(LoopObject& loop, const Value& items) {
  if (!loop.definition->recursive) fail("The loop must have the 'recursive' marker to be called recursively.");
  if (calls_ >= settings_.most_calls) fail_limit("calls are nested more than " + std::to_string(calls_) + " deep");
  ++calls_;
  const Value kept(&loop);
  const Value outer = scope_;
  scope_ = loop.scope;
  std::string text = captured([&] { run_loop(*loop.definition, loop_items(*loop.definition, items), loop.depth + 1); });
  scope_ = outer;
  --calls_;
  return heap_.string(std::move(text), escapes_);
}

void Interpreter::run_set(const Stmt& statement) {
  assign(statement.target, evaluate(*statement.value), statement.line);
}

Interpreter::Flow Interpreter::run_set_block(const Stmt& statement) {
  Flow flow = Flow::Next;
  const Value outer = scope_;
  scope_ = new_scope(outer);
  std::string text = captured([&] { flow = run_body(statement.body); });
  Value value = heap_.string(std::move(text), escapes_);
  if (statement.value != nullptr) {
    filtered_ = std::move(value);
    value = evaluate(*statement.value);
  }
  scope_ = outer;
  assign(statement.target, value, statement.line);
  return flow;
}

void Interpreter::run_call_block(const Stmt& statement) {
  const Expr& call_expr = *statement.value;
  const Value callee = evaluate(*call_expr.parts[0]);
  Arguments arguments = evaluate_arguments(call_expr);
  arguments.keyword.emplace_back("caller", Value(heap_.make<MacroObject>(statement, "caller", scope_)));
  print(call(callee, arguments));
}

Interpreter::Flow Interpreter::run_filter_block(const Stmt& statement) {
  Flow flow = Flow::Next;
  const Value outer = scope_;
  scope_ = new_scope(outer);
  std::string text = captured([&] { flow = run_body(statement.body); });
  filtered_ = heap_.string(std::move(text), escapes_);
  const Value value = evaluate(*statement.value);
  scope_ = outer;
  print(value);
  return flow;
}

Interpreter::Flow Interpreter::run_with(const Stmt& statement) {
  const Value outer = scope_;
  const Value inner = new_scope(outer);
  for (const auto& [target, expr] : statement.assignments) {
    scope_ = outer;
    const Value value = evaluate(*expr);
    scope_ = inner;
    assign(target, value, statement.line);
  }
  scope_ = inner;
  const Flow flow = run_body(statement.body);
  scope_ = outer;
  return flow;
}

Interpreter::Flow Interpreter::run_scoped(const Body& body) {
  if (body.empty()) return Flow::Next;
  const Value outer = scope_;
  scope_ = new_scope(outer);
  const Flow flow = run_body(body);
  scope_ = outer;
  return flow;
}

Interpreter::Flow Interpreter::run_autoescape(const Stmt& statement) {
  const bool before = escapes_;
  escapes_ = is_true(evaluate(*statement.value));
  const Flow flow = run_scoped(statement.body);
  escapes_ = before;
  return flow;
}

// ---- calls ----

void Interpreter::bind_parameters(const MacroObject& macro, Arguments& arguments, const Value& scope) {
  const Stmt& definition = *macro.definition;
  auto& variables = scope.as<Scope>();
  const auto take_keyword = [&](std::string_view name, Value& out) {
    const auto at = std::find_if(arguments.keyword.begin(), arguments.keyword.end(),
                                 [&](const auto& entry) { return entry.first == name; });
    if (at == arguments.keyword.end()) return false;
    out = std::move(at->second);
    arguments.keyword.erase(at);
    return true;
  };
  bool has_caller = false;
  for (std::size_t i = 0; i < definition.parameters.size(); ++i) {
    const Parameter& parameter = definition.parameters[i];
    const std::string& name = tree_.names[parameter.name];
    has_caller = has_caller || parameter.name == tree_.caller_name;
    Value value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (!take_keyword(name, value)) {
      value = parameter.fallback != nullptr ? evaluate(*parameter.fallback)
                                            : Value::undefined(heap_, "parameter '" + name + "' was not provided");
    }
    set_in(variables, parameter.name, std::move(value));
  }
  if (definition.uses_caller && !has_caller) {
    Value caller;
    if (!take_keyword("caller", caller)) caller = Value::undefined(heap_, "No caller defined");
    set_in(variables, tree_.caller_name, std::move(caller));
  }
  if (definition.uses_kwargs) {
    Value rest = heap_.dict();
    for (auto& [name, value] : arguments.keyword) rest.dict().set(name, std::move(value));
    set_in(variables, tree_.kwargs_name, std::move(rest));
  } else if (!arguments.keyword.empty()) {
    fail("macro '" + macro.name + "' takes no keyword argument '" + arguments.keyword.front().first + "'");
  }
  if (definition.uses_varargs) {
    std::vector<Value> rest;
    for (std::size_t i = definition.parameters.size(); i < arguments.positional.size(); ++i) {
      rest.push_back(arguments.positional[i]);
    }
    set_in(variables, tree_.varargs_name, heap_.tuple(std::move(rest)));
  } else if (arguments.positional.size() > definition.parameters.size()) {
    fail("macro '" + macro.name + "' takes not more than " + std::to_string(definition.parameters.size()) +
         " argument(s)");
  }
}

Value Interpreter::call_macro(const MacroObject& macro, Arguments& arguments) {
  if (calls_ >= settings_.most_calls) fail_limit("calls are nested more than " + std::to_string(calls_) + " deep");
  ++calls_;
  const Value outer = scope_;
  scope_ = new_scope(macro.scope);
  bind_parameters(macro, arguments, scope_);
  std::string text = captured([&] { run_body(macro.definition->body); });
  scope_ = outer;
  --calls_;
  return heap_.string(std::move(text), escapes_);
}

Value Interpreter::call(const Value& callee, Arguments& arguments) {
  const Nested nested(nesting_);
  heap_.spend();
  switch (callee.kind()) {
    case Kind::Undefined: fail(callee.why_undefined());
    case Kind::Function: {
      const Value kept = callee;
      return kept.as<FunctionObject>().body(*this, arguments);
    }
    case Kind::Macro: {
      const Value kept = callee;
      return call_macro(kept.as<MacroObject>(), arguments);
    }
    case Kind::Loop: {
      const Parameters parameters("loop", arguments, {"iterable"});
      return call_loop(callee.as<LoopObject>(), parameters.at(0));
    }
    case Kind::Joiner: {
      auto& joiner = callee.as<JoinerObject>();
      const bool first = !joiner.used;
      joiner.used = true;
      return first ? heap_.string("") : joiner.separator;
    }
    default: fail("'" + type_name(callee) + "' object is not callable");
  }
}

std::string Interpreter::text_of(const Value& value) { return jinja::text_of(heap_, value); }

}  // namespace loadline::chat::jinja

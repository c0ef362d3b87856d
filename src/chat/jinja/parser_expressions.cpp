// Expressions: everything between {{ and }}, and in tags.
#include "chat/jinja/template_parser.h"

namespace loadline::chat::jinja {

Expr* Parser::parse_expression(bool with_condition) {
  const Deeper deeper(*this);
  return with_condition ? parse_conditional() : parse_or();
}

Expr* Parser::parse_conditional() {
  const int line = current().line;
  const std::size_t begin = at_;
  Expr* expr = parse_or();
  if (!current().is_name("if")) return expr;
  // What was read stands in a soft frame after all: it is read again as one.
  const int unknown_before = unknown_mark(begin);
  if (unknown_before != 0) unknown_filter_line_ = 0;
  while (skip_name("if")) {
    const Frame frame(*this, true);
    Expr* test = parse_or();
    Expr* otherwise = nullptr;
    if (skip_name("else")) {
      const Deeper deeper(*this);
      otherwise = parse_conditional();
    }
    expr = make(ExprKind::Conditional, line, {test, expr, otherwise});
  }
  return expr;
}

// Whether the unknown filter that was noted is one behind token `begin`.
int Parser::unknown_mark(std::size_t begin) const {
  return unknown_filter_line_ > 0 && unknown_at_ >= begin ? unknown_filter_line_ : 0;
}

Expr* Parser::parse_or() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_and()};
  while (skip_name("or")) parts.push_back(parse_and());
  return chain(ExprKind::Or, line, std::move(parts), {});
}

Expr* Parser::parse_and() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_not()};
  while (skip_name("and")) parts.push_back(parse_not());
  return chain(ExprKind::And, line, std::move(parts), {});
}

Expr* Parser::parse_not() {
  if (!current().is_name("not")) return parse_compare();
  const Deeper deeper(*this);
  const int line = take().line;
  return make(ExprKind::Not, line, {parse_not()});
}

// The comparison that stands here, which is taken.
std::optional<Operator> Parser::take_comparison() {
  static const std::pair<std::string_view, Operator> kComparisons[] = {
      {"==", Operator::Equal},     {"!=", Operator::NotEqual}, {"<", Operator::Less},
      {"<=", Operator::LessEqual}, {">", Operator::Greater},   {">=", Operator::GreaterEqual}};
  for (const auto& [text, op] : kComparisons) {
    if (skip_operator(text)) return op;
  }
  if (skip_name("in")) return Operator::In;
  if (current().is_name("not") && ahead().is_name("in")) {
    take();
    take();
    return Operator::NotIn;
  }
  return std::nullopt;
}

Expr* Parser::parse_compare() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_sum()};
  std::vector<Operator> operators;
  while (const auto op = take_comparison()) {
    operators.push_back(*op);
    parts.push_back(parse_sum());
  }
  return chain(ExprKind::Compare, line, std::move(parts), std::move(operators));
}

Expr* Parser::chain(ExprKind kind, int line, std::vector<Expr*> parts, std::vector<Operator> operators) {
  if (parts.size() == 1) return parts.front();
  Expr* expr = make(kind, line, std::move(parts));
  expr->operators = std::move(operators);
  return expr;
}

Expr* Parser::parse_sum() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_concatenation()};
  std::vector<Operator> operators;
  while (current().is_operator("+") || current().is_operator("-")) {
    operators.push_back(take().text == "+" ? Operator::Add : Operator::Subtract);
    parts.push_back(parse_concatenation());
  }
  return chain(ExprKind::Arithmetic, line, std::move(parts), std::move(operators));
}

Expr* Parser::parse_concatenation() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_product()};
  while (skip_operator("~")) parts.push_back(parse_product());
  return chain(ExprKind::Concatenate, line, std::move(parts), {});
}

Expr* Parser::parse_product() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_power()};
  std::vector<Operator> operators;
  while (true) {
    if (skip_operator("*")) {
      operators.push_back(Operator::Multiply);
    } else if (skip_operator("/")) {
      operators.push_back(Operator::Divide);
    } else if (skip_operator("//")) {
      operators.push_back(Operator::FloorDivide);
    } else if (skip_operator("%")) {
      operators.push_back(Operator::Modulo);
    } else {
      return chain(ExprKind::Arithmetic, line, std::move(parts), std::move(operators));
    }
    parts.push_back(parse_power());
  }
}

Expr* Parser::parse_power() {
  const int line = current().line;
  std::vector<Expr*> parts = {parse_unary(true)};
  std::vector<Operator> operators;
  while (skip_operator("**")) {
    operators.push_back(Operator::Power);
    parts.push_back(parse_unary(true));
  }
  return chain(ExprKind::Arithmetic, line, std::move(parts), std::move(operators));
}

Expr* Parser::parse_unary(bool with_filter) {
  const Deeper deeper(*this);
  const int line = current().line;
  Expr* expr = nullptr;
  if (skip_operator("-")) {
    expr = make(ExprKind::Negate, line, {parse_unary(false)});
  } else if (skip_operator("+")) {
    expr = make(ExprKind::Plus, line, {parse_unary(false)});
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(expr);
  return with_filter ? parse_filters_and_tests(expr) : expr;
}

Expr* Parser::parse_primary() {
  const Token& token = current();
  if (token.type == TokenType::Name) return parse_name();
  if (token.type == TokenType::Text) {
    const int line = token.line;
    std::string text = take().text;
    while (current().type == TokenType::Text) text += take().text;
    return make_text(line, std::move(text));
  }
  if (token.type == TokenType::Whole || token.type == TokenType::Real) {
    Constant constant;
    constant.kind = token.type == TokenType::Whole ? Kind::Int : Kind::Float;
    constant.integer = token.integer;
    constant.real = token.real;
    return make_constant(take().line, std::move(constant));
  }
  if (skip_operator("(")) {
    Expr* expr = parse_tuple(true, {}, true);
    expect_operator(")");
    return expr;
  }
  if (token.is_operator("[")) return parse_list();
  if (token.is_operator("{")) return parse_dict();
  fail_here("unexpected '" + described(token) + "'");
}

Expr* Parser::parse_name() {
  const Token& token = take();
  const std::string& name = token.text;
  Constant constant;
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    constant.kind = Kind::Bool;
    constant.boolean = name == "true" || name == "True";
    return make_constant(token.line, std::move(constant));
  }
  if (name == "none" || name == "None") return make_constant(token.line, std::move(constant));
  Expr* expr = make(ExprKind::Name, token.line);
  expr->name = name_number(name);
  for (Stmt* loop : loops_) loop->uses_loop = loop->uses_loop || expr->name == tree_->loop_name;
  for (Stmt* macro : macros_) {
    macro->uses_caller = macro->uses_caller || expr->name == tree_->caller_name;
    macro->uses_varargs = macro->uses_varargs || expr->name == tree_->varargs_name;
    macro->uses_kwargs = macro->uses_kwargs || expr->name == tree_->kwargs_name;
  }
  return expr;
}

Expr* Parser::parse_list() {
  const int line = take().line;
  std::vector<Expr*> parts;
  while (!current().is_operator("]")) {
    if (!parts.empty()) expect_operator(",");
    if (current().is_operator("]")) break;
    parts.push_back(parse_expression());
  }
  expect_operator("]");
  return make(ExprKind::List, line, std::move(parts));
}

Expr* Parser::parse_dict() {
  const int line = take().line;
  std::vector<Expr*> parts;
  while (!current().is_operator("}")) {
    if (!parts.empty()) expect_operator(",");
    if (current().is_operator("}")) break;
    parts.push_back(parse_expression());
    expect_operator(":");
    parts.push_back(parse_expression());
  }
  expect_operator("}");
  return make(ExprKind::Dict, line, std::move(parts));
}

bool Parser::ends_tuple(std::initializer_list<std::string_view> end_names) const {
  const Token& token = current();
  if (token.type == TokenType::EndPrint || token.type == TokenType::EndBlock || token.is_operator(")")) return true;
  return token.type == TokenType::Name &&
         std::any_of(end_names.begin(), end_names.end(), [&](std::string_view name) { return token.text == name; });
}

// One expression, or several with commas, which are a tuple. `in_parentheses`: may be empty.
Expr* Parser::parse_tuple(bool with_condition, std::initializer_list<std::string_view> end_names, bool in_parentheses) {
  const int line = current().line;
  std::vector<Expr*> parts;
  bool is_tuple = false;
  while (true) {
    if (!parts.empty()) expect_operator(",");
    if (ends_tuple(end_names)) break;
    parts.push_back(parse_expression(with_condition));
    if (!current().is_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!parts.empty()) return parts.front();
    if (!in_parentheses) fail_here("Expected an expression, got '" + described(current()) + "'");
  }
  return make(ExprKind::Tuple, line, std::move(parts));
}

Expr* Parser::parse_postfix(Expr* expr) {
  while (true) {
    if (current().is_operator(".") || current().is_operator("[")) {
      expr = parse_subscript(expr);
    } else if (current().is_operator("(")) {
      expr = parse_call(expr);
    } else {
      return expr;
    }
  }
}

Expr* Parser::parse_subscript(Expr* expr) {
  const Token& token = take();
  if (token.text == ".") {
    const Token& attribute = take();
    if (attribute.type == TokenType::Name) {
      Expr* out = make(ExprKind::GetAttribute, token.line, {expr});
      out->text = attribute.text;
      return out;
    }
    if (attribute.type != TokenType::Whole) fail_syntax(attribute.line, "expected name or number");
    Constant constant;
    constant.kind = Kind::Int;
    constant.integer = attribute.integer;
    return make(ExprKind::GetItem, token.line, {expr, make_constant(token.line, std::move(constant))});
  }
  std::vector<Expr*> items;
  Expr* slice = nullptr;
  while (!current().is_operator("]")) {
    if (!items.empty()) expect_operator(",");
    slice = nullptr;
    items.push_back(parse_subscribed(expr, token.line, slice));
  }
  expect_operator("]");
  if (items.empty()) fail_syntax(token.line, "expected a subscript");
  if (items.size() == 1) {
    return slice != nullptr ? slice : make(ExprKind::GetItem, token.line, {expr, items.front()});
  }
  return make(ExprKind::GetItem, token.line, {expr, make(ExprKind::Tuple, token.line, std::move(items))});
}

// One index, or a slice of `expr`.
Expr* Parser::parse_subscribed(Expr* expr, int line, Expr*& slice) {
  std::vector<Expr*> parts = {expr, nullptr, nullptr, nullptr};
  if (!current().is_operator(":")) {
    Expr* index = parse_expression();
    if (!current().is_operator(":")) return index;
    parts[1] = index;
  }
  take();
  const auto ends = [&] { return current().is_operator("]") || current().is_operator(","); };
  if (!ends() && !current().is_operator(":")) parts[2] = parse_expression();
  if (skip_operator(":") && !ends()) parts[3] = parse_expression();
  slice = make(ExprKind::Slice, line, std::move(parts));
  return slice;
}

void Parser::parse_arguments(Expr* call) {
  expect_operator("(");
  bool first = true;
  while (!current().is_operator(")")) {
    if (!first) {
      expect_operator(",");
      if (current().is_operator(")")) break;
    }
    first = false;
    parse_argument(call);
  }
  expect_operator(")");
}

void Parser::parse_argument(Expr* call) {
  const auto ensure = [&](bool holds) {
    if (!holds) fail_here("invalid syntax for function call expression");
  };
  if (skip_operator("*")) {
    ensure(call->rest == nullptr && call->rest_keywords == nullptr);
    call->rest = parse_expression();
    raise(*call, call->rest);
  } else if (skip_operator("**")) {
    ensure(call->rest_keywords == nullptr);
    call->rest_keywords = parse_expression();
    raise(*call, call->rest_keywords);
  } else if (current().type == TokenType::Name && ahead().is_operator("=")) {
    ensure(call->rest_keywords == nullptr);
    std::string name = take().text;
    take();
    Expr* value = parse_expression();
    call->keyword.emplace_back(std::move(name), value);
    raise(*call, value);
  } else {
    ensure(call->rest == nullptr && call->rest_keywords == nullptr && call->keyword.empty());
    call->positional.push_back(parse_expression());
    raise(*call, call->positional.back());
  }
}

Expr* Parser::parse_call(Expr* callee) {
  Expr* call = make(ExprKind::Call, current().line, {callee});
  parse_arguments(call);
  return call;
}

Expr* Parser::parse_filters_and_tests(Expr* expr) {
  while (true) {
    if (current().is_operator("|")) {
      take();
      expr = parse_filter(expr);
    } else if (current().is_name("is")) {
      expr = parse_test(expr);
    } else if (current().is_operator("(")) {
      expr = parse_call(expr);
    } else {
      return expr;
    }
  }
}

// One filter, its name first.
Expr* Parser::parse_filter(Expr* expr) {
  const std::size_t begin = at_;
  const int line = current().line;
  std::string name = expect_name();
  while (skip_operator(".")) name += "." + expect_name();
  Expr* filter = make(ExprKind::Filter, line, {expr});
  filter->filter = find_filter(name);
  if (filter->filter == nullptr && unknown_filter_line_ == 0) {
    note_unknown(line, "filter", name);
    unknown_at_ = begin;
  }
  filter->text = std::move(name);
  if (current().is_operator("(")) parse_arguments(filter);
  return filter;
}

// The filters of a block, the first without its bar.
Expr* Parser::parse_block_filters() {
  Expr* expr = parse_filter(nullptr);
  while (skip_operator("|")) expr = parse_filter(expr);
  return expr;
}

Expr* Parser::parse_test(Expr* expr) {
  const std::size_t begin = at_;
  const int line = take().line;
  const bool negated = skip_name("not");
  std::string name = expect_name();
  while (skip_operator(".")) name += "." + expect_name();
  Expr* test = make(ExprKind::Test, line, {expr});
  test->test = find_test(name);
  if (test->test == nullptr && unknown_filter_line_ == 0) {
    note_unknown(line, "test", name);
    unknown_at_ = begin;
  }
  test->text = std::move(name);
  const Token& token = current();
  const bool begins_argument = token.type == TokenType::Name || token.type == TokenType::Text ||
                               token.type == TokenType::Whole || token.type == TokenType::Real ||
                               token.is_operator("[") || token.is_operator("{");
  if (token.is_operator("(")) {
    parse_arguments(test);
  } else if (begins_argument && !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    if (token.is_name("is")) fail_here("You cannot chain multiple tests with is");
    // "if" cannot be the argument of a test either; jinja2 fails on it further on.
    const Deeper deeper(*this);
    test->positional.push_back(parse_postfix(parse_primary()));
    raise(*test, test->positional.back());
  }
  return negated ? make(ExprKind::Not, line, {test}) : test;
}

}  // namespace loadline::chat::jinja

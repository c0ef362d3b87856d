#include "chat/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <map>

#include "chat/jinja/builtins.h"
#include "chat/jinja/lexer.h"

namespace loadline::chat::jinja {
namespace {

// Of nodes and of the parser's own recursion. Real templates stay below 40.
constexpr int kMostHeight = 200;

std::string described(const Token& token) {
  switch (token.type) {
    case TokenType::Data: return "template data";
    case TokenType::BeginPrint: return "begin of print statement";
    case TokenType::EndPrint: return "end of print statement";
    case TokenType::BeginBlock: return "begin of statement block";
    case TokenType::EndBlock: return "end of statement block";
    case TokenType::End: return "end of template";
    default: return token.text;
  }
}

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokens_of(source)), tree_(std::make_unique<Tree>()) {}

  std::unique_ptr<const Tree> run() {
    tree_->loop_name = name_number("loop");
    tree_->caller_name = name_number("caller");
    tree_->varargs_name = name_number("varargs");
    tree_->kwargs_name = name_number("kwargs");
    tree_->body = parse_body({});
    if (unknown_filter_line_ > 0) fail_syntax(unknown_filter_line_, unknown_filter_);
    return std::move(tree_);
  }

 private:
  // ---- tokens ----

  [[nodiscard]] const Token& current() const { return tokens_[at_]; }
  [[nodiscard]] const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& take() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool skip_operator(std::string_view op) {
    if (!current().is_operator(op)) return false;
    take();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!current().is_name(name)) return false;
    take();
    return true;
  }
  [[noreturn]] void fail_here(const std::string& message) const { fail_syntax(current().line, message); }
  void expect_operator(std::string_view op) {
    if (!skip_operator(op)) {
      fail_here("expected token '" + std::string(op) + "', got '" + described(current()) + "'");
    }
  }
  std::string expect_name() {
    if (current().type != TokenType::Name) fail_here("expected token 'name', got '" + described(current()) + "'");
    return take().text;
  }
  void expect_end(TokenType type) {
    if (current().type == type) {
      take();
      return;
    }
    Token wanted;
    wanted.type = type;
    fail_here("expected token '" + described(wanted) + "', got '" + described(current()) + "'");
  }

  // ---- nodes ----

  std::uint32_t name_number(const std::string& name) {
    const auto [at, is_new] = numbers_.try_emplace(name, static_cast<std::uint32_t>(tree_->names.size()));
    if (is_new) tree_->names.push_back(name);
    return at->second;
  }

  Expr* make(ExprKind kind, int line, std::vector<Expr*> parts = {}) {
    Expr& expr = tree_->expressions.emplace_back();
    expr.kind = kind;
    expr.line = line;
    expr.parts = std::move(parts);
    for (const Expr* part : expr.parts) raise(expr, part);
    return &expr;
  }

  void raise(Expr& expr, const Expr* part) const {
    if (part != nullptr) expr.height = std::max(expr.height, part->height + 1);
    if (expr.height > kMostHeight) fail_syntax(expr.line, "the expression is nested too deeply");
  }

  Expr* make_constant(int line, Constant constant) {
    Expr* expr = make(ExprKind::Constant, line);
    expr->constant = static_cast<std::uint32_t>(tree_->constants.size());
    tree_->constants.push_back(std::move(constant));
    return expr;
  }
  Expr* make_text(int line, std::string text) {
    Constant constant;
    constant.kind = Kind::String;
    constant.text = std::move(text);
    return make_constant(line, std::move(constant));
  }

  Stmt* make(StmtKind kind, int line) {
    Stmt& statement = tree_->statements.emplace_back();
    statement.kind = kind;
    statement.line = line;
    return &statement;
  }

  class Deeper {
   public:
    explicit Deeper(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMostHeight) parser_.fail_here("the template is nested too deeply");
    }
    ~Deeper() { --parser_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Parser& parser_;
  };

  // A filter or test that does not exist is refused at once where it is sure to be reached; behind an `if` only when it
  // is reached, as jinja2 does ("soft frames").
  class Frame {
   public:
    Frame(Parser& parser, bool soft) : parser_(parser), before_(parser.soft_) { parser_.soft_ = soft; }
    ~Frame() { parser_.soft_ = before_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Parser& parser_;
    bool before_;
  };

  void note_unknown(int line, std::string_view what, const std::string& name) {
    if (soft_ || unknown_filter_line_ > 0) return;
    unknown_filter_line_ = line;
    unknown_filter_ = "No " + std::string(what) + " named '" + name + "'.";
  }

  // ---- expressions ----

  Expr* parse_expression(bool with_condition = true) {
    const Deeper deeper(*this);
    return with_condition ? parse_conditional() : parse_or();
  }

  Expr* parse_conditional() {
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
  int unknown_mark(std::size_t begin) const {
    return unknown_filter_line_ > 0 && unknown_at_ >= begin ? unknown_filter_line_ : 0;
  }

  Expr* parse_or() {
    const int line = current().line;
    std::vector<Expr*> parts = {parse_and()};
    while (skip_name("or")) parts.push_back(parse_and());
    return chain(ExprKind::Or, line, std::move(parts), {});
  }

  Expr* parse_and() {
    const int line = current().line;
    std::vector<Expr*> parts = {parse_not()};
    while (skip_name("and")) parts.push_back(parse_not());
    return chain(ExprKind::And, line, std::move(parts), {});
  }

  Expr* parse_not() {
    if (!current().is_name("not")) return parse_compare();
    const Deeper deeper(*this);
    const int line = take().line;
    return make(ExprKind::Not, line, {parse_not()});
  }

  // The comparison that stands here, which is taken.
  std::optional<Operator> take_comparison() {
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

  Expr* parse_compare() {
    const int line = current().line;
    std::vector<Expr*> parts = {parse_sum()};
    std::vector<Operator> operators;
    while (const auto op = take_comparison()) {
      operators.push_back(*op);
      parts.push_back(parse_sum());
    }
    return chain(ExprKind::Compare, line, std::move(parts), std::move(operators));
  }

  Expr* chain(ExprKind kind, int line, std::vector<Expr*> parts, std::vector<Operator> operators) {
    if (parts.size() == 1) return parts.front();
    Expr* expr = make(kind, line, std::move(parts));
    expr->operators = std::move(operators);
    return expr;
  }

  Expr* parse_sum() {
    const int line = current().line;
    std::vector<Expr*> parts = {parse_concatenation()};
    std::vector<Operator> operators;
    while (current().is_operator("+") || current().is_operator("-")) {
      operators.push_back(take().text == "+" ? Operator::Add : Operator::Subtract);
      parts.push_back(parse_concatenation());
    }
    return chain(ExprKind::Arithmetic, line, std::move(parts), std::move(operators));
  }

  Expr* parse_concatenation() {
    const int line = current().line;
    std::vector<Expr*> parts = {parse_product()};
    while (skip_operator("~")) parts.push_back(parse_product());
    return chain(ExprKind::Concatenate, line, std::move(parts), {});
  }

  Expr* parse_product() {
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

  Expr* parse_power() {
    const int line = current().line;
    std::vector<Expr*> parts = {parse_unary(true)};
    std::vector<Operator> operators;
    while (skip_operator("**")) {
      operators.push_back(Operator::Power);
      parts.push_back(parse_unary(true));
    }
    return chain(ExprKind::Arithmetic, line, std::move(parts), std::move(operators));
  }

  Expr* parse_unary(bool with_filter) {
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

  Expr* parse_primary() {
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

  Expr* parse_name() {
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

  Expr* parse_list() {
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

  Expr* parse_dict() {
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

  [[nodiscard]] bool ends_tuple(std::initializer_list<std::string_view> end_names) const {
    const Token& token = current();
    if (token.type == TokenType::EndPrint || token.type == TokenType::EndBlock || token.is_operator(")")) return true;
    return token.type == TokenType::Name &&
           std::any_of(end_names.begin(), end_names.end(), [&](std::string_view name) { return token.text == name; });
  }

  // One expression, or several with commas, which are a tuple. `in_parentheses`: may be empty.
  Expr* parse_tuple(bool with_condition, std::initializer_list<std::string_view> end_names, bool in_parentheses) {
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

  Expr* parse_postfix(Expr* expr) {
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

  Expr* parse_subscript(Expr* expr) {
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
  Expr* parse_subscribed(Expr* expr, int line, Expr*& slice) {
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

  void parse_arguments(Expr* call) {
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

  void parse_argument(Expr* call) {
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

  Expr* parse_call(Expr* callee) {
    Expr* call = make(ExprKind::Call, current().line, {callee});
    parse_arguments(call);
    return call;
  }

  Expr* parse_filters_and_tests(Expr* expr) {
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
  Expr* parse_filter(Expr* expr) {
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
  Expr* parse_block_filters() {
    Expr* expr = parse_filter(nullptr);
    while (skip_operator("|")) expr = parse_filter(expr);
    return expr;
  }

  Expr* parse_test(Expr* expr) {
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

  // ---- targets ----

  [[nodiscard]] static bool is_reserved(const std::string& name) {
    return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None";
  }

  Target parse_single_target(bool with_namespace) {
    const Deeper deeper(*this);
    Target target;
    if (skip_operator("(")) {
      target = parse_target({}, with_namespace);
      expect_operator(")");
      return target;
    }
    if (current().type != TokenType::Name) fail_here("unexpected '" + described(current()) + "'");
    const std::string name = take().text;
    if (is_reserved(name)) fail_here("can't assign to '" + name + "'");
    target.name = name_number(name);
    if (with_namespace && skip_operator(".")) {
      target.kind = Target::Kind::Attribute;
      target.attribute = expect_name();
    }
    return target;
  }

  Target parse_target(std::initializer_list<std::string_view> end_names, bool with_namespace) {
    Target several;
    several.kind = Target::Kind::Several;
    bool is_tuple = false;
    while (true) {
      if (!several.several.empty()) expect_operator(",");
      if (ends_tuple(end_names) || current().is_operator("=")) break;
      several.several.push_back(parse_single_target(with_namespace));
      if (!current().is_operator(",")) break;
      is_tuple = true;
    }
    if (several.several.empty()) fail_here("Expected an expression, got '" + described(current()) + "'");
    if (!is_tuple) {
      Target only = std::move(several.several.front());
      return only;
    }
    return several;
  }

  // ---- statements ----

  [[nodiscard]] bool at_end_tag(std::initializer_list<std::string_view> ends) const {
    return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return current().is_name(end); });
  }

  // Up to one of the tags `ends`, whose name is then the current token; without any, to the end of the template.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(*this);
    Body body;
    while (current().type != TokenType::End) {
      const Token& token = take();
      if (token.type == TokenType::Data) {
        Stmt* text = make(StmtKind::Text, token.line);
        text->text = token.text;
        body.push_back(text);
      } else if (token.type == TokenType::BeginPrint) {
        Stmt* print = make(StmtKind::Print, token.line);
        print->value = parse_tuple(true, {}, false);
        expect_end(TokenType::EndPrint);
        body.push_back(print);
      } else {  // a block begins: nothing else stands outside tags
        if (at_end_tag(ends)) return body;
        if (Stmt* statement = parse_statement()) body.push_back(statement);
        expect_end(TokenType::EndBlock);
      }
    }
    if (ends.size() > 0) {
      fail_here("Unexpected end of template. Jinja was looking for the tag '" + std::string(*(ends.end() - 1)) + "'.");
    }
    return body;
  }

  // The body of a tag, whose own end comes first.
  Body parse_tag_body(std::initializer_list<std::string_view> ends) {
    skip_operator(":");
    expect_end(TokenType::EndBlock);
    return parse_body(ends);
  }

  Stmt* parse_statement() {
    if (current().type != TokenType::Name) fail_here("tag name expected");
    const Token& tag = take();
    const int line = tag.line;
    if (tag.text == "if") return parse_if(line);
    if (tag.text == "for") return parse_for(line);
    if (tag.text == "set") return parse_set(line);
    if (tag.text == "macro") return parse_macro(line);
    if (tag.text == "call") return parse_call_block(line);
    if (tag.text == "filter") return parse_filter_tag(line);
    if (tag.text == "with") return parse_with(line);
    if (tag.text == "block") return parse_block(line);
    if (tag.text == "generation") return parse_scoped(line, "endgeneration");
    if (tag.text == "autoescape") return parse_autoescape(line);
    if (tag.text == "print") return parse_print(line);
    if (tag.text == "break" || tag.text == "continue") {
      if (!in_loop_) fail_syntax(line, "'" + tag.text + "' outside loop");
      return make(tag.text == "break" ? StmtKind::Break : StmtKind::Continue, line);
    }
    if (tag.text == "include" || tag.text == "import" || tag.text == "from" || tag.text == "extends") {
      Stmt* other = make(StmtKind::Unsupported, line);
      other->text = tag.text;
      while (current().type != TokenType::EndBlock && current().type != TokenType::End) take();
      return other;
    }
    fail_syntax(line, "Encountered unknown tag '" + tag.text + "'.");
  }

  Stmt* parse_if(int line) {
    const Frame frame(*this, true);
    Stmt* out = make(StmtKind::If, line);
    while (true) {
      Expr* test = parse_tuple(false, {}, false);
      Body body = parse_tag_body({"elif", "else", "endif"});
      out->branches.push_back({test, std::move(body)});
      const std::string tag = take().text;
      if (tag == "elif") continue;
      if (tag == "else") {
        out->otherwise = parse_tag_body({"endif"});
        take();
      }
      return out;
    }
  }

  // Whether `break` may stand in a body, for as long as that is read.
  class LoopBody {
   public:
    LoopBody(Parser& parser, bool in_loop) : parser_(parser), before_(parser.in_loop_) { parser_.in_loop_ = in_loop; }
    ~LoopBody() { parser_.in_loop_ = before_; }
    LoopBody(const LoopBody&) = delete;
    LoopBody& operator=(const LoopBody&) = delete;

   private:
    Parser& parser_;
    bool before_;
  };

  Stmt* parse_for(int line) {
    Stmt* out = make(StmtKind::For, line);
    out->target = parse_target({"in"}, false);
    if (!skip_name("in")) fail_here("expected token 'in', got '" + described(current()) + "'");
    out->value = parse_tuple(false, {"recursive"}, false);
    const Frame frame(*this, false);
    if (skip_name("if")) out->condition = parse_expression();
    out->recursive = skip_name("recursive");
    loops_.push_back(out);
    {
      const LoopBody inside(*this, true);
      out->body = parse_tag_body({"endfor", "else"});
    }
    loops_.pop_back();
    if (take().text == "else") {
      out->otherwise = parse_tag_body({"endfor"});
      take();
    }
    return out;
  }

  Stmt* parse_set(int line) {
    Stmt* out = make(StmtKind::Set, line);
    out->target = parse_target({}, true);
    if (skip_operator("=")) {
      out->value = parse_tuple(true, {}, false);
      return out;
    }
    out->kind = StmtKind::SetBlock;
    const Frame frame(*this, false);
    if (skip_operator("|")) out->value = parse_block_filters();
    const LoopBody inside(*this, in_loop_);
    out->body = parse_tag_body({"endset"});
    take();
    return out;
  }

  void parse_parameters(Stmt* out) {
    expect_operator("(");
    while (!current().is_operator(")")) {
      if (!out->parameters.empty()) expect_operator(",");
      if (current().type != TokenType::Name) fail_here("expected token 'name', got '" + described(current()) + "'");
      const std::string name = take().text;
      if (is_reserved(name)) fail_here("can't assign to '" + name + "'");
      Parameter parameter{name_number(name), nullptr};
      if (skip_operator("=")) {
        parameter.fallback = parse_expression();
      } else if (!out->parameters.empty() && out->parameters.back().fallback != nullptr) {
        fail_here("non-default argument follows default argument");
      }
      out->parameters.push_back(parameter);
    }
    expect_operator(")");
  }

  void parse_macro_body(Stmt* out, std::string_view end) {
    macros_.push_back(out);
    {
      const LoopBody outside(*this, false);
      out->body = parse_tag_body({end});
    }
    take();
    macros_.pop_back();
  }

  Stmt* parse_macro(int line) {
    const Frame frame(*this, false);
    Stmt* out = make(StmtKind::Macro, line);
    out->text = expect_name();
    if (is_reserved(out->text)) fail_here("can't assign to '" + out->text + "'");
    out->name = name_number(out->text);
    parse_parameters(out);
    parse_macro_body(out, "endmacro");
    return out;
  }

  Stmt* parse_call_block(int line) {
    Stmt* out = make(StmtKind::CallBlock, line);
    if (current().is_operator("(")) parse_parameters(out);
    out->value = parse_expression();
    if (out->value->kind != ExprKind::Call) fail_here("expected call");
    const Frame frame(*this, false);
    parse_macro_body(out, "endcall");
    return out;
  }

  Stmt* parse_filter_tag(int line) {
    Stmt* out = make(StmtKind::FilterBlock, line);
    out->value = parse_block_filters();
    const Frame frame(*this, false);
    out->body = parse_tag_body({"endfilter"});
    take();
    return out;
  }

  Stmt* parse_with(int line) {
    Stmt* out = make(StmtKind::With, line);
    while (current().type != TokenType::EndBlock) {
      if (!out->assignments.empty()) expect_operator(",");
      Target target = parse_single_target(false);
      expect_operator("=");
      out->assignments.emplace_back(std::move(target), parse_expression());
    }
    const Frame frame(*this, false);
    out->body = parse_tag_body({"endwith"});
    take();
    return out;
  }

  Stmt* parse_block(int line) {
    const std::string name = expect_name();
    while (skip_name("scoped") || skip_name("required")) {
    }
    Stmt* out = nullptr;
    {
      const LoopBody outside(*this, false);
      out = parse_scoped(line, "endblock");
    }
    if (current().is_name(name)) take();
    return out;
  }

  Stmt* parse_scoped(int line, std::string_view end) {
    const Frame frame(*this, false);
    const LoopBody outside(*this, false);
    Stmt* out = make(StmtKind::Scoped, line);
    out->body = parse_tag_body({end});
    take();
    return out;
  }

  Stmt* parse_autoescape(int line) {
    const Frame frame(*this, false);
    Stmt* out = make(StmtKind::Autoescape, line);
    out->value = parse_expression();
    out->body = parse_tag_body({"endautoescape"});
    take();
    return out;
  }

  Stmt* parse_print(int line) {
    Stmt* out = make(StmtKind::Scoped, line);
    while (current().type != TokenType::EndBlock) {
      if (!out->body.empty()) expect_operator(",");
      Stmt* print = make(StmtKind::Print, line);
      print->value = parse_expression();
      out->body.push_back(print);
    }
    return out;
  }

  std::vector<Token> tokens_;
  std::unique_ptr<Tree> tree_;
  std::size_t at_ = 0;
  int depth_ = 0;
  bool soft_ = false;
  bool in_loop_ = false;
  std::vector<Stmt*> loops_;   // whose bodies are being read
  std::vector<Stmt*> macros_;  // the same, call blocks too
  std::map<std::string, std::uint32_t> numbers_;
  int unknown_filter_line_ = 0;  // 0: every filter and test that is sure to be reached is known
  std::string unknown_filter_;
  std::size_t unknown_at_ = 0;  // its token
};

}  // namespace

std::unique_ptr<const Tree> parse(std::string_view source) { return Parser(source).run(); }

}  // namespace loadline::chat::jinja

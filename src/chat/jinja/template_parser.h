// The parser's state and its steps: expressions in parser_expressions.cpp, tags in parser.cpp. Internal to the module.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/builtins.h"
#include "chat/jinja/lexer.h"
#include "chat/jinja/parser.h"

namespace loadline::chat::jinja {

// Of nodes and of the parser's own recursion. Real templates stay below 40.
inline constexpr int kMostHeight = 200;

// As jinja2's messages name it.
std::string described(const Token& token);

// Of one template, used once.
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

  // ---- expressions ----

  Expr* parse_expression(bool with_condition = true);
  Expr* parse_conditional();
  int unknown_mark(std::size_t begin) const;
  Expr* parse_or();
  Expr* parse_and();
  Expr* parse_not();
  std::optional<Operator> take_comparison();
  Expr* parse_compare();
  Expr* chain(ExprKind kind, int line, std::vector<Expr*> parts, std::vector<Operator> operators);
  Expr* parse_sum();
  Expr* parse_concatenation();
  Expr* parse_product();
  Expr* parse_power();
  Expr* parse_unary(bool with_filter);
  Expr* parse_primary();
  Expr* parse_name();
  Expr* parse_list();
  Expr* parse_dict();
  [[nodiscard]] bool ends_tuple(std::initializer_list<std::string_view> end_names) const;
  Expr* parse_tuple(bool with_condition, std::initializer_list<std::string_view> end_names, bool in_parentheses);
  Expr* parse_postfix(Expr* expr);
  Expr* parse_subscript(Expr* expr);
  Expr* parse_subscribed(Expr* expr, int line, Expr*& slice);
  void parse_arguments(Expr* call);
  void parse_argument(Expr* call);
  Expr* parse_call(Expr* callee);
  Expr* parse_filters_and_tests(Expr* expr);
  Expr* parse_filter(Expr* expr);
  Expr* parse_block_filters();
  Expr* parse_test(Expr* expr);

  // ---- targets and statements ----

  [[nodiscard]] static bool is_reserved(const std::string& name);
  Target parse_single_target(bool with_namespace);
  Target parse_target(std::initializer_list<std::string_view> end_names, bool with_namespace);
  [[nodiscard]] bool names_loop(const Target& target) const;
  [[nodiscard]] bool at_end_tag(std::initializer_list<std::string_view> ends) const;
  Body parse_body(std::initializer_list<std::string_view> ends);
  Body parse_tag_body(std::initializer_list<std::string_view> ends);
  Stmt* parse_statement();
  Stmt* parse_if(int line);
  Stmt* parse_for(int line);
  Stmt* parse_set(int line);
  void parse_parameters(Stmt* out);
  void parse_macro_body(Stmt* out, std::string_view end);
  Stmt* parse_macro(int line);
  Stmt* parse_call_block(int line);
  Stmt* parse_filter_tag(int line);
  Stmt* parse_with(int line);
  Stmt* parse_block(int line);
  Stmt* parse_scoped(int line, std::string_view end);
  Stmt* parse_autoescape(int line);
  Stmt* parse_print(int line);

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

}  // namespace loadline::chat::jinja

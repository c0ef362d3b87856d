// Tags, and what stands between them.
#include "chat/jinja/parser.h"

#include "chat/jinja/template_parser.h"

namespace loadline::chat::jinja {

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

bool Parser::is_reserved(const std::string& name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None";
}

Target Parser::parse_single_target(bool with_namespace) {
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

Target Parser::parse_target(std::initializer_list<std::string_view> end_names, bool with_namespace) {
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

bool Parser::names_loop(const Target& target) const {
  if (target.kind == Target::Kind::Name) return target.name == tree_->loop_name;
  return std::ranges::any_of(target.several, [&](const Target& one) { return names_loop(one); });
}

bool Parser::at_end_tag(std::initializer_list<std::string_view> ends) const {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return current().is_name(end); });
}

// Up to one of the tags `ends`, whose name is then the current token; without any, to the end of the template.
Body Parser::parse_body(std::initializer_list<std::string_view> ends) {
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
Body Parser::parse_tag_body(std::initializer_list<std::string_view> ends) {
  skip_operator(":");
  expect_end(TokenType::EndBlock);
  return parse_body(ends);
}

Stmt* Parser::parse_statement() {
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

Stmt* Parser::parse_if(int line) {
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

Stmt* Parser::parse_for(int line) {
  Stmt* out = make(StmtKind::For, line);
  out->target = parse_target({"in"}, false);
  if (names_loop(out->target)) fail_syntax(line, "Can't assign to special loop variable in for-loop target");
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

Stmt* Parser::parse_set(int line) {
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

void Parser::parse_parameters(Stmt* out) {
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

void Parser::parse_macro_body(Stmt* out, std::string_view end) {
  macros_.push_back(out);
  {
    const LoopBody outside(*this, false);
    out->body = parse_tag_body({end});
  }
  take();
  macros_.pop_back();
}

Stmt* Parser::parse_macro(int line) {
  const Frame frame(*this, false);
  Stmt* out = make(StmtKind::Macro, line);
  out->text = expect_name();
  if (is_reserved(out->text)) fail_here("can't assign to '" + out->text + "'");
  out->name = name_number(out->text);
  parse_parameters(out);
  parse_macro_body(out, "endmacro");
  return out;
}

Stmt* Parser::parse_call_block(int line) {
  Stmt* out = make(StmtKind::CallBlock, line);
  if (current().is_operator("(")) parse_parameters(out);
  out->value = parse_expression();
  if (out->value->kind != ExprKind::Call) fail_here("expected call");
  const Frame frame(*this, false);
  parse_macro_body(out, "endcall");
  return out;
}

Stmt* Parser::parse_filter_tag(int line) {
  Stmt* out = make(StmtKind::FilterBlock, line);
  out->value = parse_block_filters();
  const Frame frame(*this, false);
  out->body = parse_tag_body({"endfilter"});
  take();
  return out;
}

Stmt* Parser::parse_with(int line) {
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

Stmt* Parser::parse_block(int line) {
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

Stmt* Parser::parse_scoped(int line, std::string_view end) {
  const Frame frame(*this, false);
  const LoopBody outside(*this, false);
  Stmt* out = make(StmtKind::Scoped, line);
  out->body = parse_tag_body({end});
  take();
  return out;
}

Stmt* Parser::parse_autoescape(int line) {
  const Frame frame(*this, false);
  Stmt* out = make(StmtKind::Autoescape, line);
  out->value = parse_expression();
  out->body = parse_tag_body({"endautoescape"});
  take();
  return out;
}

Stmt* Parser::parse_print(int line) {
  Stmt* out = make(StmtKind::Scoped, line);
  while (current().type != TokenType::EndBlock) {
    if (!out->body.empty()) expect_operator(",");
    Stmt* print = make(StmtKind::Print, line);
    print->value = parse_expression();
    out->body.push_back(print);
  }
  return out;
}

std::unique_ptr<const Tree> parse(std::string_view source) { return Parser(source).run(); }

}  // namespace loadline::chat::jinja

// A template's text as tokens, by the rules of jinja2's lexer with trim_blocks and lstrip_blocks on. What tokens mean
// is the parser's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

enum class TokenType : std::uint8_t {
  Data,  // text that is written as it stands
  BeginPrint,
  EndPrint,
  BeginBlock,
  EndBlock,
  Name,
  Text,  // a string, escapes resolved
  Whole,
  Real,
  Operator,
  End,
};

struct Token {
  TokenType type = TokenType::End;
  int line = 1;
  std::string text;
  Integer integer = 0;
  double real = 0;

  [[nodiscard]] bool is_operator(std::string_view op) const { return type == TokenType::Operator && text == op; }
  [[nodiscard]] bool is_name(std::string_view name) const { return type == TokenType::Name && text == name; }
};

// What cannot be parsed: `line` is set.
[[noreturn]] void fail_syntax(int line, const std::string& message);

// Ends with a token of type End. Throws Failure with a line.
std::vector<Token> tokens_of(std::string_view source);

}  // namespace loadline::chat::jinja

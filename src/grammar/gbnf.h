// Reads GBNF, llama.cpp's language for grammars, into expressions. What is accepted and what it means is in the
// comments of gbnf.cpp; where llama.cpp is lenient by accident (a rule twice, backward ranges, empty classes) this
// refuses.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "grammar/expressions.h"

namespace loadline::grammar {

struct Source {
  Expressions expressions;
  RuleId root = 0;
};

// The one token that a text such as "<|im_end|>" is; nullopt where it is none or several.
using TokenNamed = std::function<std::optional<Token>(std::string_view)>;

// Without `token_named`, items for tokens by text are matched by no token. Throws Error(BadInput) with line and column.
Source read_gbnf(std::string_view text, const TokenNamed& token_named = {});

}  // namespace loadline::grammar

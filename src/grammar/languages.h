// Grammars from the texts that users give: GBNF, JSON schemas, regular expressions, choices. One call each, from text
// to a compiled grammar.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "grammar/gbnf.h"
#include "grammar/grammar.h"
#include "tokenizer/tokenizer.h"

namespace loadline::grammar {

// All throw Error(BadInput) that says what is wrong and where.

// `tokenizer` finds tokens that the grammar names; without it they match nothing.
Grammar compile_gbnf(std::string_view text, const tokenizer::Tokenizer* tokenizer = nullptr);
Grammar compile_json_schema(std::string_view text);
// Any JSON value; any object where `object` (what "json mode" means to clients).
Grammar compile_json(bool object);
// ECMA 262's regular expressions, as JSON schemas have them; the whole text must match.
Grammar compile_regex(std::string_view pattern);
// Exactly one of these texts.
Grammar compile_choices(std::span<const std::string> choices);

}  // namespace loadline::grammar

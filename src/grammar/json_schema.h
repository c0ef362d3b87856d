// JSON schemas (draft 2020-12, with the spellings of draft 7) as grammars of the JSON texts that satisfy them. What
// cannot be honoured is refused by name and place, never ignored; nothing is fetched.
//
// Texts are offered without blanks, object members in the order of `properties` and then others, integers without
// fraction and exponent, and, where the outermost schema names no type, only values of the types that its keywords
// speak of.
#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

#include "grammar/gbnf.h"
#include "grammar/value_style.h"

namespace loadline::grammar {

using Json = nlohmann::ordered_json;

// Deeper texts and schemas are refused.
inline constexpr int kDeepestJson = 200;

// A JSON text of at most 16 MiB and kDeepestJson levels. Throws Error(BadInput) that names `what` and the place.
Json parse_json(std::string_view text, std::string_view what);

// Throws Error(BadInput) that names the keyword and where it stands.
Source read_json_schema(const Json& schema);

// Adds the rules of a schema to others, and returns the one for its texts. `schema` need not outlive the call; it is
// its own document for "$ref". With `members` the outermost value is an object whose members stand so.
RuleId add_json_schema(Expressions& out, const Json& schema, const ValueStyle& style = {},
                       const MemberStyle* members = nullptr);

}  // namespace loadline::grammar

// Token ids in requests: each must be one of the model's.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "serve/json.h"
#include "tokenizer/tokenizer.h"

namespace loadline::serve {

// nullopt where it is no id of the tokenizer's.
std::optional<tokenizer::Token> find_token(const tokenizer::Tokenizer& tokenizer, const Json& id);

// Each throws Error(BadInput) that names the field, and what is no token; `wanted`: what the field must be, where it
// holds something else than ids.
tokenizer::Token token_of(const tokenizer::Tokenizer& tokenizer, const Json& id, std::string_view field);
std::vector<tokenizer::Token> tokens_of(const tokenizer::Tokenizer& tokenizer, const Json& ids, std::string_view field,
                                        std::string_view wanted = "an array of token ids");

}  // namespace loadline::serve

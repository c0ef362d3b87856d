#include "serve/token_ids.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace loadline::serve {

std::optional<tokenizer::Token> find_token(const tokenizer::Tokenizer& tokenizer, const Json& id) {
  const std::int64_t number = id.is_number_integer() ? id.get<std::int64_t>() : -1;
  if (number < 0 || number >= tokenizer.vocabulary_size()) return std::nullopt;
  return static_cast<tokenizer::Token>(number);
}

tokenizer::Token token_of(const tokenizer::Tokenizer& tokenizer, const Json& id, std::string_view field) {
  const std::optional<tokenizer::Token> token = find_token(tokenizer, id);
  if (!token) throw bad_input(fmt::format("\"{}\": {} is no token of this model", field, printable(dump(id))));
  return *token;
}

std::vector<tokenizer::Token> tokens_of(const tokenizer::Tokenizer& tokenizer, const Json& ids, std::string_view field,
                                        std::string_view wanted) {
  if (!ids.is_array()) throw wrong_field(field, wanted);
  std::vector<tokenizer::Token> tokens;
  for (const Json& id : ids) {
    if (!id.is_number_integer()) throw wrong_field(field, wanted);
    tokens.push_back(token_of(tokenizer, id, field));
  }
  return tokens;
}

}  // namespace loadline::serve

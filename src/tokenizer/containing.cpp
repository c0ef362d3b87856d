#include "tokenizer/containing.h"

namespace loadline::tokenizer {

std::vector<std::vector<Token>> sequences_containing(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::vector<Token>> result;
  if (text.empty()) return result;
  for (Token token = 0; token < tokenizer.vocabulary_size(); ++token) {
    if (tokenizer.piece(token, false).contains(text)) result.push_back({token});
  }
  std::vector<Token> alone = tokenizer.encode(text, {.add_special = false});
  if (alone.size() > 1) result.push_back(std::move(alone));
  return result;
}

}  // namespace loadline::tokenizer

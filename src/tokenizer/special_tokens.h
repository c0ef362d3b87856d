// The tokens with a meaning of their own (begin, end, unknown) and the rules that go with them, from the metadata.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {

struct SpecialTokens {
  Token bos = -1;
  Token eos = -1;
  Token unknown = -1;
  bool add_bos = false;
  bool add_eos = false;
  std::vector<Token> end_of_generation;  // ascending
  // Tokens that by their well-known text are control tokens, whatever type the file gives them; ascending.
  std::vector<Token> control_by_text;
};

// `defaults` holds the ids and flags of a file that does not say; ids that are not below `tokens.size()` count as none.
// Throws Error(BadInput) naming the key for an id that is not in the vocabulary, or BOS or EOS wanted but not named.
SpecialTokens read_special_tokens(const gguf::Metadata& metadata, const std::vector<std::string>& tokens,
                                  const SpecialTokens& defaults);

}  // namespace loadline::tokenizer

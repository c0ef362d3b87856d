// The tokens with a meaning of their own (begin, end, unknown) and the rules that go with them, from the metadata.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {

struct SpecialTokens {
  Token bos = -1;
  Token eos = -1;
  Token unknown = -1;
  Token eot = -1;  // ends a turn
  Token eom = -1;  // ends a message
  // Filling in the middle: before what stands before the gap, before what stands behind it, before what fills it; the
  // name of a repository, and what separates files.
  Token fim_prefix = -1;
  Token fim_suffix = -1;
  Token fim_middle = -1;
  Token fim_pad = -1;
  Token fim_repository = -1;
  Token fim_separator = -1;
  bool add_bos = false;
  bool add_eos = false;
  bool always_add_bos = false;           // of the defaults: the file's flag is not asked
  std::vector<Token> end_of_generation;  // ascending
  // Tokens that by their well-known text are control tokens, whatever type the file gives them; ascending.
  std::vector<Token> control_by_text;
  // What was assumed where the file makes no sense, a sentence each.
  std::vector<std::string> remarks;
};

// `defaults` holds the ids and flags of a file that does not say; ids that are not below `tokens.size()` count as none.
// An id of the file that is not in the vocabulary counts as none too, and so does the wish for a BOS or EOS that there
// is not: `remarks` says so.
SpecialTokens read_special_tokens(const gguf::Metadata& metadata, const gguf::Strings& tokens,
                                  const SpecialTokens& defaults);

// White space beside a special token in a text that belongs to it: it is dropped with the token's own text.
struct Strips {
  std::string_view left_of = {};  // the one token that takes what stands before it; empty: none
  bool right_of_special = false;  // special tokens take what stands behind them

  [[nodiscard]] bool strips_left(std::string_view text) const { return !left_of.empty() && text == left_of; }
  // `special`: control, unknown or user-defined.
  [[nodiscard]] bool strips_right(std::string_view text, bool special) const;
};
Strips read_strips(const gguf::Metadata& metadata);

}  // namespace loadline::tokenizer

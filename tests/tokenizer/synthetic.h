// Small vocabularies made for a test, as the metadata of a file would give them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::test {

struct Piece {
  std::string text;
  std::int32_t type = 1;  // tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte
  float score = 0;
};

void set_string(gguf::Metadata& metadata, const std::string& key, const std::string& value);
void set_bool(gguf::Metadata& metadata, const std::string& key, bool value);
void set_id(gguf::Metadata& metadata, const std::string& key, std::uint32_t value);
void set_strings(gguf::Metadata& metadata, const std::string& key, std::vector<std::string> values);
void set_integers(gguf::Metadata& metadata, const std::string& key, std::vector<std::int32_t> values);
void set_floats(gguf::Metadata& metadata, const std::string& key, std::vector<float> values);

// tokenizer.ggml.tokens, token_type and scores of these pieces.
void set_pieces(gguf::Metadata& metadata, const std::vector<Piece>& pieces);

// A byte-level vocabulary: the 256 bytes as ids 0 to 255, then what every merge ("t h") makes that is not there yet, in
// order, then `more`. The merges are in the spelling of files: a blank inside a token is "\u0120".
gguf::Metadata byte_pair_metadata(const std::string& pre, const std::vector<std::string>& merges,
                                  const std::vector<Piece>& more = {});

// A SentencePiece vocabulary: <unk>, <s>, </s> as ids 0 to 2, the byte tokens as 3 to 258, then `pieces`; U+2581 for
// blanks.
gguf::Metadata sentence_piece_metadata(const std::vector<Piece>& pieces);

// Vocabularies with enough merges that arbitrary text meets them: runs of one letter, pairs of letters, blanks, parts
// of characters beyond ASCII, and user-defined and control tokens.
gguf::Metadata varied_byte_pair_metadata(const std::string& pre);
gguf::Metadata varied_sentence_piece_metadata();

// The first token with this text.
tokenizer::Token token_of(const gguf::Metadata& metadata, const std::string& text);

}  // namespace loadline::test

// The tokens of a model: their bytes, their kinds, and the way back from bytes to a token.
// How a text is cut into tokens is for the two kinds of tokenizer built on this.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/special_tokens.h"

namespace loadline::tokenizer {

// tokenizer.ggml.token_type, as stored.
enum class TokenKind : std::uint8_t {
  Normal = 1,
  Unknown = 2,      // stands for what has no token
  Control = 3,      // means something to the model; in a text only when asked for
  UserDefined = 4,  // added to the vocabulary; always recognised in a text, before anything else
  Unused = 5,
  Byte = 6,  // "<0x0A>"
};

// How the texts of normal tokens are written in the file.
enum class TokenSpelling {
  SentencePiece,  // U+2581 for a blank
  ByteLevel,      // one printable character a byte
};

// A text with blanks where it has U+2581.
std::string with_blanks(std::string_view text);
// The bytes that a normal token's text, or a part of it, stands for. What is outside the byte alphabet stands for
// itself: it can be generated but never results from encoding.
std::string normal_bytes(std::string_view text, TokenSpelling spelling);

// Immutable after construction.
class Vocabulary {
 public:
  // Pieces are at most this long (real ones have up to about 1 KiB): longer ones would make pair lookups slow.
  static constexpr std::size_t kLongestPiece = 65536;

  // Throws Error(BadInput) naming the key for arrays that are missing, empty, of another type or length, or out of
  // range.
  Vocabulary(const gguf::Metadata& metadata, TokenSpelling spelling, const SpecialTokens& defaults);

  [[nodiscard]] std::int32_t size() const { return static_cast<std::int32_t>(kinds_.size()); }
  [[nodiscard]] bool contains(Token token) const { return token >= 0 && token < size(); }
  [[nodiscard]] const SpecialTokens& special() const { return special_; }

  // `token` must be in the vocabulary. The bytes it stands for: for normal tokens as they are in a text, for control,
  // unknown and user-defined ones as the file spells them, for byte tokens that byte.
  [[nodiscard]] std::string_view bytes(Token token) const {
    return std::string_view(arena_).substr(ends_[token], ends_[token + 1] - ends_[token]);
  }
  [[nodiscard]] TokenKind kind(Token token) const { return kinds_[token]; }
  // Control and unknown tokens have no text of their own.
  [[nodiscard]] bool is_hidden(Token token) const {
    return kinds_[token] == TokenKind::Control || kinds_[token] == TokenKind::Unknown;
  }

  // The token with these bytes, -1 if there is none. Normal tokens come before special ones, lower ids before higher.
  // Byte tokens are not found here.
  [[nodiscard]] Token find(std::string_view bytes) const;
  // The byte token ("<0x0A>") of a byte, or -1.
  [[nodiscard]] Token byte_token(unsigned char byte) const { return byte_tokens_[byte]; }
  // Of the tokens `find` finds.
  [[nodiscard]] std::size_t longest() const { return longest_; }

  [[nodiscard]] Bytes resident_bytes() const;

 private:
  void index();

  SpecialTokens special_;
  std::string arena_;
  std::vector<std::uint32_t> ends_;  // token i is arena_[ends_[i], ends_[i + 1])
  std::vector<TokenKind> kinds_;
  std::vector<Token> byte_tokens_;  // 256
  std::vector<Token> slots_;        // open addressing, linear probing; -1: empty; a power of two, at most half full
  std::uint64_t seed_ = 0;
  std::size_t longest_ = 0;
};

}  // namespace loadline::tokenizer

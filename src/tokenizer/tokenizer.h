// Text to token ids and back, from a model's GGUF metadata.
// It does not choose tokens (sample) and knows no chat format; it cuts text as the model's own tokenizer does.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"

namespace loadline::tokenizer {

using Token = std::int32_t;

// In place of a previous token, for `Tokenizer::text_after`.
inline constexpr Token kStartOfText = -1;
inline constexpr Token kInsideText = -2;  // some plain text, whichever

// Bytes of a text.
struct TextRange {
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct EncodeOptions {
  bool add_special = true;     // BOS / EOS as the metadata asks; a BOS written in the text as well is not looked for
  bool parse_special = false;  // recognise control tokens written in the text ("<|eot_id|>")
  bool goes_on = false;        // the model is to continue the text: no EOS at its end, whatever the metadata asks
  // Ascending and apart: where control tokens are letters even so, as somebody typed them.
  std::span<const TextRange> typed = {};
};

struct SpecialTokens;  // special_tokens.h

// Immutable and thread-safe after construction.
class Tokenizer {
 public:
  // Throws Error(BadInput) naming the missing or contradictory key, or an unsupported tokenizer.ggml.model / .pre.
  static std::unique_ptr<Tokenizer> from_metadata(const gguf::Metadata& metadata);
  virtual ~Tokenizer() = default;

  // Any bytes are accepted: invalid UTF-8 is encoded by byte tokens where the vocabulary has them. What the vocabulary
  // has no token for becomes its unknown token; without one, it is left out. O(n log n) for any text; about 30 bytes of
  // memory per byte of the longest word meanwhile. Throws Error(BadInput) for a text of 1 GiB or more.
  [[nodiscard]] virtual std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const = 0;

  // The bytes a token stands for. Control and unknown tokens give their text only if `special`; ids that are not in the
  // vocabulary throw Error(BadInput).
  [[nodiscard]] virtual std::string piece(Token token, bool special) const = 0;

  // What `token` adds to a text behind `previous` (or kStartOfText, kInsideText): its piece, less the blank that
  // encoding puts before text at the start and behind special tokens, where the model has that rule.
  [[nodiscard]] virtual std::string text_after(Token previous, Token token, bool special) const = 0;

  // The text of a sequence, with the leading-space rule of the model applied. Not necessarily valid UTF-8. Gives back
  // the text that was encoded (in SentencePiece vocabularies, U+2581 comes back as a blank).
  [[nodiscard]] virtual std::string decode(std::span<const Token> tokens, bool special) const = 0;

  [[nodiscard]] virtual std::int32_t vocabulary_size() const = 0;
  [[nodiscard]] virtual Token bos() const = 0;  // -1 where there is none
  [[nodiscard]] virtual Token eos() const = 0;
  [[nodiscard]] virtual bool is_end_of_generation(Token token) const = 0;
  // The ids with a meaning of their own.
  [[nodiscard]] virtual const SpecialTokens& special() const = 0;
  // What was assumed where the metadata says nothing or makes no sense: a sentence each, for the user.
  [[nodiscard]] virtual const std::vector<std::string>& remarks() const = 0;
  // Memory that this object holds, for the plan: heap bytes, estimated from the vocabulary, an upper bound.
  [[nodiscard]] virtual Bytes resident_bytes() const = 0;
};

// Turns a stream of tokens into text without ever emitting part of a UTF-8 character: bytes of an unfinished character
// are held back until it is complete or can no longer become valid (then U+FFFD stands for it). One thread at a time;
// the tokenizer must outlive it.
class StreamDecoder {
 public:
  // `previous` is the token before the first one pushed: kStartOfText, or the last of a prompt that is continued.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool special = false, Token previous = kStartOfText)
      : tokenizer_(&tokenizer), special_(special), previous_(previous) {}
  // The text that became complete with this token; may be empty.
  std::string push(Token token);
  // What is still held back, invalid bytes as U+FFFD.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool special_;
  Token previous_;
  std::string pending_;  // at most three bytes, the beginning of a character
};

}  // namespace loadline::tokenizer

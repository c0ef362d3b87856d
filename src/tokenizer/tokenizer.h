// Text to token ids and back, from a model's GGUF metadata.
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

struct EncodeOptions {
  bool add_special = true;    // BOS / EOS as the metadata asks
  bool parse_special = false;  // recognise control tokens written in the text ("<|eot_id|>")
};

// Immutable and thread-safe after construction.
class Tokenizer {
 public:
  // Throws Error(BadInput) naming the missing or contradictory key, or an unsupported tokenizer.ggml.model / .pre.
  static std::unique_ptr<Tokenizer> from_metadata(const gguf::Metadata& metadata);
  virtual ~Tokenizer() = default;

  // Any bytes are accepted: invalid UTF-8 is encoded by byte tokens where the vocabulary has them.
  [[nodiscard]] virtual std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const = 0;

  // The bytes a token stands for. Control tokens give their text only if `special`; unknown ids throw Error(BadInput).
  [[nodiscard]] virtual std::string piece(Token token, bool special) const = 0;

  // The text of a sequence, with the leading-space rule of the model applied. Not necessarily valid UTF-8.
  [[nodiscard]] virtual std::string decode(std::span<const Token> tokens, bool special) const = 0;

  [[nodiscard]] virtual std::int32_t vocabulary_size() const = 0;
  [[nodiscard]] virtual Token bos() const = 0;  // -1 where there is none
  [[nodiscard]] virtual Token eos() const = 0;
  [[nodiscard]] virtual bool is_end_of_generation(Token token) const = 0;
  // Memory that this object holds, for the plan: heap bytes, estimated from the vocabulary, an upper bound.
  [[nodiscard]] virtual Bytes resident_bytes() const = 0;
};

// Turns a stream of tokens into text without ever emitting part of a UTF-8 character: bytes of an unfinished character
// are held back until it is complete or can no longer become valid (then U+FFFD stands for it).
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool special = false);
  // The text that became complete with this token; may be empty.
  std::string push(Token token);
  // What is still held back, invalid bytes as U+FFFD.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool special_;
  bool first_ = true;
  std::string pending_;
};

}  // namespace loadline::tokenizer

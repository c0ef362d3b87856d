// What all kinds of tokenizer share: finding special tokens in a text, BOS and EOS, and decoding.
// Cutting plain text into tokens is theirs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/merge.h"
#include "tokenizer/special_matcher.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"
#include "tokenizer/word_cache.h"

namespace loadline::tokenizer {

// The state of one call of `encode`: takes plain text, stretch by stretch, and appends tokens.
class EncodeSession {
 public:
  explicit EncodeSession(std::size_t text_size) : cache_(text_size) {}
  virtual ~EncodeSession() = default;
  // `prefixed`: as if a blank stood before it. The bytes of `text` stay where they are until the session ends.
  virtual void add_text(std::string_view text, bool prefixed) = 0;

  void add_token(Token token) { tokens_.push_back(token); }
  [[nodiscard]] std::vector<Token> take_tokens() { return std::move(tokens_); }
  [[nodiscard]] std::uint64_t pairs_examined() const { return merger_.pairs_examined(); }

 protected:
  std::vector<Token> tokens_;
  Merger merger_;
  WordCache cache_;
};

class TableTokenizer : public Tokenizer {
 public:
  [[nodiscard]] std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const final;
  // The same, and how many pairs of symbols were examined: for tests of how the work grows.
  [[nodiscard]] std::vector<Token> encode_counting(std::string_view text, const EncodeOptions& options,
                                                   std::uint64_t& pairs_examined) const;

  [[nodiscard]] std::string piece(Token token, bool special) const final;
  [[nodiscard]] std::string text_after(Token previous, Token token, bool special) const final;
  [[nodiscard]] std::string decode(std::span<const Token> tokens, bool special) const final;

  [[nodiscard]] std::int32_t vocabulary_size() const final { return vocabulary_.size(); }
  [[nodiscard]] Token bos() const final { return vocabulary_.special().bos; }
  [[nodiscard]] Token eos() const final { return vocabulary_.special().eos; }
  [[nodiscard]] bool is_end_of_generation(Token token) const final;
  [[nodiscard]] const SpecialTokens& special() const final { return vocabulary_.special(); }
  [[nodiscard]] const std::vector<std::string>& remarks() const final { return remarks_; }
  // In the vocabulary for its number alone.
  [[nodiscard]] bool is_unused(Token token) const { return vocabulary_.kind(token) == TokenKind::Unused; }
  [[nodiscard]] Bytes resident_bytes() const override;

 protected:
  TableTokenizer(const gguf::Metadata& metadata, Vocabulary vocabulary, bool add_space_prefix);

  void add_remark(std::string remark) { remarks_.push_back(std::move(remark)); }

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }
  // `stretches` is the most that `add_text` will be called.
  [[nodiscard]] virtual std::unique_ptr<EncodeSession> start(std::size_t text_size, std::size_t stretches) const = 0;

 private:
  [[nodiscard]] std::vector<SpecialMatcher::Match> find_specials(std::string_view text,
                                                                 const EncodeOptions& options) const;
  [[nodiscard]] std::string_view visible(Token token, bool special) const;
  [[nodiscard]] bool begins_text(Token previous) const;
  [[nodiscard]] std::string_view without_blanks_at(std::string_view text, Token before, Token behind) const;

  Vocabulary vocabulary_;
  Strips strips_;
  bool add_space_prefix_;
  std::vector<std::string> remarks_;
  SpecialMatcher always_;      // user-defined tokens
  SpecialMatcher when_asked_;  // and control and unknown ones
};

}  // namespace loadline::tokenizer

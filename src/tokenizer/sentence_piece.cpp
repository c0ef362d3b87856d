#include "tokenizer/sentence_piece.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace loadline::tokenizer {
namespace {

constexpr std::string_view kScoresKey = "tokenizer.ggml.scores";

// What files of this kind mean when they do not say: the ids of Llama's own vocabulary.
SpecialTokens llama_defaults() {
  SpecialTokens defaults;
  defaults.unknown = 0;
  defaults.bos = 1;
  defaults.eos = 2;
  defaults.add_bos = true;
  return defaults;
}

// An unsigned number that falls as `score` rises; the same for 0 and -0.
std::uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);
  return (bits & 0x80000000U) != 0 ? bits : ~bits & 0x7FFFFFFFU;
}

std::vector<std::uint32_t> read_ranks(const gguf::Metadata& metadata, std::size_t count) {
  const auto scores = metadata.get_floats(kScoresKey);
  if (!scores) throw bad_input(fmt::format("{} is missing", kScoresKey));
  if (scores->size() != count) {
    throw bad_input(
        fmt::format("{} has {} entries, but tokenizer.ggml.tokens has {}", kScoresKey, scores->size(), count));
  }
  std::vector<std::uint32_t> ranks(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan((*scores)[i]))
      throw bad_input(fmt::format("{}: the score of token {} is not a number", kScoresKey, i));
    ranks[i] = rank_of((*scores)[i]);
  }
  return ranks;
}

bool blank_behind_other(std::string_view text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == ' ' && text[i - 1] != ' ') return true;
  }
  return false;
}

}  // namespace

class SentencePieceTokenizer::Session final : public EncodeSession {
 public:
  Session(const SentencePieceTokenizer& tokenizer, std::size_t text_size, std::size_t stretches)
      : EncodeSession(text_size), tokenizer_(tokenizer) {
    text_.reserve(text_size + stretches);  // never moved: the cache has views of it
  }

  void add_text(std::string_view text, bool prefixed) override {
    const std::size_t begin = text_.size();
    if (prefixed) text_.push_back(' ');
    text_ += with_blanks(text);
    std::string_view rest = std::string_view(text_).substr(begin);
    while (!rest.empty()) {
      const std::size_t length = tokenizer_.words_begin_with_blanks_ ? first_word(rest) : rest.size();
      add_word(rest.substr(0, length));
      rest.remove_prefix(length);
    }
  }

 private:
  static std::size_t first_word(std::string_view text) {
    const std::size_t visible = std::min(text.find_first_not_of(' '), text.size());
    return std::min(text.find(' ', visible), text.size());
  }

  void add_word(std::string_view word) {
    if (cache_.append(word, tokens_)) return;
    const std::size_t begin = tokens_.size();
    encode_word(word);
    cache_.remember(word, begin, tokens_);
  }

  void encode_word(std::string_view word) {
    const Vocabulary& vocabulary = tokenizer_.vocabulary();
    const auto find = [&](std::string_view part) {
      const Token token = vocabulary.find(part);
      return token >= 0 && tokenizer_.can_merge(token) ? token : Token{-1};
    };
    merger_.clear();
    for (std::size_t at = 0; at < word.size();) {
      const Utf8Unit unit = first_utf8_unit(word.substr(at));
      merger_.add({find(word.substr(at, unit.length)), static_cast<std::uint32_t>(at),
                   static_cast<std::uint32_t>(unit.length)});
      at += unit.length;
    }
    merger_.run([&](const Symbol& left, const Symbol& right) {
      const Token token = find(word.substr(left.begin, left.length + right.length));
      return token >= 0 ? Merge{tokenizer_.ranks_[token], token} : Merge{};
    });
    merger_.for_each([&](const Symbol& symbol) {
      if (symbol.token >= 0) {
        add_token(symbol.token);
      } else {
        add_bytes(word.substr(symbol.begin, symbol.length));
      }
    });
  }

  // A character without a token: its bytes, or once the unknown token.
  void add_bytes(std::string_view bytes) {
    const Vocabulary& vocabulary = tokenizer_.vocabulary();
    const std::size_t begin = tokens_.size();
    for (const char byte : bytes) {
      const Token token = vocabulary.byte_token(static_cast<unsigned char>(byte));
      if (token >= 0) {
        add_token(token);
        continue;
      }
      tokens_.resize(begin);
      if (vocabulary.special().unknown >= 0) add_token(vocabulary.special().unknown);
      return;
    }
  }

  const SentencePieceTokenizer& tokenizer_;
  std::string text_;  // what was added so far, with blanks as blanks
};

SentencePieceTokenizer::SentencePieceTokenizer(const gguf::Metadata& metadata)
    : TableTokenizer(metadata, Vocabulary(metadata, TokenSpelling::SentencePiece, llama_defaults()),
                     metadata.get_bool("tokenizer.ggml.add_space_prefix").value_or(true)),
      ranks_(read_ranks(metadata, static_cast<std::size_t>(vocabulary().size()))) {
  for (Token token = 0; token < vocabulary().size(); ++token) {
    if (can_merge(token) && blank_behind_other(vocabulary().bytes(token))) words_begin_with_blanks_ = false;
  }
}

bool SentencePieceTokenizer::can_merge(Token token) const {
  const TokenKind kind = vocabulary().kind(token);
  return kind == TokenKind::Normal || kind == TokenKind::Unused;
}

std::unique_ptr<EncodeSession> SentencePieceTokenizer::start(std::size_t text_size, std::size_t stretches) const {
  return std::make_unique<Session>(*this, text_size, stretches);
}

Bytes SentencePieceTokenizer::resident_bytes() const {
  return TableTokenizer::resident_bytes() + Bytes(ranks_.capacity() * sizeof(ranks_[0]));
}

}  // namespace loadline::tokenizer

#include "tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <optional>
#include <utility>

#include "base/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/hash.h"

namespace loadline::tokenizer {
namespace {

constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";
constexpr std::string_view kTypesKey = "tokenizer.ggml.token_type";

const gguf::Strings& read_tokens(const gguf::Metadata& metadata) {
  const gguf::Strings* tokens = metadata.get_strings(kTokensKey);
  if (tokens == nullptr) throw bad_input(fmt::format("{} is missing: the file has no vocabulary", kTokensKey));
  if (tokens->empty()) throw bad_input(fmt::format("{} is empty", kTokensKey));
  if (tokens->size() > std::numeric_limits<Token>::max()) {
    throw bad_input(fmt::format("{} has {} entries, more than there are token ids", kTokensKey, tokens->size()));
  }
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const std::size_t length = (*tokens)[i].size();
    if (length > Vocabulary::kLongestPiece) {
      throw bad_input(fmt::format("{}: token {} has {} bytes; at most {} are possible", kTokensKey, i, length,
                                  Vocabulary::kLongestPiece));
    }
    total += length;
  }
  if (total > std::numeric_limits<std::uint32_t>::max()) {
    throw bad_input(
        fmt::format("{} holds {} of text; at most 4 GiB are possible", kTokensKey, to_string(Bytes(total))));
  }
  return *tokens;
}

std::vector<TokenKind> read_kinds(const gguf::Metadata& metadata, std::size_t count) {
  std::vector<TokenKind> kinds(count, TokenKind::Normal);
  const auto types = metadata.get_integers(kTypesKey);
  if (!types) return kinds;
  if (types->size() != count) {
    throw bad_input(fmt::format("{} has {} entries, but {} has {}", kTypesKey, types->size(), kTokensKey, count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::int64_t type = (*types)[i];
    if (type < 0 || type > static_cast<int>(TokenKind::Byte)) {
      throw bad_input(fmt::format("{}: token {} has type {}, which does not exist", kTypesKey, i, type));
    }
    if (type != 0) kinds[i] = static_cast<TokenKind>(type);  // 0, "undefined", is written for plain tokens
  }
  return kinds;
}

// "<0x0A>", in either case.
std::optional<unsigned char> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data() + 3, text.data() + 5, value, 16);
  if (error != std::errc{} || end != text.data() + 5) return std::nullopt;
  return static_cast<unsigned char>(value);
}

}  // namespace

std::string with_blanks(std::string_view text) {
  static constexpr std::string_view kBlank = "\u2581";
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0;;) {
    const std::size_t found = text.find(kBlank, at);
    out.append(text.substr(at, found - at));
    if (found == std::string_view::npos) return out;
    out.push_back(' ');
    at = found + kBlank.size();
  }
}

std::string normal_bytes(std::string_view text, TokenSpelling spelling) {
  if (spelling == TokenSpelling::SentencePiece) return with_blanks(text);
  return bytes_from_byte_level(text).value_or(std::string(text));
}

Vocabulary::Vocabulary(const gguf::Metadata& metadata, TokenSpelling spelling, const SpecialTokens& defaults)
    : byte_tokens_(256, -1), seed_(hash_seed()) {
  const gguf::Strings& tokens = read_tokens(metadata);
  kinds_ = read_kinds(metadata, tokens.size());
  special_ = read_special_tokens(metadata, tokens, defaults);
  for (std::size_t i = 0; i < tokens.size(); ++i) {  // places kept free for later tokens
    if (kinds_[i] == TokenKind::Control && tokens[i].contains("unused")) kinds_[i] = TokenKind::Unused;
  }
  for (const Token token : special_.control_by_text) kinds_[token] = TokenKind::Control;

  ends_.reserve(tokens.size() + 1);
  ends_.push_back(0);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (kinds_[i] == TokenKind::Byte) {
      const auto byte = parse_byte_token(tokens[i]);
      if (!byte) {
        throw bad_input(
            fmt::format("{}: token {} is of type byte, but its text is not of the form <0x0A>", kTokensKey, i));
      }
      arena_.push_back(static_cast<char>(*byte));
      if (byte_tokens_[*byte] < 0) byte_tokens_[*byte] = static_cast<Token>(i);
    } else if (kinds_[i] == TokenKind::Normal || kinds_[i] == TokenKind::Unused) {
      arena_ += normal_bytes(tokens[i], spelling);
    } else {
      arena_ += tokens[i];
    }
    ends_.push_back(static_cast<std::uint32_t>(arena_.size()));
  }
  arena_.shrink_to_fit();
  index();
}

void Vocabulary::index() {
  slots_.assign(std::bit_ceil(kinds_.size() * 2), -1);
  const std::size_t mask = slots_.size() - 1;
  const auto insert = [&](Token token) {
    const std::string_view text = bytes(token);
    if (text.empty()) return;
    longest_ = std::max(longest_, text.size());
    std::size_t slot = hash_bytes(text, seed_) & mask;
    for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      if (bytes(slots_[slot]) == text) return;  // the first of several with one text stays
    }
    slots_[slot] = token;
  };
  const auto is_normal = [&](Token token) {
    return kinds_[token] == TokenKind::Normal || kinds_[token] == TokenKind::Unused;
  };
  for (Token token = 0; token < size(); ++token) {
    if (is_normal(token)) insert(token);
  }
  for (Token token = 0; token < size(); ++token) {
    if (!is_normal(token) && kinds_[token] != TokenKind::Byte) insert(token);
  }
}

Token Vocabulary::find(std::string_view text) const {
  if (text.empty() || text.size() > longest_) return -1;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = hash_bytes(text, seed_) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    if (bytes(slots_[slot]) == text) return slots_[slot];
  }
  return -1;
}

Bytes Vocabulary::resident_bytes() const {
  return Bytes(arena_.capacity() + ends_.capacity() * sizeof(ends_[0]) + kinds_.capacity() * sizeof(kinds_[0]) +
               byte_tokens_.capacity() * sizeof(Token) + slots_.capacity() * sizeof(Token) +
               (special_.end_of_generation.capacity() + special_.control_by_text.capacity()) * sizeof(Token));
}

}  // namespace loadline::tokenizer

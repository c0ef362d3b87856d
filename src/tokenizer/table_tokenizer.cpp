#include "tokenizer/table_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace loadline::tokenizer {
namespace {

constexpr std::size_t kLongestText = std::size_t{1} << 30;

SpecialMatcher make_matcher(const Vocabulary& vocabulary, bool hidden_too) {
  std::vector<SpecialMatcher::Pattern> patterns;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (vocabulary.kind(token) == TokenKind::UserDefined || (hidden_too && vocabulary.is_hidden(token))) {
      patterns.push_back({vocabulary.bytes(token), token});
    }
  }
  return SpecialMatcher(std::move(patterns));
}

}  // namespace

TableTokenizer::TableTokenizer(const gguf::Metadata& metadata, Vocabulary vocabulary, bool add_space_prefix)
    : vocabulary_(std::move(vocabulary)),
      strips_(read_strips(metadata)),
      add_space_prefix_(add_space_prefix),
      remarks_(vocabulary_.special().remarks),
      always_(make_matcher(vocabulary_, false)),
      when_asked_(make_matcher(vocabulary_, true)) {}

// Text behind these is encoded like text at the start, and decoded likewise.
bool TableTokenizer::begins_text(Token previous) const {
  if (previous < 0) return previous == kStartOfText;
  const TokenKind kind = vocabulary_.kind(previous);
  return kind == TokenKind::Control || kind == TokenKind::UserDefined;
}

// A stretch of plain text less the white space that the special tokens on either side take; -1 where there is none.
std::string_view TableTokenizer::without_blanks_at(std::string_view text, Token before, Token behind) const {
  constexpr std::string_view kBlanks = " \t\n\v\f\r";  // C's isspace
  const auto special = [&](Token token) {
    return vocabulary_.is_hidden(token) || vocabulary_.kind(token) == TokenKind::UserDefined;
  };
  if (before >= 0 && strips_.strips_right(vocabulary_.bytes(before), special(before))) {
    text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  }
  if (behind >= 0 && strips_.strips_left(vocabulary_.bytes(behind))) {
    text = text.substr(0, text.find_last_not_of(kBlanks) + 1);
  }
  return text;
}

// What was typed cannot be part of a control token that begins or ends outside of it either.
std::vector<SpecialMatcher::Match> TableTokenizer::find_specials(std::string_view text,
                                                                 const EncodeOptions& options) const {
  const SpecialMatcher& matcher = options.parse_special ? when_asked_ : always_;
  if (options.typed.empty() || !options.parse_special) return matcher.find(text);
  std::vector<SpecialMatcher::Match> matches;
  const auto add = [&](const SpecialMatcher& from, std::size_t begin, std::size_t end) {
    for (SpecialMatcher::Match match : from.find(text.substr(begin, end - begin))) {
      match.begin += begin;
      matches.push_back(match);
    }
  };
  std::size_t done = 0;
  for (const TextRange& typed : options.typed) {
    add(when_asked_, done, typed.begin);
    add(always_, typed.begin, typed.end);
    done = typed.end;
  }
  add(when_asked_, done, text.size());
  return matches;
}

std::vector<Token> TableTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::uint64_t ignored = 0;
  return encode_counting(text, options, ignored);
}

std::vector<Token> TableTokenizer::encode_counting(std::string_view text, const EncodeOptions& options,
                                                   std::uint64_t& pairs_examined) const {
  if (text.size() >= kLongestText) {
    throw bad_input(
        fmt::format("the text has {}; at most 1 GiB can be tokenized at once", to_string(Bytes(text.size()))));
  }
  const std::vector<SpecialMatcher::Match> matches = find_specials(text, options);
  const std::unique_ptr<EncodeSession> session = start(text.size(), matches.size() + 1);

  if (options.add_special && vocabulary_.special().add_bos) session->add_token(bos());
  Token previous = kStartOfText;
  std::size_t done = 0;
  const auto add_text_until = [&](std::size_t end, Token next) {
    const std::string_view stretch = without_blanks_at(text.substr(done, end - done), previous, next);
    if (!stretch.empty()) session->add_text(stretch, add_space_prefix_ && begins_text(previous));
  };
  for (const SpecialMatcher::Match& match : matches) {
    add_text_until(match.begin, match.token);
    session->add_token(match.token);
    previous = match.token;
    done = match.begin + match.length;
  }
  add_text_until(text.size(), -1);
  if (options.add_special && !options.goes_on && vocabulary_.special().add_eos) session->add_token(eos());
  pairs_examined = session->pairs_examined();
  return session->take_tokens();
}

std::string_view TableTokenizer::visible(Token token, bool special) const {
  if (!vocabulary_.contains(token)) {
    throw bad_input(fmt::format("{} is not a token: the vocabulary has {}", token, vocabulary_.size()));
  }
  if (vocabulary_.is_hidden(token) && !special) return {};
  return vocabulary_.bytes(token);
}

std::string TableTokenizer::piece(Token token, bool special) const { return std::string(visible(token, special)); }

std::string TableTokenizer::text_after(Token previous, Token token, bool special) const {
  std::string_view text = visible(token, special);
  const bool plain = vocabulary_.kind(token) != TokenKind::UserDefined && !vocabulary_.is_hidden(token);
  if (add_space_prefix_ && plain && begins_text(previous) && text.starts_with(' ')) text.remove_prefix(1);
  return std::string(text);
}

std::string TableTokenizer::decode(std::span<const Token> tokens, bool special) const {
  std::string text;
  Token previous = kStartOfText;
  for (const Token token : tokens) {
    text += text_after(previous, token, special);
    previous = token;
  }
  return text;
}

bool TableTokenizer::is_end_of_generation(Token token) const {
  return std::ranges::binary_search(vocabulary_.special().end_of_generation, token);
}

Bytes TableTokenizer::resident_bytes() const {
  return Bytes(sizeof(*this)) + vocabulary_.resident_bytes() + always_.resident_bytes() + when_asked_.resident_bytes();
}

}  // namespace loadline::tokenizer

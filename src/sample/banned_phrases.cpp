#include "sample/banned_phrases.h"

#include <algorithm>

namespace loadline::sample {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace

BannedPhrases::BannedPhrases(std::vector<std::string> phrases, bool ignore_case)
    : phrases_(std::move(phrases)), ignore_case_(ignore_case) {
  std::erase(phrases_, "");
  for (const std::string& phrase : phrases_) longest_ = std::max(longest_, phrase.size());
  held_.reserve(longest_ + kLongestPiece);
  pieces_.reserve(longest_ + kLongestPiece);
  banned_.reserve(kMostBans);
}

bool BannedPhrases::equal(std::string_view text, std::string_view phrase) const {
  if (text.size() != phrase.size()) return false;
  return std::ranges::equal(text, phrase, [&](char a, char b) { return ignore_case_ ? lower(a) == lower(b) : a == b; });
}

void BannedPhrases::reset() {
  held_.clear();
  pieces_.clear();
  banned_.clear();
}

BannedPhrases::Verdict BannedPhrases::push(Token token, std::string_view text) {
  Verdict verdict;
  pieces_.push_back({token, static_cast<std::uint32_t>(held_.size())});
  held_ += text;
  // The first place where a phrase is complete.
  std::size_t at = held_.size();
  for (std::size_t i = 0; i < held_.size() && at == held_.size(); ++i) {
    for (const std::string& phrase : phrases_) {
      if (equal(std::string_view(held_).substr(i, phrase.size()), phrase)) at = i;
    }
  }
  if (at < held_.size()) {
    // The token that holds the phrase's first byte.
    auto first = pieces_.end() - 1;
    while (first != pieces_.begin() && first->begin > at) --first;
    if (first != pieces_.begin()) banned_.clear();  // they were for an earlier place
    if (banned_.size() < kMostBans) {
      banned_.push_back(first->token);
      verdict.rewind = static_cast<std::size_t>(pieces_.end() - first);
      verdict.release = first->begin;
      held_.clear();
      pieces_.clear();
      return verdict;
    }
    at = held_.size();
  } else {
    // The first place from which a phrase may still become complete.
    for (at = 0; at < held_.size(); ++at) {
      const std::string_view rest = std::string_view(held_).substr(at);
      const bool possible = std::ranges::any_of(phrases_, [&](const std::string& phrase) {
        return rest.size() < phrase.size() && equal(rest, std::string_view(phrase).substr(0, rest.size()));
      });
      if (possible) break;
    }
  }
  // Whole tokens are released, so that what is held back can be taken back.
  auto first = pieces_.begin();
  while (first != pieces_.end() && (first + 1 == pieces_.end() ? held_.size() : (first + 1)->begin) <= at) ++first;
  verdict.release = first == pieces_.end() ? held_.size() : first->begin;
  if (first != pieces_.begin()) banned_.clear();
  held_.erase(0, verdict.release);
  pieces_.erase(pieces_.begin(), first);
  for (Piece& piece : pieces_) piece.begin -= static_cast<std::uint32_t>(verdict.release);
  return verdict;
}

}  // namespace loadline::sample

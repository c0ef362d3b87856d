#include "sample/repeats.h"

#include <algorithm>

namespace loadline::sample {
namespace {

// Penalties beyond this are as good as forbidding.
constexpr double kLargestPenalty = 1e30;

std::size_t window_of(const Options& options) {
  if (!options.has_dry()) return 0;
  return options.dry_penalty_last_n < 0 ? static_cast<std::size_t>(options.context)
                                        : static_cast<std::size_t>(options.dry_penalty_last_n);
}

std::size_t all_breakers(const Options& options) {
  std::size_t tokens = 0;
  for (const auto& breaker : options.dry_breakers) tokens += breaker.size();
  return tokens;
}

}  // namespace

Repeats::Repeats(const Options& options, std::uint32_t vocabulary)
    : window_(window_of(options)),
      allowed_(options.dry_allowed_length),
      multiplier_(options.dry_multiplier),
      base_(options.dry_base) {
  if (window_ == 0) return;
  breaks_.resize(vocabulary);
  breakers_.reserve(options.dry_breakers.size());
  for (const auto& breaker : options.dry_breakers) {
    if (breaker.size() == 1) breaks_[static_cast<std::size_t>(breaker[0])] = 1;
    if (breaker.size() > 1) breakers_.push_back(breaker);
  }
  tokens_.resize(2 * window_);
  common_.resize(window_);
  longest_.resize(vocabulary);
  found_.reserve(most(options, vocabulary));
}

std::size_t Repeats::most(const Options& options, std::uint32_t vocabulary) {
  return std::min<std::size_t>(window_of(options), vocabulary);
}

Bytes Repeats::memory_bytes(const Options& options, std::uint32_t vocabulary) {
  const std::size_t window = window_of(options);
  if (window == 0) return {};
  return Bytes(vocabulary * (sizeof(std::uint8_t) + sizeof(std::uint32_t)) +
               options.dry_breakers.size() * sizeof(std::vector<Token>) + all_breakers(options) * sizeof(Token) +
               2 * window * sizeof(Token) + window * sizeof(std::uint32_t) +
               most(options, vocabulary) * sizeof(Penalty));
}

void Repeats::accept(Token token) {
  if (window_ == 0) return;
  if (used_ == tokens_.size()) {
    std::copy(tokens_.end() - static_cast<std::ptrdiff_t>(window_), tokens_.end(), tokens_.begin());
    used_ = window_;
  }
  tokens_[used_++] = token;
}

// Tokens at the end of the text that no breaker is among.
std::size_t Repeats::since_breaker() const {
  const std::size_t count = std::min(used_, window_);
  std::size_t nearest = count;
  for (std::size_t i = 0; i < count; ++i) {
    if (breaks_[static_cast<std::size_t>(tokens_[used_ - 1 - i])] == 0) continue;
    nearest = i;
    break;
  }
  for (const auto& breaker : breakers_) {
    for (std::size_t i = 0; i < nearest && i + breaker.size() <= count; ++i) {
      if (!std::equal(breaker.begin(), breaker.end(),
                      tokens_.begin() + static_cast<std::ptrdiff_t>(used_ - i - breaker.size()))) {
        continue;
      }
      nearest = i;
      break;
    }
  }
  return nearest;
}

std::span<const Repeats::Penalty> Repeats::find() {
  found_.clear();
  const std::size_t count = std::min(used_, window_);
  const auto allowed = static_cast<std::size_t>(std::max(allowed_, 0));
  const std::size_t limit = count == 0 ? 0 : since_breaker();
  if (count < 2 || limit < allowed) return found_;
  // The Z algorithm on the text backwards: common_[i] tokens before the one at distance i, and it, are as at the end.
  const auto back = [&](std::size_t i) { return tokens_[used_ - 1 - i]; };
  std::size_t left = 0;
  std::size_t right = 0;  // [left, right) is known to be as the beginning
  for (std::size_t i = 1; i < count; ++i) {
    std::size_t length = i < right ? std::min<std::size_t>(right - i, common_[i - left]) : 0;
    while (i + length < count && back(length) == back(i + length)) ++length;
    if (i + length > right) {
      left = i;
      right = i + length;
    }
    common_[i] = static_cast<std::uint32_t>(length);
    const std::size_t repeated = std::min(length, limit);
    if (repeated < allowed || repeated == 0) continue;
    const auto token = static_cast<std::size_t>(back(i - 1));
    if (breaks_[token] != 0) continue;
    if (longest_[token] == 0) found_.push_back({back(i - 1), 0.0F});
    longest_[token] = std::max(longest_[token], static_cast<std::uint32_t>(repeated));
  }
  for (Penalty& penalty : found_) {
    std::uint32_t& longest = longest_[static_cast<std::size_t>(penalty.token)];
    double value = multiplier_;
    // By multiplying, which rounds the same everywhere.
    for (std::size_t i = allowed; i < longest && value < kLargestPenalty; ++i) value *= base_;
    penalty.penalty = static_cast<float>(std::min(value, kLargestPenalty));
    longest = 0;
  }
  return found_;
}

}  // namespace loadline::sample

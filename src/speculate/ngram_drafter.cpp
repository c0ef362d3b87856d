#include "speculate/ngram_drafter.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/setting.h"

namespace loadline::speculate {
namespace {

constexpr std::uint32_t kMostDraft = 256;
constexpr std::uint32_t kMostNgram = 64;

void check_range(const char* what, std::uint32_t value, std::uint32_t least, std::uint32_t most, Setting setting) {
  if (value >= least && value <= most) return;
  throw bad_input(fmt::format("{}: {} is out of range; it can be {} to {}", what, value, least, most), "", setting);
}

}  // namespace

void validate(const NgramOptions& options) {
  check_range("the longest guess", options.draft_max, 1, kMostDraft, Setting::DraftMax);
  check_range("the shortest guess", options.draft_min, 0, options.draft_max, Setting::DraftMin);
  check_range("the longest n-gram", options.ngram_max, 1, kMostNgram, Setting::NgramMax);
  check_range("the shortest n-gram", options.ngram_min, 1, options.ngram_max, Setting::NgramMin);
}

NgramDrafter::NgramDrafter(const NgramOptions& options, std::size_t most_tokens)
    : options_((validate(options), options)), limit_(options.draft_max) {
  text_.reserve(most_tokens);
  draft_.reserve(options.draft_max);
}

void NgramDrafter::append(std::span<const Token> tokens) noexcept {
  const std::size_t room = text_.capacity() - text_.size();
  text_.insert(text_.end(), tokens.begin(),
               tokens.begin() + static_cast<std::ptrdiff_t>(std::min(room, tokens.size())));
}

// The place after the latest earlier occurrence of the longest n-gram that ends the text; the text's size where there
// is none.
std::size_t NgramDrafter::find() const {
  const std::size_t size = text_.size();
  std::size_t best = size;
  std::size_t longest = 0;
  for (std::size_t end = size - 1; end > 0 && longest < options_.ngram_max; --end) {
    std::size_t same = 0;
    while (same < options_.ngram_max && same < end && text_[end - 1 - same] == text_[size - 1 - same]) ++same;
    if (same <= longest) continue;
    longest = same;
    best = end;
  }
  return longest >= options_.ngram_min ? best : size;
}

std::span<const Token> NgramDrafter::draft(std::size_t most) noexcept {
  draft_.clear();
  most = std::min(most, limit_);
  if (text_.size() < 2 || text_.size() == text_.capacity() || most == 0) return draft_;
  const std::size_t from = find();
  if (from == text_.size()) return draft_;
  for (std::size_t i = from; draft_.size() < most; ++i) {
    draft_.push_back(i < text_.size() ? text_[i] : draft_[i - text_.size()]);
  }
  if (draft_.size() < options_.draft_min) draft_.clear();
  return draft_;
}

void NgramDrafter::judge(std::size_t right) noexcept {
  if (draft_.empty()) return;
  const std::size_t least = std::max<std::size_t>(options_.draft_min, 1);
  if (right == draft_.size()) limit_ = std::min<std::size_t>(limit_ * 2, options_.draft_max);
  if (right == 0) limit_ = std::max(limit_ / 2, least);
}

void NgramDrafter::reset() noexcept {
  text_.clear();
  draft_.clear();
  limit_ = options_.draft_max;
}

}  // namespace loadline::speculate

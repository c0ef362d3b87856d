// Texts for tests of what caches keep, and guesses at how they go on that are partly wrong.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/loaded.h"
#include "speculate/drafter.h"

namespace loadline::test {

// Of the vocabulary that the golden models have.
inline std::vector<std::int32_t> some_text(std::size_t count, std::uint32_t seed) {
  std::vector<std::int32_t> text(count);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::int32_t& token : text) {
    state = state * 1664525U + 1013904223U;
    token = static_cast<std::int32_t>((state >> 16U) % 512);
  }
  return text;
}

inline std::vector<std::int32_t> joined(std::vector<std::int32_t> text, const std::vector<std::int32_t>& more) {
  text.insert(text.end(), more.begin(), more.end());
  return text;
}

// Guesses what is known to follow, but for every third token.
class Guesses final : public speculate::Drafter {
 public:
  explicit Guesses(std::vector<std::int32_t> text) : text_(std::move(text)) {}
  void append(std::span<const std::int32_t> tokens) noexcept override { seen_ += tokens.size(); }
  std::span<const std::int32_t> draft(std::size_t most) noexcept override {
    draft_.assign(text_.begin() + static_cast<std::ptrdiff_t>(std::min(seen_, text_.size())), text_.end());
    draft_.resize(std::min(draft_.size(), most));
    for (std::size_t i = 2; i < draft_.size(); i += 3) draft_[i] = (draft_[i] + 1) % 512;
    return draft_;
  }
  void judge(std::size_t right) noexcept override { judged += right; }
  void reset() noexcept override { seen_ = 0; }
  std::size_t judged = 0;

 private:
  std::size_t seen_ = 0;
  std::vector<std::int32_t> text_, draft_;
};

// The text after the prompt, which may begin with what is in the cache.
inline Generated go_on(engine::Engine& engine, const std::vector<std::int32_t>& prompt, std::int64_t most) {
  Wanted wanted;
  wanted.most = most;
  Listener listener(wanted);
  exec::SessionOptions options;
  options.prompt = prompt;
  options.most_tokens = most;
  if (!engine.scheduler().join(options, listener)) throw std::logic_error("no place for a session");
  engine.run(kNeverStop);
  if (listener.result.error) std::rethrow_exception(listener.result.error);
  return {std::move(listener.tokens), listener.result};
}

}  // namespace loadline::test

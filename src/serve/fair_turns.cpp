#include "serve/fair_turns.h"

#include <algorithm>
#include <tuple>

namespace loadline::serve {

std::size_t FairTurns::choose(std::span<const std::string_view> waiting,
                              const std::function<std::size_t(std::string_view)>& running) const {
  std::size_t best = 0;
  std::tuple<std::size_t, std::uint64_t> least;
  std::vector<std::string_view> seen;
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    if (std::ranges::find(seen, waiting[i]) != seen.end()) continue;
    const std::tuple now(running(waiting[i]), last_turn(waiting[i]));
    if (seen.empty() || now < least) {
      best = i;
      least = now;
    }
    seen.push_back(waiting[i]);
  }
  return best;
}

void FairTurns::took(std::string_view key) {
  const auto found = std::ranges::find(turns_, key, [](const auto& one) -> std::string_view { return one.first; });
  if (found != turns_.end()) {
    found->second = ++now_;
    return;
  }
  if (turns_.size() == kMostKeys) {
    turns_.erase(std::ranges::min_element(turns_, {}, [](const auto& one) { return one.second; }));
  }
  turns_.emplace_back(key, ++now_);
}

std::uint64_t FairTurns::last_turn(std::string_view key) const {
  const auto found = std::ranges::find(turns_, key, [](const auto& one) -> std::string_view { return one.first; });
  return found == turns_.end() ? 0 : found->second;
}

}  // namespace loadline::serve

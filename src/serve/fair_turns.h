// FairTurns: whose turn it is among those that wait for a place, by who asked (a key). It knows nothing of what they
// wait for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loadline::serve {

class FairTurns {
 public:
  // `waiting`: keys in the order in which they came, at least one. Of the keys with the fewest running, the one whose
  // turn is longest ago, and of its the one that came first: its index.
  [[nodiscard]] std::size_t choose(std::span<const std::string_view> waiting,
                                   const std::function<std::size_t(std::string_view)>& running) const;
  // It was this key's turn.
  void took(std::string_view key);

 private:
  [[nodiscard]] std::uint64_t last_turn(std::string_view key) const;

  static constexpr std::size_t kMostKeys = 1024;  // those whose turn is longest ago are forgotten
  std::vector<std::pair<std::string, std::uint64_t>> turns_;
  std::uint64_t now_ = 0;
};

}  // namespace loadline::serve

// How much two texts have in common from their first token on: what sessions can share.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace loadline::exec {

inline std::size_t same_beginning(std::span<const std::int32_t> one, std::span<const std::int32_t> other) {
  return static_cast<std::size_t>(std::ranges::mismatch(one, other).in1 - one.begin());
}

}  // namespace loadline::exec

// A machine that is not this one, described in a few words.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hardware/profile.h"

namespace loadline::hardware {

// `base` with its graphics cards replaced by these (find_card) where any are named, and its RAM by `ram` where that is
// given. The processor and the bandwidths of its RAM and disk stay those of `base`.
// Throws Error(BadInput) for an unknown card.
Profile what_if(Profile base, const std::vector<std::string>& cards, std::optional<Bytes> ram);

}  // namespace loadline::hardware

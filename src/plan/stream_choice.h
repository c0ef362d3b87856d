// Which tensors stay in RAM and which are read from disk for every pass, where RAM does not hold them all.
#pragma once

#include <optional>

#include "plan/placement.h"

namespace loadline::plan {

// `placement` with the fewest bytes streamed that let RAM hold the rest, its ring and its buffers; the streamed bytes
// are spread evenly over the passes, so that reading never waits long for computing. nullopt where even that does not
// fit.
std::optional<Placement> choose_stream(const PlacementTask& task, Placement placement);

}  // namespace loadline::plan

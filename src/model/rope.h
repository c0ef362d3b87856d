// Rotary position embedding as numbers: the angle per pair, with every scaling rule applied.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"

namespace loadline::model {

// Radians per position of each of the dimensions / 2 pairs. `factors` (rope_freqs.weight) divides the frequencies where
// it is not empty; it then has dimensions / 2 entries.
std::vector<float> rope_frequencies(const RopeConfig& rope, std::span<const float> factors);

// cosines[i] and sines[i] of position * frequencies[i], times the magnitude of the scaling.
void rope_table(const RopeConfig& rope, std::span<const float> frequencies, std::uint32_t position, float* cosines,
                float* sines);

}  // namespace loadline::model

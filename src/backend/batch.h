// One pass through the model, as every backend sees it: tokens, where they belong, and which rows want logits.
#pragma once

#include <cstdint>
#include <span>

namespace loadline::backend {

// Consecutive tokens of a batch that belong to one sequence at consecutive positions. Cell i of a sequence holds
// position i and lies in page pages[i / kKvPageCells]. A token at position p sees cells 0 .. p.
struct TokenRun {
  std::uint32_t first_token;  // in the batch
  std::uint32_t count;
  std::uint32_t first_position;
  const std::uint32_t* pages;
};

// Sums of floats depend on their order, so the last bits of a token's results may depend on how many others there are
// in its batch. AsAlone: where the device can, they are what they would be in a batch of its own, if slower. (The CPU
// can.)
enum class Rounding : std::uint8_t { Fastest, AsAlone };

// Views of the executor's memory; valid during one pass. Checked by the executor: ids within the vocabulary, counts
// within the plan's shape, outputs ascending.
struct Batch {
  std::span<const std::int32_t> tokens;
  std::span<const TokenRun> runs;
  std::span<const std::uint32_t> outputs;  // token indices that want logits
  const float* cosines;                    // [tokens][rope.dimensions / 2]
  const float* sines;
  Rounding rounding = Rounding::Fastest;
};

}  // namespace loadline::backend

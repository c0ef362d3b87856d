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
  // Where layers keep a state instead of cells: it is read in one place and left in another, so that a pass which is
  // not finished changes nothing. (At position 0 it is zero, and not read.)
  std::uint32_t state = 0;
  std::uint32_t state_after = 0;
};

// What one of the program's rope tables turns by, for every token of the batch.
struct RopeAngles {
  const float* cosines;  // [tokens][dimensions / 2]
  const float* sines;
};

// Sums of floats depend on their order, so the last bits of a token's results may depend on how many others there are
// in its batch. AsAlone: where the device can, they are what they would be in a batch of its own, if slower. (The CPU
// can; without its matrix unit they always are.)
enum class Rounding : std::uint8_t { Fastest, AsAlone };

// Views of the executor's memory; valid during one pass. Checked by the executor: ids within the vocabulary, counts
// within the plan's shape, outputs ascending.
struct Batch {
  std::span<const std::int32_t> tokens;
  std::span<const TokenRun> runs;
  std::span<const std::uint32_t> outputs;  // token indices that want logits
  std::span<const RopeAngles> ropes;       // of all rope tables, as the program numbers them
  Rounding rounding = Rounding::Fastest;
  // The same runs with the pages of those caches that keep the last positions only (plan::window_pages): of these pages
  // the ones that no token of the run sees are not there. Empty where no cache is such.
  std::span<const TokenRun> window_runs = {};
};

}  // namespace loadline::backend

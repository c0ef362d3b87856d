// What it costs to go on by another plan, predicted before it is done: what has to be loaded, from where and how fast,
// what has to be computed again, and how long nobody gets a token. It changes no plan; the engine remembers what each
// device was seen to take.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "plan/plan.h"

namespace loadline::engine {

class Engine;
struct KeptWeights;

struct Interruption {
  Bytes weights;                  // to load
  Bytes from_disk;                // of them, not in the page cache
  Bytes kept;                     // that are in RAM already, and stay
  Bytes caches;                   // that stay with what they hold: all of them, or none
  std::uint64_t tokens = 0;       // to compute again
  std::uint64_t kept_tokens = 0;  // that sessions have in caches that stay
  double seconds = 0;
  // Between these it lies, as far as nobody has measured what it rests on; both `seconds` where all of it was.
  double least = 0, most = 0;
};

// Rests on what the last loading and the last passes of the engine took, on `machine`, and, where weights have to come
// from the disk, on a few reads that are timed now (storage/read_rate.h). Between passes, by the thread that makes
// them.
Interruption predict_interruption(Engine& engine, const plan::Plan& to, const hardware::Profile& machine);

// "1.20 GiB of weights read, 3.10 GiB kept, 730 tokens computed again; 2.31 s without tokens, 2.10 s predicted", or,
// where caches stay, "1.20 GiB of weights read, 3.10 GiB and 730 tokens kept; ..."
std::string words_of(const Interruption& predicted, double seconds);

// Of the weights that loading a plan reads, what is not in the page cache.
Bytes bytes_from_disk(const gguf::Model& model, const plan::Plan& plan, const KeptWeights& kept);

}  // namespace loadline::engine

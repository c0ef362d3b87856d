// Writes synthetic models: files of a known model's true size and structure with random weights, for measuring and
// planning without a download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "authoring/shapes.h"
#include "base/bytes.h"
#include "model/format_mix.h"

namespace loadline::authoring {

// Told now and then how much of the tensors' data has been written. What it throws ends the work, and no file is left.
using Progress = std::function<void(Bytes done, Bytes total)>;

struct SynthOptions {
  std::uint64_t seed = 0;
  bool header_only = false;  // the tensors' data are a hole in the file: right sizes, no room on the disk, all zeros
};

// Writes `shape` in `mix` to `path` as a stream; memory use is a few MiB and the vocabulary. Weight matrices have
// deviation 1 / sqrt(columns), the output matrix three times that, so that activations stay of the order of 1 and the
// next token is neither certain nor a coin toss. The bytes depend on shape, mix and seed alone. Throws as
// gguf::Writer does.
void synthesize(const Shape& shape, const model::FormatMix& mix, const SynthOptions& options,
                const std::filesystem::path& path, const Progress& progress);

}  // namespace loadline::authoring

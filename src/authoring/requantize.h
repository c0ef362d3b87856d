// Re-encodes a model's weights in another mix of formats, tensor by tensor: what `loadline quantize` does.
#pragma once

#include <filesystem>
#include <vector>

#include "authoring/synthesize.h"
#include "base/bytes.h"
#include "gguf/gguf.h"
#include "model/format_mix.h"

namespace loadline::authoring {

struct Requantized {
  Bytes before;  // all weights, as they were
  Bytes after;
  // Tensors whose rows do not fill the blocks of the format that the mix gives them: what they got instead.
  struct Replaced {
    quant::TensorType wanted, got;
    std::size_t tensors = 0;
  };
  std::vector<Replaced> replaced;
  bool was_quantised = false;  // a tensor that was re-encoded had been rounded to a block format before
};

// Writes `source` to `path` with the types of `mix`; metadata stay as they are but for general.file_type, and a split
// model becomes one file. Memory use is a few tens of MiB. `threads` >= 1.
// Throws as gguf::Writer does, and Error(BadInput) for weights that are not finite.
Requantized requantize(const gguf::Model& source, const model::FormatMix& mix, int threads,
                       const std::filesystem::path& path, const Progress& progress);

}  // namespace loadline::authoring

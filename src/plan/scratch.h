// What one device needs besides weights and cache for the groups it runs: intermediate values and workspaces, laid over
// each other by liveness.
#pragma once

#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/liveness.h"
#include "plan/plan.h"

namespace loadline::plan {

// Alignment of regions: a cache line on the CPU; on a GPU what every device's buffer offsets accept.
constexpr Bytes region_alignment(DeviceIndex device) { return Bytes(device == kCpu ? 64 : 256); }

// Which buffers a device needs, and where each lies in its scratch arena.
struct ScratchLayout {
  std::vector<Buffer> buffers;
  Bytes total;
  // Indices into `buffers`; -1 where the device needs none.
  std::vector<std::int32_t> values;  // per model::ValueId
  std::int32_t activations = -1;
  std::int32_t attention = -1;
  std::int32_t rope = -1;
  std::int32_t load_buffer = -1;
};

// What of a group a device runs: of an attention whose projections pass through it, all but cache_ops.
enum class Runs : std::uint8_t { Nothing, Projections, All };

// `runs[g]`: what the device runs of group g. `load_buffer` bytes (zero: none) overlap everything, since nothing else
// is alive while the model is loaded.
ScratchLayout scratch_layout(const gguf::Model& model, const model::Program& program, const Shape& shape,
                             const std::vector<Runs>& runs, DeviceIndex device, Bytes load_buffer);

// The buffer the weights are read into while loading, in parts that are read into at once: four for each thread, but no
// more than 32. Each holds 16 rows of every matrix with the alignment of a direct read around it, and at least 1 MiB;
// less where the largest tensor is smaller than that.
Bytes load_buffer_bytes(const gguf::Model& model, std::uint32_t threads);
constexpr std::uint32_t load_buffer_parts(std::uint32_t threads) { return 4 * (threads < 8 ? threads : 8); }

}  // namespace loadline::plan

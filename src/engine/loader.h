// Fills the plan's weight regions from the model's files: whole rows in large sequential reads, several threads, each
// laying out what it read on the way. It reads each byte once and holds nothing but its buffers.
#pragma once

#include <functional>
#include <vector>

#include "backend/device.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "plan/plan.h"

namespace loadline::engine {

// Called from the loading thread with the bytes done and the bytes in all.
using LoadProgress = std::function<void(Bytes done, Bytes total)>;

// What laying out weights on a tier took.
struct UploadFigures {
  Bytes bytes;
  double seconds = 0;  // of all threads together, without their waiting for reads
};

// Uploads every tensor the plan keeps resident to its device, but for regions that have their weights already
// (ascending). `buffers` is scratch memory for the reads, divided among the pool's threads. `uploads`: by tier, what
// was done. False if stopped. Throws Error for a read or an upload that failed.
bool load_weights(const gguf::Model& model, const plan::Plan& plan, std::span<const plan::RegionIndex> there,
                  const std::vector<backend::Device*>& devices, ThreadPool& pool, std::span<std::byte> buffers,
                  const LoadProgress& progress, const backend::StopFlag& stop, std::vector<UploadFigures>& uploads);

}  // namespace loadline::engine

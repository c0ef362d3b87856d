// What of a GPU outlives the plan that it was opened for: the GPU itself with its shaders, and what stays of its
// memory. It hands a device from one plan to the next, and moves what is to be elsewhere meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "backend/vulkan/commands.h"
#include "backend/vulkan/context.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/pipelines.h"
#include "plan/plan.h"

namespace loadline::vulkan {

struct OpenGpu {
  // Throws as Context does.
  explicit OpenGpu(const DeviceOptions& options) : context(options), pipelines(context), taken(context.taken()) {}

  Context context;
  Pipelines pipelines;
  std::optional<Bytes> taken;  // of its memory by the context, when it was opened
  std::string remark;          // VulkanDevice::remark
};

// Of which what memory is, by the numbers that a plan gives its arenas.
using HeldArenas = std::map<std::uint32_t, Arena>;

// `gpu` is null where there is none. Assigned to only while empty.
struct KeptGpu {
  void close() {
    before.clear();
    arenas.clear();
    gpu.reset();
  }
  [[nodiscard]] Bytes allocated() const;

  std::unique_ptr<OpenGpu> gpu;  // goes last
  HeldArenas before;             // of the plan before: what is still to be moved out of
  HeldArenas arenas;             // of the plan after
};

// An arena of a plan on the GPU that holds it. Throws Error(DeviceFailure) where the driver refuses.
Arena make_arena(Context& context, const plan::Plan& plan, std::uint32_t arena);

// Moves bytes within a GPU, and between it and the host, for which it holds a little system memory. Throws
// Error(DeviceFailure).
class Mover {
 public:
  explicit Mover(Context& context);

  void copy(const Place& from, const Place& to, Bytes size);
  void read(Place from, std::span<std::byte> target);
  void write(std::span<const std::byte> source, Place to);

 private:
  void move(const Place& from, const Place& to, Bytes size, bool to_host);
  // Where bytes are between it and the host.
  Place on_the_way();

  Context& context_;
  std::optional<Buffer> buffer_;
  CommandList list_;
  Timeline timeline_;  // goes first: it waits for what was submitted
};

}  // namespace loadline::vulkan

// What of a GPU outlives the plan that it was opened for: the GPU itself with its shaders, and what stays of its
// memory. It hands a device from one plan to the next, and moves what caches hold meanwhile.
#pragma once

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

// `gpu` is null where there is none; the arenas are without memory where they do not stay. Assigned to only while
// empty.
struct KeptGpu {
  void close() {
    weights = {};
    caches = {};
    gpu.reset();
  }

  std::unique_ptr<OpenGpu> gpu;  // goes last
  Arena weights, caches;
};

// An arena of a plan on the GPU that holds it. Throws Error(DeviceFailure) where the driver refuses.
Arena make_arena(Context& context, const plan::Plan& plan, std::uint32_t arena);

// Moves bytes within a GPU, and between it and the host. Holds a little system memory. Throws Error(DeviceFailure).
class Mover {
 public:
  explicit Mover(Context& context);

  void copy(const Place& from, const Place& to, Bytes size);
  void read(Place from, std::span<std::byte> target);
  void write(std::span<const std::byte> source, Place to);

 private:
  void move(const Place& from, const Place& to, Bytes size, bool to_host);
  [[nodiscard]] Place on_the_way() const { return {buffer_.handle(), 0, buffer_.address(), buffer_.data()}; }

  Buffer buffer_;
  CommandList list_;
  Timeline timeline_;  // goes first: it waits for what was submitted
};

}  // namespace loadline::vulkan

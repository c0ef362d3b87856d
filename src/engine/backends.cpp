#include "engine/backends.h"

#include "backend/cpu/lower.h"
#include "backend/vulkan/lower.h"

namespace loadline::engine {

const plan::Backends& backends() {
  static const cpu::CpuLowering kCpuBackend;
  static const vulkan::VulkanLowering kGpuBackend;
  static const plan::Backends kBackends({&kCpuBackend, &kGpuBackend});
  return kBackends;
}

}  // namespace loadline::engine

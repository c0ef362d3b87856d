// Engines for tests with a model's groups on devices as the test says: the CPU and two GPUs, both of them the test GPU
// (backend/vulkan/gpu.h), under the validation layer, whose messages are errors.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "backend/vulkan/gpu.h"
#include "engine/engine.h"
#include "engine/loaded.h"
#include "hardware/profile.h"

namespace loadline::test {

struct Places {
  std::function<plan::DeviceIndex(std::size_t group)> device_of;
  bool kv_on_cpu = false;
  // Groups of the CPU whose weights go through the first GPU in passes of 16 tokens and more.
  std::vector<std::uint32_t> through = {};
};

struct Settings {
  std::uint32_t batch = 512;
  quant::TensorType kv = quant::TensorType::F32;
  std::uint32_t context = 0;  // 0: as many as there are tokens
  std::uint32_t sequences = 1;
};

hardware::Profile machine_with_gpus(const std::filesystem::path& file, std::size_t count);

plan::Plan plan_divided(const gguf::Model& model, const model::Program& program, const std::filesystem::path& file,
                        std::size_t tokens, const Places& places, const Settings& settings);

std::unique_ptr<engine::Engine> load_divided(const std::filesystem::path& file, std::size_t tokens,
                                             const Places& places, const Settings& settings,
                                             const engine::Engine::Options& hooks = not_alone());

std::string identifier(std::string name);

// Skips, visibly, where there is no GPU for tests.
class GpuLogits : public testing::Test {
 protected:
  void SetUp() override {
    if (!vulkan::test::no_gpu().empty()) GTEST_SKIP() << vulkan::test::no_gpu();
    ::setenv("LOADLINE_VULKAN_VALIDATION", "1", 1);
  }
};

}  // namespace loadline::test

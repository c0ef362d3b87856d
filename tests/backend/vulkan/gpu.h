// A GPU for tests: llvmpipe, or what LOADLINE_TEST_GPU names, watched by the validation layer. Tests skip, visibly,
// where there is none.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/vulkan/commands.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/operations.h"
#include "backend/vulkan/pipelines.h"
#include "quant/packed_codebooks.h"

namespace loadline::vulkan::test {

// What the validation layer has said, in any context made with `options_for_tests`.
class Messages {
 public:
  void add(const std::string& message);
  std::vector<std::string> take();

 private:
  std::mutex lock_;
  std::vector<std::string> all_;
};

// Why there is no GPU for tests; empty where there is one.
const std::string& no_gpu();
// The test GPU with the validation layer on. Messages go to `messages`, which must outlive the context.
DeviceOptions options_for_tests(Messages& messages, std::optional<MatrixShape> units = std::nullopt);

// Everything it takes to run single dispatches. Buffers are in host memory, so that tests can look into them.
class Gpu {
 public:
  // `units`: taken for a device with matrix units of this shape.
  explicit Gpu(std::optional<MatrixShape> units = std::nullopt)
      : context(options_for_tests(messages, units)),
        pipelines(context),
        codebooks(buffer(quant::packed_codebooks())),
        operations(context, pipelines, codebooks.address()),
        timeline(context) {}
  // With messages of its owner's.
  explicit Gpu(const DeviceOptions& options)
      : context(options),
        pipelines(context),
        codebooks(buffer(quant::packed_codebooks())),
        operations(context, pipelines, codebooks.address()),
        timeline(context) {}

  // At least one byte, rounded up; filled with `fill`.
  Buffer buffer(std::size_t bytes, int fill = 0);
  template <class T>
  Buffer buffer(const std::vector<T>& content) {
    return filled(content.data(), content.size() * sizeof(T));
  }
  // Records, submits and waits.
  void run(const std::function<void(CommandList&)>& record);

  Messages messages;
  Context context;
  Pipelines pipelines;
  Buffer codebooks;
  Operations operations;
  Timeline timeline;

 private:
  Buffer filled(const void* content, std::size_t bytes);
};

template <class T>
T* as(const Buffer& buffer) {
  return reinterpret_cast<T*>(buffer.data());
}

// A fixture with one GPU for all its tests. Each test also fails with every message of the validation layer.
class GpuTest : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;

  static Gpu& gpu() { return *shared; }

 private:
  static Gpu* shared;
};

}  // namespace loadline::vulkan::test

// A product on the GPU, as the tests of products ask for it.
#pragma once

#include <vector>

#include "backend/cpu/kernel_cases.h"
#include "backend/vulkan/gpu.h"

namespace loadline::vulkan::test {

using cpu::test::Random;
using cpu::test::Style;
using cpu::test::TestMatrix;
using quant::TensorType;

inline constexpr float kUntouched = -12345.0F;

double silu(double x);

// What the GPU makes of the product, [tokens][stride].
struct Result {
  std::vector<float> values;
  std::uint32_t stride;
  [[nodiscard]] float at(std::uint32_t token, std::uint32_t row) const { return values[token * stride + row]; }
};

struct Request {
  const TestMatrix& weights;
  const TestMatrix* second = nullptr;
  const std::vector<float>& x;
  std::uint32_t tokens;
  std::uint32_t most;  // the class of passes that is recorded
  std::uint32_t flags = 0;
  std::vector<float> norm = {};
  std::vector<float> bias = {};
  float prior = kUntouched;
  std::uint32_t first_row = 0;
  std::uint32_t first_token = 0;
};

Result run(Gpu& gpu, const Request& request);

// Everything past the rows and past the tokens must be as it was.
void expect_untouched(const Result& result, const Request& request);

}  // namespace loadline::vulkan::test

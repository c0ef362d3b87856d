// A GPU for single dispatches, with buffers that can be looked into, and made-up matrices to multiply.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <vector>

#include "backend/vulkan/commands.h"
#include "backend/vulkan/memory.h"
#include "backend/vulkan/operations.h"
#include "backend/vulkan/pipelines.h"
#include "quant/format.h"

namespace loadline::selftest {

using Random = std::mt19937;
using Floats = std::vector<float>;

Floats random_floats(std::size_t count, Random& random);

class Workbench {
 public:
  explicit Workbench(const vulkan::DeviceOptions& options);

  // In host memory; at least one byte, rounded up; filled with `fill`.
  vulkan::Buffer buffer(std::size_t bytes, int fill = 0);
  template <class T>
  vulkan::Buffer buffer(const std::vector<T>& content) {
    vulkan::Buffer target = buffer(content.size() * sizeof(T));
    std::memcpy(target.data(), content.data(), content.size() * sizeof(T));
    return target;
  }
  // The counts at the head of a pass's table.
  vulkan::Buffer table(std::uint32_t tokens, std::uint32_t outputs = 0, std::uint32_t tiles = 0) {
    return buffer(std::vector<std::uint32_t>{tokens, outputs, tiles});
  }
  // Records, submits and waits. How long the device took, in seconds.
  double run(const std::function<void(vulkan::CommandList&)>& record);

  vulkan::Context context;
  vulkan::Pipelines pipelines;
  vulkan::Buffer codebooks;
  vulkan::Operations operations;
  vulkan::Timeline timeline;
};

inline std::span<const float> floats_of(const vulkan::Buffer& buffer, std::size_t count) {
  return {reinterpret_cast<const float*>(buffer.data()), count};
}

// Random blocks of a format, and what they stand for.
struct Matrix {
  Matrix(quant::TensorType format, std::uint32_t row_count, std::uint32_t column_count, std::uint64_t seed);

  quant::TensorType type;
  std::uint32_t rows, columns;
  std::uint32_t row_bytes;
  std::vector<std::byte> file;
  Floats values;  // [rows][columns]
};

// A sum of products, and how far from it another order of adding may come.
struct Wanted {
  double value = 0;
  double tolerance = 0;
};
Wanted product_of(std::span<const float> row, std::span<const float> x);

// The largest differences of a check, in parts of what is allowed.
class Comparison {
 public:
  // Throws Mismatch, naming `what` and the place, where it is too far; what is no number is.
  void expect(double seen, double wanted, double tolerance, std::string_view what, std::uint32_t token,
              std::uint32_t row);
  // How many values were compared, and how far they are at most.
  [[nodiscard]] std::string text() const;

 private:
  double worst_ = 0;
  std::size_t values_ = 0;
};

}  // namespace loadline::selftest

// Random matrices, activations and caches for the kernel tests, and what the kernels should make of them, in double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/kernels.h"

namespace loadline::cpu::test {

using quant::ActivationKind;
using Random = std::mt19937;

// Memory as the arenas give it: 64-byte aligned, of exactly the size asked for, so that sanitizers see a step beyond.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes, int fill = 0xCD);
  [[nodiscard]] std::byte* data() const { return data_.get(); }
  template <class T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte[], Free> data_;
};

// What the values look like. Weights and activations have the same list.
// Constant and Lowest have all bits of the weights set, and none.
enum class Style { Normal, Extreme, Zero, Denormal, Constant, Lowest };
std::string_view name_of(Style style);

// A matrix in the file's layout (random bits, so that every code of the format occurs), repacked, and decoded.
struct TestMatrix {
  TestMatrix(TensorType type, std::uint32_t rows, std::uint32_t columns, Style style, Random& random);
  [[nodiscard]] Matrix matrix() const { return {type, packed.data(), rows, columns}; }

  TensorType type;
  std::uint32_t rows, columns;
  std::vector<std::byte> file;
  std::vector<float> values;  // [rows][columns]
  Buffer packed;
};

std::vector<float> random_activations(std::uint32_t tokens, std::uint32_t columns, Style style, Random& random);

// `x` prepared by the table for weights of `type`.
Buffer prepared(const KernelTable& table, TensorType type, const std::vector<float>& x, std::uint32_t tokens,
                std::uint32_t columns);
// What the prepared bytes stand for, [tokens][columns].
std::vector<float> restored(ActivationKind kind, const Buffer& activations, std::uint32_t tokens,
                            std::uint32_t columns);

// A product and how far a kernel's result may be from it: rounding of float32 sums, in proportion to what was summed.
struct Expected {
  double value;
  double tolerance;
};
Expected expected_product(const TestMatrix& weights, const std::vector<float>& x, std::uint32_t row,
                          std::uint32_t token);

// Name of a table for parametrised tests, and the tables themselves.
std::vector<const KernelTable*> tables();
std::vector<TensorType> weight_types();

}  // namespace loadline::cpu::test

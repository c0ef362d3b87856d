// The tensors of a golden GGUF file, by a reader that believes the file: this module's tests need no other module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "quant/format.h"

namespace loadline::test {

struct GoldenTensor {
  quant::TensorType type;
  std::uint64_t columns = 0;
  std::uint64_t rows = 0;
  std::vector<std::byte> bytes;

  [[nodiscard]] std::vector<float> decoded() const;
};

std::map<std::string, GoldenTensor> read_golden(const std::filesystem::path& path);

}  // namespace loadline::test

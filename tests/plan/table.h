// The cases that tests of plans go over: models by machines by what is asked of them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "plan/models.h"
#include "plan/options.h"

namespace loadline::test {

struct NamedModel {
  std::string name;
  gguf::Model model;
  model::Program program;
};
NamedModel named(const std::string& name, const ModelShape& shape, const TypeOf& types);
const std::vector<NamedModel>& models();

struct Machine {
  Bytes ram;
  std::vector<std::string> cards;
};
const std::vector<Machine>& machines();

struct Cell {
  std::uint32_t context;
  std::uint32_t sequences;
  std::uint32_t batch;
  quant::TensorType k_type, v_type;
};
inline constexpr std::array kCells = {
    Cell{512, 1, 512, quant::TensorType::F16, quant::TensorType::F16},
    Cell{4096, 1, 512, quant::TensorType::F16, quant::TensorType::Q8_0},
    Cell{8192, 4, 64, quant::TensorType::Q8_0, quant::TensorType::Q8_0},
    Cell{16384, 1, 2048, quant::TensorType::F32, quant::TensorType::F16},
};
plan::Options options_of(const Cell& cell);

}  // namespace loadline::test

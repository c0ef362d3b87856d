#include "plan/table.h"

namespace loadline::test {

using quant::TensorType;

NamedModel named(const std::string& name, const ModelShape& shape, const TypeOf& types) {
  gguf::Model model = make_model(shape, types);
  model::Program program = model::build_program(model);
  return {name, std::move(model), std::move(program)};
}

const std::vector<NamedModel>& models() {
  static const std::vector<NamedModel> kModels = [] {
    std::vector<NamedModel> all;
    all.push_back(named("tiny F32", tiny(), all_of(TensorType::F32)));
    all.push_back(named("1B Q4_K_M", llama_3_2_1b(), q4_k_m(16)));
    all.push_back(named("8B Q4_K_M", llama_3_8b(), q4_k_m(32)));
    all.push_back(named("8B F16", llama_3_8b(), all_of(TensorType::F16)));
    all.push_back(named("70B Q4_K_M", llama_2_70b(), q4_k_m(80)));
    return all;
  }();
  return kModels;
}

const std::vector<Machine>& machines() {
  static const std::vector<Machine> kMachines = {
      {8 * kGiB, {}},
      {64 * kGiB, {}},
      {16 * kGiB, {"RTX 3050 Ti Mobile"}},
      {32 * kGiB, {"RTX 3060"}},
      {64 * kGiB, {"RTX 4090"}},
      {32 * kGiB, {"RTX 3060", "RTX 3050 Ti Mobile"}},
      {64 * kGiB, {"RTX 3090", "RTX 3090"}},
  };
  return kMachines;
}

plan::Options options_of(const Cell& cell) {
  plan::Options options;
  options.context = cell.context;
  options.sequences = cell.sequences;
  options.batch = cell.batch;
  options.k_type = cell.k_type;
  options.v_type = cell.v_type;
  return options;
}

}  // namespace loadline::test

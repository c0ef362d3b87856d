// What a user may ask of the planner, as plain data. How it is read from a command line is cli/plan_options.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "plan/plan.h"

namespace loadline::plan {

// --n-gpu-layers: `Auto` places group by group, `All` wants every layer and the output on GPUs, `Count` the last N
// layers, the output counting as the one after the last.
struct GpuLayers {
  enum class Kind : std::uint8_t { Auto, All, Count };
  Kind kind = Kind::Auto;
  std::uint32_t count = 0;
};

// --override-tensor PATTERN=TIER: groups that own a tensor whose name the pattern (ECMAScript, found anywhere) matches
// run on that device. Later ones win.
struct TensorOverride {
  std::string pattern;
  DeviceIndex device = kCpu;
};

struct Options {
  std::optional<Bytes> ram_budget;             // --ram; else what is available less the headroom
  std::map<std::uint32_t, Bytes> gpu_budgets;  // --vram, per GPU of the profile (0 is the first)
  std::optional<Bytes> gpu_budget;             // --vram without an index: each GPU
  std::optional<Bytes> headroom;               // --headroom, on every tier whose budget is not named
  std::optional<bool> disk;                    // --disk; else only where RAM does not suffice
  GpuLayers gpu_layers;
  std::vector<TensorOverride> overrides;
  std::uint32_t cpu_experts = 0;  // --n-cpu-moe: what has the experts of the first so many layers is on the CPU
  bool kv_offload = true;
  bool prompt_offload = true;  // prompts may multiply with weights in RAM on a GPU (PromptStream)

  std::optional<std::uint32_t> context;  // -c, all sequences together; else min(4096, what the model was trained for)
  bool trained_context = false;          // -c 0: what the model was trained for
  bool largest_context = false;          // -c max
  std::uint32_t sequences = 1;
  std::uint32_t batch = 512;
  bool batch_named = false;   // by the user; else a plan that streams may take a larger one
  std::uint32_t outputs = 0;  // most rows of logits of one pass; 0: one per sequence
  std::uint32_t threads = 0;  // 0: one per core
  Bytes of_requests;          // what the program holds of RAM besides, for those whom it serves
  bool matrix_unit = true;    // whether the CPU's may be used if it has one
  quant::TensorType k_type = quant::TensorType::F16;
  quant::TensorType v_type = quant::TensorType::F16;
};

}  // namespace loadline::plan

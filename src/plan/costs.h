// What each group costs in time on each device, and what a change of device costs: the numbers that placement minimises
// and that predictions are the sums of.
#pragma once

#include <cstdint>
#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"
#include "plan/rates.h"

namespace loadline::plan {

// Seconds, by what takes them.
struct Seconds {
  double weights = 0;          // reading them, or multiplying with them where that takes longer
  double cache = 0;            // reading the KV cache, or attention's arithmetic
  double operations = 0;       // the fixed costs
  bool by_arithmetic = false;  // `weights` is bound by multiplying

  [[nodiscard]] double total() const { return weights + cache + operations; }
};

// What passes through a GPU at a time: long enough that handing a slice over costs nothing beside its way over the bus
// (over a millisecond at 12 GB/s), and enough rows to fill a large card; still little of a small card's memory. Where
// there is less room the planner takes shorter ones.
inline constexpr Bytes kUsualSlice = 16 * kMiB;

class CostModel {
 public:
  // `depth`: cells that attention looks at. Generation is predicted with half the context of a sequence filled.
  CostModel(const gguf::Model& model, const model::Program& program, const Shape& shape, const Rates& rates);

  // One pass of `tokens` tokens of one sequence, of which `outputs` want logits, the last at position depth - 1.
  [[nodiscard]] Seconds group(std::size_t group, DeviceIndex device, bool kv_on_cpu, std::uint64_t tokens,
                              std::uint64_t outputs, std::uint64_t depth) const;
  // Handing the hidden state of `tokens` tokens from one device to another.
  [[nodiscard]] double change(DeviceIndex from, DeviceIndex to, std::uint64_t tokens) const;
  // The same of q, k and v from a GPU to the CPU, and of what attention makes of them back.
  [[nodiscard]] double visit_cache(DeviceIndex gpu, std::uint64_t tokens) const;
  // What follows the last group: logits to the CPU where it is not there, and drawing a token.
  [[nodiscard]] double finish(DeviceIndex output_device, std::uint64_t outputs) const;

  // Bringing the group's weights from RAM into a GPU's memory, in slices of about so much.
  [[nodiscard]] double transfer(std::size_t group, DeviceIndex device, Bytes slice) const;

  [[nodiscard]] std::uint64_t generation_depth() const;
  [[nodiscard]] const Rates& rates() const { return rates_; }

 private:
  struct Matrix {
    double bytes;
    double elements;
    quant::TensorType type;
    bool after_select;
    bool gathered;     // Embed: only rows are read
    double share = 1;  // of it, what one token multiplies with
  };
  struct Group {
    std::vector<Matrix> matrices;
    double operations = 0;
    bool attends = false;
    double cell_bytes = 0;     // of its cache
    double attention_ops = 0;  // of one token and one cell
    std::uint32_t window = 0;  // cells that a token sees at most; 0: all
  };
  static void note_attention(const model::ops::Attention& op, const Shape& shape, Group& costs);

  const Rates rates_;
  std::vector<Group> groups_;
  double hidden_bytes_ = 0;     // of one token
  double attention_bytes_ = 0;  // of one token: what goes into an attention and comes out of it
  double vocabulary_ = 0;
  std::uint64_t generation_depth_ = 1;
};

}  // namespace loadline::plan

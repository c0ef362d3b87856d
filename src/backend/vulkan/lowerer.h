// The inside of lower.h: one part of a program while it is lowered, and what waits for the step that it goes with.
#pragma once

#include <optional>
#include <vector>

#include "backend/operands.h"
#include "backend/vulkan/recipe.h"
#include "backend/vulkan/staging.h"
#include "plan/lowering.h"

namespace loadline::vulkan {

using backend::Operands;
using model::TensorIndex;
using model::ValueId;
namespace ops = model::ops;

// What there is to note of an operation is noted at its own place in the count of steps (plan::Needs), fused or not; a
// value that a fused step reads later is noted there, too.
class Lowerer {
 public:
  Lowerer(const plan::LoweringTask& task, const plan::Part& part);
  Recipe run();

 private:
  void lower(Operands& op);

  // lower.cpp: products and attention, and what goes with them.
  void embed(Operands& op);
  void select(Operands& op);
  void norm(Operands& op);
  void rope(Operands& op);
  void attention(Operands& op);
  void linear(Operands& op);
  void gated(Operands& op);

  // lower_rows.cpp: value by value, and the experts.
  void map(Operands& op);
  recipe::Map map_of(Operands& op);
  void split(Operands& op);
  void route(Operands& op);
  void experts(Operands& op);
  void head_linear(Operands& op);
  void expert_part(Operands& op, const ops::ExpertPart& part, std::uint32_t experts);

  // lower_recurrent.cpp: what keeps a state for each sequence.
  void convolution(Operands& op);
  void delta_net(Operands& op);
  void state_space(Operands& op);
  void state(const Operands& op, model::CacheIndex cache, std::uint64_t floats);

  // Heads that norms and rope were asked for, in place, and that an attention may take along.
  struct Head {
    ValueId value;
    const ops::Norm* norm = nullptr;
    const ops::Rope* rope = nullptr;
  };
  // What waits becomes steps of its own.
  void flush_norm();
  void flush_heads();
  void flush();
  Head* head_of(ValueId value);
  bool takes(const ops::Attention& attention, const Head& q, const Head& k) const;
  recipe::FusedNorm take_norm(ValueId x);
  [[nodiscard]] bool read_later(ValueId value) const;

  ops::LinearPart part_of(Operands& op, const ops::LinearPart& part);
  void use(ValueId value);
  void own(Own buffer, Bytes size, std::uint32_t last);
  TensorIndex slab(Operands& op, TensorIndex tensor, bool matrix);
  TensorIndex vector(Operands& op, TensorIndex tensor);  // a slab of float32, if there is one
  void cache(const Operands& op, const ops::Attention& attributes);
  void add(recipe::Map map);
  template <class What>
  void step(What what) {
    recipe_.steps.push_back({op_, after_select_, std::move(what)});
  }
  void finish();

  [[nodiscard]] std::uint32_t width(ValueId value) const { return task_.program.values[value].width; }
  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return task_.model.tensors[static_cast<std::size_t>(tensor)];
  }

  const plan::LoweringTask& task_;
  const plan::Part& part_;
  const model::Group& group_;
  const plan::Slot values_;
  Recipe recipe_;
  std::vector<Operands> operands_;
  // The operation that is lowered.
  std::uint32_t op_ = 0;  // of the group
  bool after_select_ = false;
  // What waits for the step that it goes with.
  recipe::FusedNorm norm_;
  bool norm_after_select_ = false;
  std::vector<Head> heads_;
};

}  // namespace loadline::vulkan

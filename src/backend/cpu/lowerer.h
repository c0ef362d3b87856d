// The inside of lower.h: one part of a program while it is lowered, and what waits for the step that it goes with.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "backend/cpu/recipe.h"
#include "backend/cpu/vector_kernels.h"
#include "backend/operands.h"
#include "plan/lowering.h"

namespace loadline::cpu {

using backend::Operands;
using model::TensorIndex;
using model::ValueId;
namespace ops = model::ops;

// What the vector kernels call it.
Activation function_of(model::Activation activation);

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
  void scaled(Operands& op, const recipe::Prepare& prepared, std::uint32_t prepared_at, std::size_t i);
  void scale_product(const Operands& op, const ops::LinearPart& part, plan::Slot x, std::uint64_t columns,
                     const std::function<void()>& note);
  void gated(Operands& op);

  // lower_rows.cpp: value by value.
  void split(Operands& op);
  void activate(Operands& op);
  void add(Operands& op);
  void multiply(Operands& op);
  void scale(Operands& op);
  void clamp(Operands& op);
  void soft_cap(Operands& op);
  void map(const Operands& op, recipe::Map map);

  // lower_experts.cpp
  void route(Operands& op);
  void experts(Operands& op);
  void head_linear(Operands& op);
  recipe::ExpertPart expert_part(Operands& op, const ops::ExpertPart& part, std::uint32_t experts);

  // lower_recurrent.cpp
  void convolution(Operands& op);
  void delta_net(Operands& op);
  void state_space(Operands& op);
  void state(const Operands& op, model::CacheIndex cache, std::uint64_t floats);

  // --- what they share

  // Heads that norms and rope were asked for, in place, and that an attention may take along.
  struct Head {
    ValueId value;
    const ops::Norm* norm = nullptr;
    const ops::Rope* rope = nullptr;
    Operands* op = nullptr;  // the last that asked for it
  };
  // What waits becomes steps of its own.
  void flush_norm();
  void flush_heads();
  void flush_merge();
  void flush();
  void norm_step(const Operands& op, const ops::Norm& norm, ValueId x, ValueId out);
  void rope_step(const ops::Rope& rope, ValueId x);
  bool takes_norms(const ops::Attention& attention, const Head& q, const Head& k) const;
  bool takes_rope(const ops::Attention& attention, const Head& q, const Head& k, bool stores) const;
  Head* head_of(ValueId value);

  recipe::Prepare prepare(Operands& op, std::span<const ops::LinearPart> parts);
  void lay_out_activations(std::span<const ops::LinearPart> parts, std::uint64_t rows, recipe::Prepare& prepare);
  recipe::Product product(Operands& op, const recipe::Prepare& prepared, const ops::LinearPart& part, plan::Slot out);
  void require_tiles(const Operands& op, const gguf::TensorInfo& tensor, std::uint64_t first, std::uint64_t rows,
                     std::uint64_t distance) const;
  void finish();

  [[nodiscard]] std::uint32_t step() const { return static_cast<std::uint32_t>(recipe_.steps.size()); }
  void end_step(recipe::Step step) { recipe_.steps.push_back(std::move(step)); }
  void use(ValueId value, std::uint64_t rows);
  void own(Own buffer, Bytes size, std::uint32_t from);
  void activations_from(std::uint32_t from) { own(Own::Activations, activations_, from); }
  void slab(TensorIndex tensor, plan::Layout layout);
  TensorIndex vector(Operands& op, TensorIndex tensor);  // a slab of float32, if there is one
  void cache(const Operands& op, const ops::Attention& attributes);
  [[nodiscard]] std::uint32_t width(ValueId value) const { return task_.program.values[value].width; }
  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return task_.model.tensors[static_cast<std::size_t>(tensor)];
  }
  [[nodiscard]] plan::Slot slot_of(Own buffer) const { return values_ + static_cast<plan::Slot>(buffer); }

  const plan::LoweringTask& task_;
  const plan::Part& part_;
  const model::Group& group_;
  const plan::Slot values_;
  Recipe recipe_;
  std::vector<Operands> operands_;
  // What waits for the step that it goes with.
  Operands* norm_ = nullptr;
  std::vector<Head> heads_;
  std::optional<std::size_t> merge_;  // attention
  Bytes merge_bytes_;
  std::uint32_t merge_from_ = 0;
  Bytes activations_;  // of the product whose input was prepared last
};

}  // namespace loadline::cpu

// Reads an operation piece by piece while it is lowered, and knows what has been read: every input, output and tensor
// once, and every attribute that is used. What is left over at the end is something that the backend does not know, and
// an error.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::backend {

// Refers to the operation, which must outlive it.
class Operands {
 public:
  // `backend` ("the CPU") and `group` are for errors.
  Operands(const model::Op& op, std::string_view backend, const model::Group& group)
      : op_(&op), backend_(backend), group_(&group) {
    const std::size_t counts[] = {op.inputs.size(), op.outputs.size(), op.tensors.size()};
    for (std::size_t i = 0; i < used_.size(); ++i) used_[i].resize(counts[i]);
  }

  [[nodiscard]] model::OpKind kind() const { return op_->kind; }
  [[nodiscard]] bool after_select() const { return op_->after_select; }
  // Rows it has at most.
  [[nodiscard]] std::uint64_t rows(const plan::Shape& shape) const {
    return op_->after_select ? shape.outputs : shape.batch;
  }
  [[nodiscard]] std::size_t inputs() const { return op_->inputs.size(); }
  // The attributes, of the kind that it has.
  template <class Kind>
  [[nodiscard]] const Kind& as() const {
    return op_->as<Kind>();
  }
  [[nodiscard]] std::span<const model::ops::LinearPart> parts() const { return op_->parts(); }

  model::ValueId input(std::size_t i) { return take(Piece::Input, op_->inputs, i); }
  model::ValueId output(std::size_t i) { return take(Piece::Output, op_->outputs, i); }
  // An input that is the output, too.
  model::ValueId in_place(std::size_t i) {
    const model::ValueId value = input(i);
    if (output(i) != value) cannot("it does not leave its result where its input was");
    return value;
  }
  // That a tensor which the attributes name has found its place; kNoTensor passes through.
  model::TensorIndex uses(model::TensorIndex tensor) {
    if (tensor == model::kNoTensor) return tensor;
    for (std::size_t i = 0; i < op_->tensors.size(); ++i) {
      std::uint8_t& used = used_[static_cast<std::size_t>(Piece::Tensor)][i];
      if (op_->tensors[i].tensor != tensor || used != 0) continue;
      used = 1;
      return tensor;
    }
    cannot("it uses a tensor more often than it names it");
  }
  // That the step which is made does what this attribute says, whatever its value (Op::used_attributes has the names).
  void honours(std::string_view attribute) { honoured_.push_back(attribute); }

  // Without using it.
  [[nodiscard]] model::ValueId peek_input(std::size_t i) const { return at(op_->inputs, i); }
  [[nodiscard]] model::ValueId peek_output(std::size_t i) const { return at(op_->outputs, i); }

  [[noreturn]] void cannot(std::string_view why) const {
    throw bad_input(
        fmt::format("{} cannot run the {} of {}: {}", backend_, model::name_of(op_->kind), group_->name(), why));
  }

  // Throws for whatever has not been used, or been used twice.
  void require_all_used() const {
    require(Piece::Input, "input", op_->inputs.size());
    require(Piece::Output, "output", op_->outputs.size());
    require(Piece::Tensor, "tensor", op_->tensors.size());
    for (const std::string_view attribute : op_->used_attributes()) {
      if (std::ranges::find(honoured_, attribute) == honoured_.end()) {
        cannot(fmt::format("it does not know \"{}\"", attribute));
      }
    }
  }

 private:
  enum class Piece : std::uint8_t { Input, Output, Tensor };

  template <class List>
  [[nodiscard]] typename List::value_type at(const List& list, std::size_t i) const {
    if (i >= list.size()) cannot(fmt::format("it has {} where {} are needed", list.size(), i + 1));
    return list[i];
  }
  template <class List>
  typename List::value_type take(Piece piece, const List& list, std::size_t i) {
    const auto found = at(list, i);
    ++used_[static_cast<std::size_t>(piece)][i];
    return found;
  }
  void require(Piece piece, std::string_view what, std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) {
      const int times = used_[static_cast<std::size_t>(piece)][i];
      if (times == 0) cannot(fmt::format("nothing uses its {} {}", what, i));
      if (times > 1) cannot(fmt::format("its {} {} is used {} times", what, i, times));
    }
  }

  const model::Op* op_;
  std::string_view backend_;
  const model::Group* group_;
  std::array<std::vector<std::uint8_t>, 3> used_;  // how often each has been
  std::vector<std::string_view> honoured_;
};

}  // namespace loadline::backend

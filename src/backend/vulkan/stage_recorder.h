// The inside of recorder.h: a stage while it is recorded.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "backend/vulkan/recipe.h"
#include "backend/vulkan/recorder.h"
#include "backend/vulkan/slices.h"
#include "backend/vulkan/staging.h"
#include "plan/crossing.h"

namespace loadline::vulkan {

using model::TensorIndex;
using model::ValueId;
namespace ops = model::ops;

// How long a command list may become, so that a stop between two of them comes in time: about 30 ms on the slowest
// device of the kind, where one step can be cut that small. Counted in multiply-adds; a laptop's card does a million
// million of them a second. llvmpipe does two to four thousand million on two cores, and takes 16 times that for a
// weight's decoding; lists of less than 10 ms cost it several per cent of a prompt.
struct WorkLimit {
  std::uint64_t most;    // multiply-adds of a list
  std::uint64_t decode;  // multiply-adds that decoding one weight costs
};

WorkLimit work_limit(const Context& context);

class Recorder {
 public:
  Recorder(Context& context, Pipelines& pipelines, const StageSource& source, std::uint32_t most)
      : context_(context),
        operations_(context, pipelines, source.codebooks),
        source_(source),
        scratch_(source.plan.scratch[source.device]),
        table_(pass_table(source.program, source.plan.shape)),
        staging_(
            host_staging({source.model, source.program, source.plan.shape}, device_task(source.plan, source.device))),
        table_address_(source.place(region_of(scratch_, Staging::Table)).address),
        most_(most),
        limit_(work_limit(context)) {
    open_list();
  }

  void begin_stage(const plan::Stage& stage);
  void record(const Step& step);
  // A group whose weights pass through the ring.
  void record_through(const model::Group& group, std::span<const Step> steps);
  void end_stage(const plan::Stage& stage);
  StageRecording take() { return std::move(recording_); }

 private:
  [[nodiscard]] CommandList& list() { return recording_.lists.back().list; }
  void open_list() {
    recording_.lists.push_back({CommandList(context_)});
    list().begin(true);
    work_ = 0;
  }
  // The list for a dispatch of this much work, after everything before it or beside it.
  CommandList& next(std::uint64_t work, bool beside = false) {
    if (work_ > 0 && work_ + work > limit_.most) {
      list().end();
      open_list();
      beside = false;
    }
    work_ += work;
    if (!beside) list().barrier();
    return list();
  }
  static Place moved(Place place, Bytes offset) {
    place.offset += offset.value;
    place.address += offset.value;
    if (place.data != nullptr) place.data += offset.value;
    return place;
  }

  [[nodiscard]] const gguf::TensorInfo& info(TensorIndex tensor) const {
    return source_.model.tensors[static_cast<std::size_t>(tensor)];
  }
  [[nodiscard]] Address region(plan::RegionIndex index) const { return source_.place(index).address; }
  [[nodiscard]] Address tensor(TensorIndex index) const {
    if (index == model::kNoTensor) return 0;
    for (const auto& [passing, address] : passing_) {
      if (passing == index) return address;
    }
    return region(source_.plan.weights[static_cast<std::size_t>(index)]);
  }
  [[nodiscard]] bool is_passing(TensorIndex index) const {
    return std::ranges::any_of(passing_, [&](const auto& one) { return one.first == index; });
  }
  [[nodiscard]] Address value(ValueId id) const { return region(scratch_.values[id]); }
  [[nodiscard]] std::uint32_t width(ValueId id) const { return source_.program.values[id].width; }
  [[nodiscard]] Address table(Bytes offset) const { return table_address_ + offset.value; }
  // Rows a step has at most.
  [[nodiscard]] std::uint32_t rows(bool after_select) const {
    return after_select ? std::min(most_, source_.plan.shape.outputs) : most_;
  }
  [[nodiscard]] std::uint32_t rows() const { return rows(after_select_); }
  [[nodiscard]] std::uint32_t selected() const { return after_select_ ? 1 : 0; }

  // Where a value lies on its way from or to another device.
  [[nodiscard]] Place staged(ValueId id) const {
    return moved(source_.place(region_of(scratch_, Staging::Host)),
                 staged_place(staging_, source_.program, source_.plan.shape, id));
  }
  [[nodiscard]] Bytes crossing_bytes(ValueId id, bool after_select) const {
    return Bytes(std::uint64_t{rows(after_select)} * width(id) * sizeof(float));
  }

  void record(const recipe::Embed& embed);
  void record(const recipe::Select& select);
  void record(const recipe::Norm& norm);
  void record(const recipe::Linear& linear);
  void record(const recipe::Gated& gated);
  void record(const recipe::Rope& rope);
  void record(const recipe::Attention& attention);
  void record(const recipe::Map& map);
  void record(const recipe::Split& split);
  void record(const recipe::Route& route);
  void record(const recipe::Experts& experts);
  void record(const recipe::HeadLinear& linear);
  void record(const recipe::Convolution& convolution);
  void record(const recipe::DeltaNet& net);
  void record(const recipe::StateSpace& scan);

  template <class Function>
  void each_carried(std::uint32_t plan::CarriedCrossing::* end, const plan::Stage& stage, Function&& f);
  // f(first, count, list) for ranges of the tokens of every run, one after the other, that a list has room for: states
  // of so many heads are [rows][columns].
  template <class Function>
  void in_ranges(std::uint64_t heads, std::uint64_t rows, std::uint64_t columns, Function&& f);
  [[nodiscard]] std::uint32_t most_runs() const { return std::min(most_, source_.plan.shape.sequences); }
  // A product's arguments: its input (with the norm that goes with it: on the way where that can be, else done here),
  // and where its matrix lies.
  ProductArguments input_of(ValueId x, const recipe::FusedNorm& norm);
  void set_matrix(ProductArguments& arguments, const ops::LinearPart& part) const;
  void product(const ProductArguments& arguments, quant::TensorType format, std::uint32_t most, bool beside);
  void expert_product(ExpertArguments arguments, const ops::ExpertPart& part, const ops::Experts& of, bool beside);
  [[nodiscard]] Address pages_of(model::CacheIndex cache) const;
  void record_groups(const recipe::Experts& experts);
  void set_expert_matrix(ProductArguments& arguments, const ops::ExpertPart& part, const ops::Experts& of) const;
  void grouped_product(ProductArguments arguments, const ops::ExpertPart& part, const ops::Experts& of,
                       std::uint32_t tiles);
  void heads(const recipe::Attention& attention, const AttentionShape& shape);
  void attend(const recipe::Attention& attention, const AttentionShape& shape);
  [[nodiscard]] Angles angles(model::RopeIndex table) const {
    return angles_of(source_.program, source_.plan.shape, table);
  }
  void bring(const WeightSlice& slice);

  Context& context_;
  Operations operations_;
  const StageSource& source_;
  const plan::DeviceScratch& scratch_;
  PassTable table_;
  HostStaging staging_;
  Address table_address_;
  std::uint32_t most_;
  WorkLimit limit_;
  std::uint64_t work_ = 0;  // of the list that is open
  StageRecording recording_;
  const WeightSlice* slice_ = nullptr;                    // in the ring, where a group's weights pass through it
  std::vector<std::pair<TensorIndex, Address>> passing_;  // its tensors: where their row 0 would lie
  bool after_select_ = false;                             // of the step that is recorded
  bool again_ = false;                                    // it has been recorded before, with other rows
};

}  // namespace loadline::vulkan

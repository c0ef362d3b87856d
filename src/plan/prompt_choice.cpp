#include "plan/prompt_choice.h"

#include <algorithm>
#include <array>

#include "plan/crossing.h"
#include "plan/predict.h"

namespace loadline::plan {
namespace {

// A full batch must be faster by this much to be worth the ring, and by that much where generation pays for it.
constexpr double kWorthwhile = 1.1;
constexpr double kWorthGeneration = 1.25;
// What of generation's speed may be given up for it.
constexpr double kGenerationKept = 0.97;
// Passes as large as this must be faster than on the CPU, predictions being what they are.
constexpr double kClearly = 0.95;
constexpr std::uint32_t kTokenStep = 16;
// Shorter ones where there is little room.
constexpr std::array kSlices = {kUsualSlice, kUsualSlice / 2, kUsualSlice / 4};

class PromptChoice {
 public:
  PromptChoice(const PlacementTask& task, const Placed& placed) : task_(task), placed_(placed) {}

  // The plan with the ring in room that is left; nullopt where there is none or it is not worth it. Of the slices that
  // find room, the longest: it costs least.
  [[nodiscard]] std::optional<Plan> in_what_is_left() const {
    std::optional<Plan> best;
    for (const Bytes slice : kSlices) {
      for (DeviceIndex device = 1; device < devices(); ++device) {
        for (const Attention attention : {Attention::Stays, Attention::Passes}) {
          std::optional<Plan> plan = through(placed_.plan, device, slice, attention);
          if (!plan || !within_budgets(*plan) || gain(placed_.plan, *plan) < kWorthwhile) break;
          take(std::move(*plan), best);
        }
      }
      if (best) break;
    }
    return best;
  }

  // The same with fewer groups on the GPU.
  [[nodiscard]] std::optional<Plan> with_room_made() const {
    std::optional<Plan> best;
    for (const Bytes slice : kSlices) {
      for (DeviceIndex device = 1; device < devices(); ++device) {
        for (const Attention attention : {Attention::Stays, Attention::Passes}) {
          std::optional<Plan> plan = with_room_made(device, slice, attention);
          if (!plan) break;
          take(std::move(*plan), best);
        }
      }
      if (best) break;
    }
    return best;
  }

 private:
  // Whether the projections of attentions pass too. Looked at only where the feed-forwards alone are worth it.
  enum class Attention : std::uint8_t { Stays, Passes };

  [[nodiscard]] DeviceIndex devices() const { return static_cast<DeviceIndex>(task_.tiers.size() - 1); }
  [[nodiscard]] std::uint32_t batch() const {
    return std::min(task_.shape.batch, task_.shape.context / task_.shape.sequences);
  }
  [[nodiscard]] double batch_seconds(const Plan& plan) const { return prompt_seconds(plan, task_.costs, batch()); }
  [[nodiscard]] double gain(const Plan& before, const Plan& after) const {
    return batch_seconds(before) / batch_seconds(after);
  }
  [[nodiscard]] double generation(const Plan& plan) const {
    return predict(task_.model, plan, task_.costs).generation_rate;
  }

  void take(Plan plan, std::optional<Plan>& best) const {
    if (!best || batch_seconds(plan) < batch_seconds(*best)) best = std::move(plan);
  }

  [[nodiscard]] std::optional<Plan> with_room_made(DeviceIndex device, Bytes slice, Attention attention) const {
    const std::optional<Plan> wanted = through(placed_.plan, device, slice, attention);
    if (!wanted || gain(placed_.plan, *wanted) < kWorthGeneration) return std::nullopt;
    // What is given up may be what the ring would have shared scratch with: room for all of it, then.
    const Bytes needed = tier_total(*wanted, device) - tier_total(placed_.plan, device) + 4 * kMiB;
    std::vector<Tier> tiers = task_.tiers;
    if (tiers[device].budget <= needed) return std::nullopt;
    tiers[device].budget = tiers[device].budget - needed;
    const Placed smaller = choose_placement(
        {task_.model, task_.program, tiers, task_.overheads, task_.shape, task_.options, task_.costs, task_.needs});
    if (!smaller.fits || !smaller.plan.stream.empty()) return std::nullopt;
    std::optional<Plan> plan = through(smaller.plan, device, slice, attention);
    if (!plan || !within_budgets(*plan) || gain(placed_.plan, *plan) < kWorthGeneration) return std::nullopt;
    if (!keeps_generation(*plan)) return std::nullopt;
    return plan;
  }

  // Hardly slower than without the ring, and no slower than anything that -ngl can say.
  [[nodiscard]] bool keeps_generation(const Plan& plan) const {
    const double rate = generation(plan);
    const double without = generation(placed_.plan);
    return rate >= without || (rate >= kGenerationKept * without && !whole_layers_beat(task_, 1.0 / rate));
  }

  // `plan` with every feed-forward of the CPU, and the projections of every attention if they pass too, going through
  // the device, from the number of tokens on at which that is faster. Its budgets are the task's; whether it keeps them
  // is not asked.
  [[nodiscard]] std::optional<Plan> through(const Plan& plan, DeviceIndex device, Bytes slice,
                                            Attention attention) const {
    Placement placement = placement_of(task_.model, plan);
    PromptStream& prompt = placement.prompt;
    prompt.device = device;
    prompt.slice = slice;
    for (std::uint32_t g = 0; g < plan.groups.size(); ++g) {
      const bool here = plan.groups[g].device == kCpu && !plan.groups[g].streamed;
      const bool attends = task_.program.groups[g].kind == model::GroupKind::Attention;
      if (attends && attention == Attention::Stays) continue;
      if (!here || has_carried(task_.program, task_.program.groups[g])) continue;
      if (task_.needs.backend(device).can_pass_through(task_.program.groups[g])) prompt.groups.push_back(g);
    }
    if (prompt.groups.empty() || batch() <= kFewTokens) return std::nullopt;
    prompt.tokens = batch();
    Plan with = task_.lay_out(placement);
    with.prompt.tokens = least_tokens(plan, with);
    if (with.prompt.tokens == 0) return std::nullopt;
    return with;
  }

  // The fewest tokens of a pass, in steps, from which on it is clearly faster; 0: never. What is gained grows with
  // them.
  [[nodiscard]] std::uint32_t least_tokens(const Plan& without, Plan& with) const {
    const auto faster = [&](std::uint32_t tokens) {
      with.prompt.tokens = 1;
      return prompt_seconds(with, task_.costs, tokens) < kClearly * prompt_seconds(without, task_.costs, tokens);
    };
    if (!faster(batch())) return 0;
    std::uint32_t slower = 0;  // in steps
    std::uint32_t enough = (batch() + kTokenStep - 1) / kTokenStep;
    while (enough - slower > 1) {
      const std::uint32_t middle = (slower + enough) / 2;
      (faster(middle * kTokenStep) ? enough : slower) = middle;
    }
    return std::min(enough * kTokenStep, batch());
  }

  const PlacementTask& task_;
  const Placed& placed_;
};

}  // namespace

Placed with_prompt_stream(const PlacementTask& task, Placed placed) {
  if (!placed.fits || !task.options.prompt_offload) return placed;
  const PromptChoice choice(task, placed);
  std::optional<Plan> plan = choice.in_what_is_left();
  // With several GPUs, room costs time that whole layers may not take; what is left of each was tried.
  const bool one_gpu = task.tiers.size() == 3;
  const bool free_to_move =
      one_gpu && task.options.gpu_layers.kind == GpuLayers::Kind::Auto && placed.plan.stream.empty();
  if (!plan && free_to_move) plan = choice.with_room_made();
  if (plan) placed.plan = std::move(*plan);
  return placed;
}

}  // namespace loadline::plan

#include "plan/planner.h"

#include <algorithm>

#include "base/error.h"
#include "plan/budgets.h"
#include "plan/costs.h"
#include "plan/fingerprint.h"
#include "plan/needs_table.h"
#include "plan/placement.h"
#include "plan/predict.h"
#include "plan/prompt_choice.h"
#include "plan/refusal.h"
#include "quant/kv_page.h"

namespace loadline::plan {
namespace {

std::string model_name(const gguf::Model& model) {
  const std::string* name = model.metadata.get_string("general.name");
  if (name != nullptr && !name->empty()) return *name;
  return model.files.empty() ? std::string() : model.files.front().path().filename().string();
}

class Planner {
 public:
  Planner(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
          const Options& options, const Backends& backends)
      : model_(model),
        program_(program),
        options_(options),
        shape_(make_shape(program, profile, options)),
        tiers_(make_tiers(profile, options)),
        overheads_(context_overheads(profile, options.of_requests)),
        backends_(backends),
        rates_(make_rates(profile, shape_, backends)) {}

  Attempt run() const {
    Attempt result = options_.largest_context ? largest_context() : attempt(shape_);
    return options_.batch_named ? result : with_larger_batch(std::move(result));
  }

 private:
  [[nodiscard]] Attempt attempt(const Shape& shape) const {
    const CostModel costs(model_, program_, shape, rates_);
    const NeedsTable needs(model_, program_, shape, backends_, tiers_.size() - 1);
    const PlacementTask task{model_, program_, tiers_, overheads_, shape, options_, costs, needs};
    Placed placed = with_prompt_stream(task, choose_placement(task));
    Attempt result{placed.fits, std::move(placed.plan), rates_.assumed};
    result.plan.prediction = predict(model_, result.plan, costs);
    result.plan.model_name = model_name(model_);
    result.plan.model_fingerprint = fingerprint(model_);
    return result;
  }

  // A prompt pays for the stream once for every batch. Where that is what takes its time, a larger batch is worth the
  // scratch it takes, as long as the weights that make room for it cost a token no more than a few hundredths.
  [[nodiscard]] Attempt with_larger_batch(Attempt best) const {
    constexpr double kWorth = 1.1;
    constexpr double kMostLoss = 0.03;
    const double least_rate = best.plan.prediction.generation_rate * (1 - kMostLoss);
    while (best.fits && !best.plan.stream.empty() && best.plan.prediction.prompt_bound == kDiskBound) {
      Shape shape = best.plan.shape;
      shape.batch = std::min(2 * shape.batch, shape.context / shape.sequences);
      if (shape.batch <= best.plan.shape.batch) break;
      Attempt larger = attempt(shape);
      const Prediction& found = larger.plan.prediction;
      if (!larger.fits || found.prompt_rate < kWorth * best.plan.prediction.prompt_rate) break;
      if (found.generation_rate < least_rate) break;
      best = std::move(larger);
    }
    return best;
  }

  // Up to what the model was trained for. More context never needs less memory, so halving finds the most that fits.
  [[nodiscard]] Attempt largest_context() const {
    Shape shape = shape_;
    const auto with = [&](std::uint64_t pages) {
      shape.context = static_cast<std::uint32_t>(pages * quant::kKvPageCells * shape.sequences);
      shape.batch = std::max(std::min(options_.batch, shape.context), shape.sequences);
      shape.outputs = std::min(shape.outputs, shape.batch);
      return attempt(shape);
    };
    const std::uint32_t trained = std::max(program_.config.trained_context, quant::kKvPageCells);
    std::uint64_t most = whole_pages(trained, shape.sequences) / shape.sequences / quant::kKvPageCells;
    Attempt best = with(most);
    if (best.fits && best.plan.stream.empty()) return best;
    std::uint64_t least = 1;
    best = with(least);
    if (!best.fits) return best;
    while (most - least > 1) {
      const std::uint64_t middle = (least + most) / 2;
      Attempt tried = with(middle);
      // A larger context is not worth reading weights from disk for.
      if (tried.fits && (tried.plan.stream.empty() || !best.plan.stream.empty())) {
        least = middle;
        best = std::move(tried);
      } else {
        most = middle;
      }
    }
    return best;
  }

  const gguf::Model& model_;
  const model::Program& program_;
  const Options& options_;
  Shape shape_;
  std::vector<Tier> tiers_;
  std::vector<ContextOverhead> overheads_;
  const Backends& backends_;
  Rates rates_;
};

}  // namespace

Attempt try_plan(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
                 const Options& options, const Backends& backends) {
  return Planner(model, program, profile, options, backends).run();
}

Plan make_plan(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
               const Options& options, const Backends& backends) {
  Attempt attempt = try_plan(model, program, profile, options, backends);
  if (attempt.fits) return std::move(attempt.plan);
  throw refusal(model, program, profile, options, backends, attempt.plan);
}

}  // namespace loadline::plan

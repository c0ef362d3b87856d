#include "plan/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "model/format_mix.h"
#include "plan/describe.h"
#include "plan/planner.h"
#include "plan/predict.h"

namespace loadline::plan {
namespace {

// Worth proposing, from the largest to the smallest.
constexpr std::array kMixes = {"Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K"};
// Less than this is not worth the change.
constexpr double kFaster = 1.03;

// The same model in another mix of formats: header only.
gguf::Model in_mix(const gguf::Model& model, const model::FormatMix& mix) {
  const model::MixedModel mixed = model::mixed_model(model);
  gguf::Model other;
  other.metadata = model.metadata;
  other.tensors = model.tensors;
  for (gguf::TensorInfo& tensor : other.tensors) {
    tensor.type = model::type_in_mix(mix, mixed, tensor);
    tensor.size = quant::size_of(tensor.type, tensor.elements());
  }
  return other;
}

class Suggester {
 public:
  Suggester(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
            const Options& options, const Backends& backends, const Plan* present)
      : model_(model),
        program_(program),
        profile_(profile),
        options_(options),
        backends_(backends),
        present_(present) {}

  std::vector<Suggestion> fitting() {
    fewer_layers();
    smaller_context();
    smaller_cache();
    other_formats(false);
    more_ram();
    disk();
    return std::move(found_);
  }

  std::vector<Suggestion> faster() {
    smaller_cache();
    other_formats(true);
    if (!present_->stream.empty()) more_ram();
    return std::move(found_);
  }

 private:
  // Adds it if it fits, and is faster where there is a plan to compare with.
  bool consider(const gguf::Model& model, const Options& options, std::string what, std::string how) {
    const Attempt attempt = try_plan(model, program_, profile_, options, backends_);
    if (!attempt.fits) return false;
    return add(attempt.plan, std::move(what), std::move(how));
  }
  bool add(const Plan& plan, std::string what, std::string how) {
    return add(plan, std::move(what), effect_of(plan), std::move(how));
  }
  bool add(const Plan& plan, std::string what, std::string effect, std::string how) {
    if (present_ != nullptr && plan.prediction.generation_rate < kFaster * present_->prediction.generation_rate) {
      return false;
    }
    found_.push_back({std::move(what), std::move(effect), std::move(how), plan.prediction});
    return true;
  }

  [[nodiscard]] std::string effect_of(const Plan& plan) const {
    if (!plan.stream.empty()) return fmt::format("{} from disk per token", to_string(streamed_bytes(plan)));
    const LayersOnGpu layers = layers_on_gpu(program_, plan);
    if (layers.whole == 0) return {};
    if (layers.whole == program_.config.layers + 1) return fmt::format("all {} layers on the GPU", layers.whole);
    if (present_ == nullptr) return fmt::format("{} layers on the GPU", layers.whole);
    const std::uint32_t before = layers_on_gpu(program_, *present_).whole;
    if (layers.whole <= before) return {};
    return fmt::format("+{} layer{} on the GPU", layers.whole - before, layers.whole - before == 1 ? "" : "s");
  }

  void fewer_layers() {
    using Kind = GpuLayers::Kind;
    if (options_.gpu_layers.kind == Kind::Auto) return;
    // More layers never need less GPU memory: halving finds the most that fit.
    Options options = options_;
    std::uint32_t least = 0;
    std::uint32_t most = program_.config.layers + 2;
    if (options_.gpu_layers.kind == Kind::Count) most = std::min(most, options_.gpu_layers.count);
    std::optional<Plan> best;
    while (most > least) {
      const std::uint32_t middle = (least + most) / 2;
      options.gpu_layers = {Kind::Count, middle};
      Attempt attempt = try_plan(model_, program_, profile_, options, backends_);
      if (!attempt.fits) {
        most = middle;
        continue;
      }
      best = std::move(attempt.plan);
      least = middle + 1;
    }
    if (best) {
      add(*best, fmt::format("{} layer{} on the GPU", least - 1, least == 2 ? "" : "s"), {},
          fmt::format("-ngl {}", least - 1));
    }
    options.gpu_layers = {Kind::Auto, 0};
    consider(model_, options, "layers placed by predicted speed", "leave -ngl out");
  }

  void smaller_context() {
    Options options = options_;
    options.context.reset();
    options.trained_context = false;
    options.largest_context = true;
    const Attempt attempt = try_plan(model_, program_, profile_, options, backends_);
    constexpr std::uint32_t kUseful = 256;
    if (!attempt.fits || attempt.plan.shape.context < kUseful * options.sequences) return;
    add(attempt.plan, fmt::format("context {}", attempt.plan.shape.context),
        fmt::format("-c {}", attempt.plan.shape.context));
  }

  void smaller_cache() {
    using quant::TensorType;
    const model::ModelConfig& config = program_.config;
    if (options_.k_type == TensorType::Q8_0 && options_.v_type == TensorType::Q8_0) return;
    if (config.head_dim_k % 32 != 0 || config.head_dim_v % 32 != 0) return;
    Options options = options_;
    options.k_type = options.v_type = TensorType::Q8_0;
    consider(model_, options, "KV cache q8_0", "-ctk q8_0 -ctv q8_0");
  }

  void other_formats(bool few) {
    const Bytes now = model_.tensor_bytes();
    std::size_t shown = 0;
    for (const char* name : kMixes) {
      const model::FormatMix* mix = model::find_mix(name);
      if (mix == nullptr) continue;
      const gguf::Model other = in_mix(model_, *mix);
      if (other.tensor_bytes().value > now.value / 100 * 98) continue;
      // Next to a plan that fits, two are enough: a little smaller, and the smallest.
      if (few && shown > 0 && std::string_view(name) != "Q2_K") continue;
      const std::string what = fmt::format("{} of this model, {}", name, to_string(other.tensor_bytes()));
      const std::string note = std::string_view(name) == "Q2_K" ? "noticeably lower quality" : "";
      bool added = consider(other, options_, what, note);
      if (!added && !few && options_.gpu_layers.kind != GpuLayers::Kind::Auto) {
        Options automatic = options_;
        automatic.gpu_layers = {};
        added = consider(other, automatic, what, note.empty() ? "without -ngl" : "without -ngl; " + note);
      }
      if (added) ++shown;
    }
  }

  // On a machine whose RAM has no end: what that plan takes is what is needed, in whole MiB so that it can be written.
  void more_ram() {
    hardware::Profile roomy = profile_;
    roomy.ram.total = roomy.ram.available = Bytes(std::uint64_t{1} << 56);
    roomy.ram.cgroup_limit.reset();
    Options options = options_;
    options.ram_budget = roomy.ram.total;
    options.disk = false;
    const Attempt attempt = try_plan(model_, program_, roomy, options, backends_);
    if (!attempt.fits) return;
    const Bytes needed = align_up(tier_total(attempt.plan, kCpu), kMiB);
    options.ram_budget = needed;
    options.disk = options_.disk;
    const Attempt exact = try_plan(model_, program_, roomy, options, backends_);
    if (!exact.fits || !exact.plan.stream.empty()) return;
    const bool is_there = needed <= profile_.ram.available;
    add(exact.plan, fmt::format("{} of RAM for this", to_string(needed)),
        is_there ? fmt::format("--ram {}MiB", needed.value / kMiB.value) : std::string("more than is free here"));
  }

  void disk() {
    if (!options_.disk.has_value() || *options_.disk) return;
    Options options = options_;
    options.disk = true;
    consider(model_, options, "weights read from disk for every token", "--disk on");
  }

  const gguf::Model& model_;
  const model::Program& program_;
  const hardware::Profile& profile_;
  const Options& options_;
  const Backends& backends_;
  const Plan* present_;
  std::vector<Suggestion> found_;
};

}  // namespace

std::vector<Suggestion> suggest_fitting(const gguf::Model& model, const model::Program& program,
                                        const hardware::Profile& profile, const Options& options,
                                        const Backends& backends) {
  return Suggester(model, program, profile, options, backends, nullptr).fitting();
}

std::vector<Suggestion> suggest_faster(const gguf::Model& model, const model::Program& program,
                                       const hardware::Profile& profile, const Options& options,
                                       const Backends& backends, const Plan& plan) {
  return Suggester(model, program, profile, options, backends, &plan).faster();
}

std::string suggestion_lines(const std::vector<Suggestion>& suggestions) {
  std::size_t what = 0;
  std::size_t effect = 0;
  for (const Suggestion& one : suggestions) {
    what = std::max(what, one.what.size());
    effect = std::max(effect, one.effect.size());
  }
  std::string lines;
  for (const Suggestion& one : suggestions) {
    std::string line = fmt::format("  {:<{}}  {:<{}}  {:>11}  {}", one.what, what, one.effect, effect,
                                   rate_text(one.prediction.generation_rate), one.how);
    lines += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return lines;
}

}  // namespace loadline::plan

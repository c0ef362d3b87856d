#include "plan/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "plan/planner.h"

namespace loadline::plan {
namespace {

std::uint32_t layers_on_gpus(const model::Program& program, const Plan& plan) {
  std::uint32_t count = 0;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const model::GroupKind kind = program.groups[g].kind;
    const bool counts = kind == model::GroupKind::Attention || kind == model::GroupKind::Output;
    if (counts && plan.groups[g].device != kCpu) ++count;
  }
  return count;
}

std::string rate(double value) { return fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0); }

std::string plural(std::uint32_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

std::vector<Alternative> nearest_alternatives(const gguf::Model& model, const model::Program& program,
                                              const hardware::Profile& profile, const Options& options,
                                              const Backends& backends, const Plan& plan, std::size_t most) {
  std::vector<Alternative> found;
  const auto try_with = [&](std::string what, const auto& change) {
    Options other = options;
    change(other);
    Attempt attempt;
    try {
      attempt = try_plan(model, program, profile, other, backends);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::BadInput) throw;
      return;  // the model has no such layers, or the machine no such threads
    }
    if (attempt.fits && attempt.plan.groups == plan.groups && attempt.plan.shape == plan.shape) return;
    found.push_back({std::move(what), attempt.fits, attempt.fits ? attempt.plan.prediction : Prediction{}});
  };

  if (!profile.gpus.empty()) {
    const std::uint32_t now = layers_on_gpus(program, plan);
    const std::uint32_t all = program.config.layers + 1;
    std::vector<std::uint32_t> counts;
    for (const std::uint32_t step : {1U, 2U, 4U}) {
      if (now >= step) counts.push_back(now - step);
      if (now + step <= all) counts.push_back(now + step);
    }
    counts.push_back(0);
    counts.push_back(all);
    std::ranges::sort(counts);
    counts.erase(std::ranges::unique(counts).begin(), counts.end());
    for (const std::uint32_t count : counts) {
      if (count == now) continue;
      try_with(plural(count, "layer") + " on GPUs",
               [&](Options& other) { other.gpu_layers = {GpuLayers::Kind::Count, count}; });
    }
    try_with("the KV cache in RAM", [](Options& other) { other.kv_offload = false; });
  }
  for (const std::uint32_t threads : {plan.shape.threads / 2, plan.shape.threads - 1, plan.shape.threads + 1}) {
    if (threads == 0 || threads == plan.shape.threads || threads > profile.cpu.cores) continue;
    try_with(plural(threads, "thread"), [&](Options& other) { other.threads = threads; });
  }
  for (const std::uint32_t batch : {plan.shape.batch / 2, plan.shape.batch * 2}) {
    if (batch == 0 || batch > plan.shape.context) continue;
    try_with(fmt::format("batches of {}", batch), [&](Options& other) {
      other.batch = batch;
      other.batch_named = true;
    });
  }
  try_with("a KV cache in Q8_0", [](Options& other) { other.k_type = other.v_type = quant::TensorType::Q8_0; });

  const auto distance = [&](const Alternative& one) {
    if (!one.fits) return 1e9;
    const auto apart = [](double a, double b) { return a > 0 && b > 0 ? std::abs(std::log(a / b)) : 1e6; };
    return apart(one.prediction.generation_rate, plan.prediction.generation_rate) +
           0.1 * apart(one.prediction.prompt_rate, plan.prediction.prompt_rate);
  };
  std::ranges::stable_sort(found, {}, distance);
  // Of two that say the same (one thread fewer is half of two), one.
  const auto same = [](const Alternative& a, const Alternative& b) { return a.what == b.what; };
  found.erase(std::ranges::unique(found, same).begin(), found.end());
  if (found.size() > most) found.resize(most);
  return found;
}

std::string explanation_lines(const Plan& plan, const std::vector<Alternative>& alternatives) {
  const auto line_of = [](std::string_view what, const Prediction& prediction) {
    return fmt::format("  {:<28} {:>8} tok/s {:>9} tok/s prompt   bound by {}\n", what,
                       rate(prediction.generation_rate), rate(prediction.prompt_rate), prediction.generation_bound);
  };
  std::string text = line_of("this plan", plan.prediction);
  for (const Alternative& one : alternatives) {
    text += one.fits ? line_of(one.what, one.prediction) : fmt::format("  {:<28} does not fit\n", one.what);
  }
  return text;
}

}  // namespace loadline::plan

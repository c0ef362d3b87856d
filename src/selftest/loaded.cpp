#include "selftest/loaded.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "engine/backends.h"
#include "plan/budgets.h"
#include "plan/layout.h"
#include "plan/planner.h"

namespace loadline::selftest {
namespace {

// Small, so that matrices are cut.
constexpr Bytes kSlice = 64 * kKiB;
constexpr std::uint32_t kThroughFrom = 16;

std::unique_ptr<Engine> load(Subject& subject, gguf::Model model, model::Program program, plan::Plan plan,
                             std::uint32_t overlap_from) {
  Engine::Options options;
  options.alone = false;  // this process holds more than a plan knows
  options.overlap_from = overlap_from;
  auto engine =
      Engine::load(std::move(model), std::move(program), std::move(plan), {}, subject.stop, std::move(options));
  if (!engine) throw Stopped();
  return engine;
}

std::vector<double> log_softmax(std::span<const float> logits) {
  const double highest = *std::ranges::max_element(logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(logit - highest);
  std::vector<double> result(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) result[i] = logits[i] - highest - std::log(total);
  return result;
}

}  // namespace

std::unique_ptr<Engine> load(Subject& subject, const std::filesystem::path& file, const Loading& loading) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Options options;
  options.context = loading.context;
  options.batch = loading.batch;
  options.outputs = loading.batch;
  options.sequences = loading.sequences;
  options.k_type = options.v_type = loading.cache;
  plan::Placement placement;
  placement.groups.resize(program.groups.size());
  for (std::size_t i = 0; i < placement.groups.size(); ++i) {
    placement.groups[i].device = loading.device_of(i);
    placement.groups[i].kv_on_cpu = loading.cache_in_ram;
  }
  if (!loading.through.empty()) placement.prompt = {kThroughFrom, kGpu, kSlice, loading.through};
  const plan::Shape shape = plan::make_shape(program, subject.machine, options);
  const plan::NeedsTable needs(model, program, shape, engine::backends(), subject.machine.gpus.size() + 1);
  plan::Plan plan = plan::lay_out(needs, plan::make_tiers(subject.machine, options),
                                  plan::context_overheads(subject.machine), placement);
  return load(subject, std::move(model), std::move(program), std::move(plan), loading.overlap_from);
}

std::unique_ptr<Engine> load_planned(Subject& subject, const std::filesystem::path& file,
                                     const plan::Options& options) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, subject.machine, options, engine::backends());
  return load(subject, std::move(model), std::move(program), std::move(plan), exec::kOverlapFrom);
}

std::vector<Token> random_tokens(std::size_t count, std::uint32_t vocabulary, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % vocabulary);
  return tokens;
}

std::vector<float> logits_of(Subject& subject, Engine& engine, std::span<const Token> tokens,
                             std::span<const std::size_t> runs, std::uint32_t sequence) {
  std::vector<float> all;
  for (const std::size_t count : runs) {
    const exec::Input input{sequence, tokens.first(count), exec::Want::All};
    if (!engine.executor().forward({&input, 1}, subject.stop)) throw Stopped();
    for (std::size_t i = 0; i < count; ++i) {
      const auto row = engine.executor().logits(i);
      all.insert(all.end(), row.begin(), row.end());
    }
    tokens = tokens.subspan(count);
  }
  return all;
}

Distance distance(std::span<const float> expected, std::span<const float> actual, std::size_t width) {
  if (expected.size() != actual.size()) {
    throw Mismatch(fmt::format("{} logits where there must be {}", actual.size(), expected.size()));
  }
  Distance result;
  const std::size_t rows = expected.size() / width;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto e = expected.subspan(r * width, width);
    const auto a = actual.subspan(r * width, width);
    const std::vector<double> p = log_softmax(e);
    const std::vector<double> q = log_softmax(a);
    for (std::size_t i = 0; i < width; ++i) {
      result.kl += std::exp(p[i]) * (p[i] - q[i]) / static_cast<double>(rows);
      const double difference = std::fabs(double{e[i]} - a[i]);
      // What is no number must not pass for a small one.
      result.absolute = difference <= result.absolute ? result.absolute : difference;
    }
    if (std::isnan(result.absolute)) return {result.absolute, result.absolute};
  }
  result.kl = std::max(result.kl, 0.0);  // of equal rows what is left is rounding
  return result;
}

void expect_within(const Distance& distance, const Bound& bound) {
  if (distance.kl <= bound.kl && distance.absolute <= bound.absolute) return;
  throw Mismatch(fmt::format("{} from the oracle, where {:.1g} and {:.1g} are allowed", text_of(distance), bound.kl,
                             bound.absolute));
}

std::string text_of(const Distance& distance) {
  return fmt::format("divergence {:.1e}, at most {:.1e}", distance.kl, distance.absolute);
}

}  // namespace loadline::selftest

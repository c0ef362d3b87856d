// The shaders that read no weights, each alone, against plain loops in double.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "model/operations.h"
#include "selftest/checks.h"
#include "selftest/workbench.h"

namespace loadline::selftest {
namespace {

using vulkan::Buffer;
using vulkan::CommandList;

void check_norm(Subject& subject, Row& row) {
  Workbench bench(subject.options);
  Random random(1);
  Comparison comparison;
  for (const bool layer : {false, true}) {
    for (const std::uint32_t columns : {1U, 37U, 256U, 1000U}) {
      const Floats x = random_floats(std::size_t{5} * columns, random);
      const Floats weight = random_floats(columns, random);
      const Buffer x_buffer = bench.buffer(x);
      const Buffer weight_buffer = bench.buffer(weight);
      const Buffer out = bench.buffer(x.size() * sizeof(float));
      const Buffer table = bench.table(5);
      vulkan::NormArguments arguments;
      arguments.x = x_buffer.address();
      arguments.weight = weight_buffer.address();
      arguments.result = out.address();
      arguments.table = table.address();
      arguments.columns = arguments.part = columns;
      arguments.epsilon = 1e-5F;
      arguments.layer = layer ? 1 : 0;
      bench.run([&](CommandList& list) { bench.operations.norm(list, arguments, 1, 6); });
      const auto results = floats_of(out, x.size());
      for (std::uint32_t t = 0; t < 5; ++t) {
        const float* of_token = x.data() + std::size_t{t} * columns;
        double mean = 0;
        for (std::uint32_t i = 0; layer && i < columns; ++i) mean += double{of_token[i]} / columns;
        double squares = 0;
        for (std::uint32_t i = 0; i < columns; ++i) squares += (of_token[i] - mean) * (of_token[i] - mean);
        const double scale = 1 / std::sqrt(squares / columns + 1e-5);
        for (std::uint32_t i = 0; i < columns; ++i) {
          comparison.expect(results[std::size_t{t} * columns + i], (of_token[i] - mean) * scale * weight[i], 5e-5,
                            layer ? "with a mean" : "of squares", t, i);
        }
      }
    }
  }
  row.said = comparison.text();
}

// What map.comp computes, by its numbers.
struct MapCase {
  std::string_view name;
  std::uint32_t kind;
  double (*function)(double a, double b);
};
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
constexpr float kFactor = 0.75F;
const std::array kMaps = {
    MapCase{"activated", 0, [](double a, double) { return a * sigmoid(a); }},
    MapCase{"added", 1, [](double a, double b) { return a + kFactor * b; }},
    MapCase{"multiplied", 2, [](double a, double b) { return a * b * sigmoid(b); }},
    MapCase{"scaled", 4, [](double a, double) { return a * kFactor; }},
    MapCase{"clamped", 5, [](double a, double) { return std::clamp<double>(a, -kFactor, kFactor); }},
    MapCase{"capped", 6, [](double a, double) { return kFactor * std::tanh(a / kFactor); }},
};

void check_map(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 3, kColumns = 100;
  Workbench bench(subject.options);
  Random random(3);
  Comparison comparison;
  for (const MapCase& map : kMaps) {
    const Floats a = random_floats(std::size_t{kTokens} * kColumns, random);
    const Floats b = random_floats(a.size(), random);
    const Buffer a_buffer = bench.buffer(a);
    const Buffer b_buffer = bench.buffer(b);
    const Buffer out = bench.buffer(a.size() * sizeof(float));
    const Buffer table = bench.table(kTokens);
    vulkan::MapArguments arguments;
    arguments.a = a_buffer.address();
    arguments.b = b_buffer.address();
    arguments.result = out.address();
    arguments.table = table.address();
    arguments.columns = kColumns;
    arguments.kind = map.kind;
    arguments.function = static_cast<std::uint32_t>(model::Activation::Silu);
    arguments.factor = kFactor;
    bench.run([&](CommandList& list) { bench.operations.map(list, arguments, 4); });
    const auto results = floats_of(out, a.size());
    for (std::uint32_t i = 0; i < a.size(); ++i) {
      const double wanted = map.function(a[i], b[i]);
      comparison.expect(results[i], wanted, 1e-5 * (1 + std::fabs(wanted)), map.name, i / kColumns, i % kColumns);
    }
  }
  row.said = comparison.text();
}

void check_split(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 3, kRepeats = 4, kRun = 24, kFirst = 10, kWidth = 7;
  Workbench bench(subject.options);
  Random random(4);
  const Floats x = random_floats(std::size_t{kTokens} * kRepeats * kRun, random);
  const Buffer x_buffer = bench.buffer(x);
  const std::uint32_t count = kTokens * kRepeats * kWidth;
  const Buffer out = bench.buffer(count * sizeof(float));
  const Buffer table = bench.table(kTokens);
  vulkan::SplitArguments arguments;
  arguments.x = x_buffer.address();
  arguments.result = out.address();
  arguments.table = table.address();
  arguments.repeats = kRepeats;
  arguments.run = kRun;
  arguments.first = kFirst;
  arguments.width = kWidth;
  bench.run([&](CommandList& list) { bench.operations.split(list, arguments, 4); });
  const auto results = floats_of(out, count);
  Comparison comparison;
  for (std::uint32_t i = 0; i < count; ++i) {
    comparison.expect(results[i], x[std::size_t{i} / kWidth * kRun + kFirst + i % kWidth], 1e-30, "parts of runs",
                      i / (kRepeats * kWidth), i);
  }
  row.said = comparison.text();
}

void check_select_rows(Subject& subject, Row& row) {
  constexpr std::uint32_t kColumns = 100;
  Workbench bench(subject.options);
  Random random(5);
  const Floats x = random_floats(std::size_t{9} * kColumns, random);
  const std::vector<std::uint32_t> outputs = {0, 2, 3, 8};
  const Buffer x_buffer = bench.buffer(x);
  const Buffer output_buffer = bench.buffer(outputs);
  const Buffer table = bench.table(9, 4);
  const vulkan::SelectArguments arguments{x_buffer.address(), output_buffer.address(), table.address(), kColumns};
  bench.run([&](CommandList& list) { bench.operations.select_rows(list, arguments); });
  const auto results = floats_of(x_buffer, x.size());
  Comparison comparison;
  for (std::uint32_t r = 0; r < 5; ++r) {
    const std::uint32_t from = r < 4 ? outputs[r] : 4;  // the one after them stays
    for (std::uint32_t i = 0; i < kColumns; ++i) {
      comparison.expect(results[std::size_t{r} * kColumns + i], x[std::size_t{from} * kColumns + i], 1e-30,
                        "chosen rows", r, i);
    }
  }
  row.said = comparison.text();
}

void check_route(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 3, kExperts = 12, kUsed = 4;
  using Gating = model::ops::Gating;
  Workbench bench(subject.options);
  Random random(6);
  Comparison comparison;
  for (const Gating gating : {Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen, Gating::SigmoidOfChosen}) {
    const Floats logits = random_floats(std::size_t{kTokens} * kExperts, random);
    const Buffer logit_buffer = bench.buffer(logits);
    const Buffer out = bench.buffer(std::size_t{kTokens} * kUsed * 8);
    const Buffer table = bench.table(kTokens);
    vulkan::RouteArguments arguments;
    arguments.logits = logit_buffer.address();
    arguments.result = out.address();
    arguments.table = table.address();
    arguments.experts = kExperts;
    arguments.used = kUsed;
    arguments.gating = static_cast<std::uint32_t>(gating);
    arguments.scale = 1.5F;
    bench.run([&](CommandList& list) { bench.operations.route(list, arguments, kTokens); });
    for (std::uint32_t t = 0; t < kTokens; ++t) {
      const float* own = logits.data() + std::size_t{t} * kExperts;
      std::array<std::uint32_t, kExperts> order{};
      for (std::uint32_t e = 0; e < kExperts; ++e) order[e] = e;
      std::ranges::stable_sort(order, [&](std::uint32_t a, std::uint32_t b) { return own[a] > own[b]; });
      double total = 0;
      const std::uint32_t counted = gating == Gating::Softmax ? kExperts : kUsed;
      for (std::uint32_t i = 0; i < counted; ++i) total += std::exp(double{own[order[i]]});
      for (std::uint32_t i = 0; i < kUsed; ++i) {
        const bool is_softmax = gating == Gating::Softmax || gating == Gating::SoftmaxOfChosen;
        const double logit = own[order[i]];
        const double weight = 1.5 * (is_softmax ? std::exp(logit) / total : sigmoid(logit));
        const std::byte* pair = out.data() + (std::size_t{t} * kUsed + i) * 8;
        std::uint32_t expert = 0;
        float seen = 0;
        std::memcpy(&expert, pair, sizeof expert);
        std::memcpy(&seen, pair + 4, sizeof seen);
        comparison.expect(expert, order[i], 0.5, model::ops::name_of(gating), t, i);
        comparison.expect(seen, weight, 1e-5, model::ops::name_of(gating), t, i);
      }
    }
  }
  row.said = comparison.text();
}

}  // namespace

void add_small_shader_checks(Checks& checks) {
  checks.push_back({"shader", "Norm", 1, check_norm});
  checks.push_back({"shader", "SelectRows", 2, check_select_rows});
  checks.push_back({"shader", "Map", 3, check_map});
  checks.push_back({"shader", "Split", 3, check_split});
  checks.push_back({"shader", "Route", 3, check_route});
}

}  // namespace loadline::selftest

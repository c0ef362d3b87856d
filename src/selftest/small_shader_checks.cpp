// The shaders that read no weights, each alone, against plain loops in double.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
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

// The expert that a token goes to, and its weight.
struct Choice {
  std::uint32_t expert;
  float weight;
};

// Of the experts one has more than a tile of 64, one has none.
void check_group_experts(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 90, kUsed = 2, kExperts = 5, kTiles = 8, kTile = 64;
  Workbench bench(subject.options);
  std::vector<Choice> chosen;
  std::array<std::uint32_t, kExperts> counts{};
  for (std::uint32_t i = 0; i < kTokens * kUsed; ++i) {
    const std::uint32_t expert = i % 2 == 0 ? 1 : i % 3 == 0 ? 4 : i % 5 == 0 ? 0 : 3;
    chosen.push_back({expert, static_cast<float>(i) / 64});
    ++counts[expert];
  }
  const Buffer chosen_buffer = bench.buffer(chosen);
  const std::uint32_t order = 4 + 3 * kTiles;
  const Buffer groups = bench.buffer((order + 2 * chosen.size()) * sizeof(std::uint32_t), 0xFF);
  const Buffer table = bench.table(kTokens);
  bench.run([&](CommandList& list) {
    bench.operations.group_experts(
        list, {chosen_buffer.address(), groups.address(), table.address(), kExperts, kUsed, kTiles, 0});
  });
  const auto* const words = reinterpret_cast<const std::uint32_t*>(groups.data());
  Comparison comparison;
  const auto expect = [&](std::uint32_t seen, std::uint32_t wanted, std::string_view what, std::uint32_t at) {
    comparison.expect(seen, wanted, 0.5, what, at, 0);
  };
  std::vector<bool> seen(chosen.size());
  std::uint32_t tile = 0;
  std::uint32_t place = 0;
  for (std::uint32_t e = 0; e < kExperts; ++e) {
    const std::uint32_t end = place + counts.at(e);
    for (std::uint32_t first = place; first < end; first += kTile, ++tile) {
      const std::uint32_t* const of_tile = words + 4 + 3 * std::size_t{tile};
      expect(of_tile[0], e, "a tile's expert", tile);
      expect(of_tile[1], first, "a tile's first place", tile);
      expect(of_tile[2], std::min(kTile, end - first), "a tile's places", tile);
    }
    for (; place < end; ++place) {
      const std::uint32_t pair = words[order + 2 * place];
      if (pair >= chosen.size() || seen[pair]) throw Mismatch(fmt::format("place {} has pair {}", place, pair));
      seen[pair] = true;
      expect(chosen[pair].expert, e, "the expert of a place", place);
      expect(words[order + 2 * place + 1], std::bit_cast<std::uint32_t>(chosen[pair].weight), "its weight", place);
    }
  }
  expect(words[0], tile, "tiles", 0);
  expect(words[1], order, "where the order begins", 0);
  row.said = comparison.text();
}

void check_sum_experts(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 3, kUsed = 4, kColumns = 70;
  Workbench bench(subject.options);
  Random random(13);
  const Floats x = random_floats(std::size_t{kTokens} * kUsed * kColumns, random);
  std::vector<Choice> chosen;
  for (std::uint32_t i = 0; i < kTokens * kUsed; ++i) chosen.push_back({i % 7, static_cast<float>(i) / 4 - 1});
  const Buffer x_buffer = bench.buffer(x);
  const Buffer chosen_buffer = bench.buffer(chosen);
  const Buffer table = bench.table(kTokens);
  Comparison comparison;
  for (const std::uint32_t weighted : {1U, 0U}) {
    const Buffer out = bench.buffer(std::size_t{kTokens} * kColumns * sizeof(float), 0xFF);
    const vulkan::SumArguments arguments{
        x_buffer.address(), chosen_buffer.address(), out.address(), table.address(), kColumns, kUsed, weighted, 0};
    bench.run([&](CommandList& list) { bench.operations.sum_experts(list, arguments, kTokens + 1); });
    const auto results = floats_of(out, std::size_t{kTokens} * kColumns);
    for (std::uint32_t i = 0; i < results.size(); ++i) {
      double sum = 0;
      for (std::uint32_t e = 0; e < kUsed; ++e) {
        const std::size_t pair = std::size_t{i} / kColumns * kUsed + e;
        sum += (weighted != 0 ? chosen[pair].weight : 1) * double{x[pair * kColumns + i % kColumns]};
      }
      comparison.expect(results[i], sum, 1e-5 * (1 + std::fabs(sum)), weighted != 0 ? "weighted" : "as they are",
                        i / kColumns, i % kColumns);
    }
  }
  row.said = comparison.text();
}

// The two that rates are measured with. One stores a sum where memory adds up to one number and to no other; what it
// leaves out of its sum is found.
void check_read_memory(Subject& subject, Row& row) {
  constexpr std::uint32_t kWord = 0x9E3779B9, kWords = 64 * 1024 / 4, kLane = 77, kRounds = 16, kStep = 256 * 4;
  Workbench bench(subject.options);
  std::vector<std::uint32_t> memory(kWords, 1);
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    for (std::uint32_t i = 0; i < 4; ++i) {
      memory[4 * kLane + round * kStep + i] = round == 0 ? kWord - (kRounds - 1) * 5 : 5;
    }
  }
  Comparison comparison;
  for (const bool adds_up : {true, false}) {
    if (!adds_up) ++memory[4 * kLane + (kRounds - 1) * kStep + 3];
    const Buffer from = bench.buffer(memory);
    const Buffer out = bench.buffer(std::vector<std::uint32_t>{7});
    const vulkan::ReadMemoryArguments arguments{from.address(), out.address()};
    bench.run([&](CommandList& list) {
      list.dispatch(bench.pipelines.get({vulkan::Shader::ReadMemory, std::nullopt, {}}), bench.pipelines.layout(),
                    arguments, {1});
    });
    comparison.expect(*reinterpret_cast<const std::uint32_t*>(out.data()), adds_up ? kWord : 7, 0.5, "what it stores",
                      0, 0);
  }
  row.said = comparison.text();
}

// Its sums are never what it would store for: all that can be seen is that it comes to an end and stores nothing.
void check_multiply_add(Subject& subject, Row& row) {
  Workbench bench(subject.options);
  const Buffer out = bench.buffer(std::vector<std::uint32_t>{7});
  const vulkan::MultiplyAddArguments arguments{out.address(), 0.5F};
  bench.run([&](CommandList& list) {
    list.dispatch(bench.pipelines.get({vulkan::Shader::MultiplyAdd, std::nullopt, {}}), bench.pipelines.layout(),
                  arguments, {2});
  });
  Comparison comparison;
  comparison.expect(*reinterpret_cast<const std::uint32_t*>(out.data()), 7, 0.5, "what it stores", 0, 0);
  row.said = comparison.text();
}

}  // namespace

void add_small_shader_checks(Checks& checks) {
  checks.push_back({"shader", "Norm", 1, check_norm});
  checks.push_back({"shader", "SelectRows", 2, check_select_rows});
  checks.push_back({"shader", "Map", 3, check_map});
  checks.push_back({"shader", "Split", 3, check_split});
  checks.push_back({"shader", "Route", 3, check_route});
  checks.push_back({"shader", "GroupExperts", 2, check_group_experts});
  checks.push_back({"shader", "SumExperts", 2, check_sum_experts});
  checks.push_back({"shader", "ReadMemory", 3, check_read_memory});
  checks.push_back({"shader", "MultiplyAdd", 3, check_multiply_add});
}

}  // namespace loadline::selftest

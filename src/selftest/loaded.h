// Small models of our own, loaded as a check wants them, and their logits against the oracle's.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "plan/options.h"
#include "selftest/checks.h"

namespace loadline::selftest {

using engine::Engine;

inline constexpr plan::DeviceIndex kGpu = 1;

// Where the groups of a model are, and how it is run.
struct Loading {
  std::function<plan::DeviceIndex(std::size_t group)> device_of = [](std::size_t) { return kGpu; };
  bool cache_in_ram = false;
  std::vector<std::uint32_t> through = {};  // groups of the CPU whose weights go through the GPU, from 16 tokens on
  quant::TensorType cache = quant::TensorType::F32;
  std::uint32_t context = 512;
  std::uint32_t batch = 512;
  std::uint32_t sequences = 1;
  std::uint32_t overlap_from = 1U << 30;  // passes of so many tokens go as two halves
};

// Throws Stopped.
std::unique_ptr<Engine> load(Subject& subject, const std::filesystem::path& file, const Loading& loading);
// As the planner places it. `plan` is what it made of the options.
std::unique_ptr<Engine> load_planned(Subject& subject, const std::filesystem::path& file, const plan::Options& options);

// Tokens that a seed determines.
std::vector<Token> random_tokens(std::size_t count, std::uint32_t vocabulary, std::uint32_t seed = 1);

// All rows of logits of one sequence, a pass for each of `runs`. Throws Stopped.
std::vector<float> logits_of(Subject& subject, Engine& engine, std::span<const Token> tokens,
                             std::span<const std::size_t> runs, std::uint32_t sequence = 0);

// Distances of rows of logits.
struct Distance {
  double kl = 0;        // mean Kullback-Leibler divergence of the rows, nats
  double absolute = 0;  // largest
};
Distance distance(std::span<const float> expected, std::span<const float> actual, std::size_t width);

// How far they may be from the oracle's.
struct Bound {
  double kl, absolute;
};
// Throws Mismatch where it is farther.
void expect_within(const Distance& distance, const Bound& bound);
std::string text_of(const Distance& distance);

}  // namespace loadline::selftest

// Loads a model for a test, with the plan options that matter to it.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "hardware/probe.h"
#include "plan/planner.h"

namespace loadline::test {

inline const std::atomic<bool> kNeverStop{false};

inline std::unique_ptr<engine::Engine> load(const std::filesystem::path& file, plan::Options options) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), options);
  return engine::Engine::load(std::move(model), std::move(program), std::move(plan), {}, kNeverStop);
}

// The most likely token of a row of logits.
inline std::int32_t greedy(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// All rows of logits of one causal pass.
inline std::vector<float> score(engine::Engine& engine, const std::vector<std::int32_t>& tokens) {
  std::vector<float> all;
  engine.score(
      tokens, 0, [&](std::span<const float> row) { all.insert(all.end(), row.begin(), row.end()); }, kNeverStop);
  return all;
}

}  // namespace loadline::test

// Loads a model for a test, with the plan options that matter to it, and runs a session of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "engine/backends.h"
#include "engine/engine.h"
#include "hardware/probe.h"
#include "plan/planner.h"

namespace loadline::test {

inline const std::atomic<bool> kNeverStop{false};

// A test program holds more than one plan says.
inline engine::Engine::Options not_alone() {
  engine::Engine::Options options;
  options.alone = false;
  return options;
}

inline std::unique_ptr<engine::Engine> load(gguf::Model model, model::Program program, plan::Plan plan,
                                            engine::Engine::Options options = not_alone()) {
  options.alone = false;
  return engine::Engine::load(std::move(model), std::move(program), std::move(plan), {}, kNeverStop,
                              std::move(options));
}

inline std::unique_ptr<engine::Engine> load(const std::filesystem::path& file, plan::Options options) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), options, engine::backends());
  return load(std::move(model), std::move(program), std::move(plan));
}

// The most likely token of a row of logits.
inline std::int32_t greedy(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

struct Wanted {
  std::int64_t most = -1;
  std::function<std::int32_t(std::span<const float>)> draw = greedy;
  std::function<bool(std::int32_t)> is_end = {};
  std::function<void(std::int32_t)> on_token = {};
};

// A session that keeps what it draws.
class Listener final : public exec::SessionClient {
 public:
  explicit Listener(Wanted what) : wanted(std::move(what)) { tokens.reserve(4096); }
  std::int32_t draw(std::span<const float> logits) override { return wanted.draw(logits); }
  bool is_end(std::int32_t token) override { return wanted.is_end && wanted.is_end(token); }
  bool take(std::int32_t token) override {
    tokens.push_back(token);
    if (wanted.on_token) wanted.on_token(token);
    return true;
  }
  void prompt_row(std::size_t /*index*/, std::span<const float> logits) override {
    rows.insert(rows.end(), logits.begin(), logits.end());
  }
  void prompt_state(std::size_t /*index*/, std::span<const float> state) override {
    states.insert(states.end(), state.begin(), state.end());
  }
  void ended(const exec::SessionResult& now) noexcept override { result = now; }

  Wanted wanted;
  std::vector<std::int32_t> tokens;
  std::vector<float> rows;
  std::vector<float> states;
  exec::SessionResult result;
};

struct Generated {
  std::vector<std::int32_t> tokens;
  exec::SessionResult figures;
};

// Computes all of the prompt, whatever is in the cache.
inline Generated generate(engine::Engine& engine, const std::vector<std::int32_t>& prompt, const Wanted& wanted,
                          speculate::Drafter* drafter = nullptr, const std::atomic<bool>& stop = kNeverStop) {
  Listener listener(wanted);
  exec::SessionOptions options;
  options.prompt = prompt;
  options.most_tokens = wanted.most;
  options.most_shared = 0;
  options.drafter = drafter;
  if (!engine.scheduler().join(options, listener)) throw std::logic_error("no place for a session");
  engine.run(stop);
  if (listener.result.error) std::rethrow_exception(listener.result.error);
  return {std::move(listener.tokens), listener.result};
}

// All rows of logits of one causal pass.
inline std::vector<float> score(engine::Engine& engine, const std::vector<std::int32_t>& tokens) {
  Listener listener({});
  exec::SessionOptions options;
  options.prompt = tokens;
  options.most_tokens = 0;
  options.prompt_rows = true;
  if (!engine.scheduler().join(options, listener)) throw std::logic_error("no place for a session");
  engine.run(kNeverStop);
  if (listener.result.error) std::rethrow_exception(listener.result.error);
  return std::move(listener.rows);
}

// The states behind the last layer, of all tokens or of the last.
inline std::vector<float> states(engine::Engine& engine, const std::vector<std::int32_t>& tokens, exec::States which) {
  Listener listener({});
  exec::SessionOptions options;
  options.prompt = tokens;
  options.most_tokens = 0;
  options.states = which;
  if (!engine.scheduler().join(options, listener)) throw std::logic_error("no place for a session");
  engine.run(kNeverStop);
  if (listener.result.error) std::rethrow_exception(listener.result.error);
  return std::move(listener.states);
}

}  // namespace loadline::test

// A device without kernels: its cache holds the tokens themselves, and the logits of a position say which token follows
// from all that its sequence sees. Whoever mixes up pages, positions or rows gets another text.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

#include "exec/executor.h"
#include "exec/scheduler.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"
#include "speculate/drafter.h"

namespace loadline::test {

using exec::Token;
constexpr std::uint32_t kPage = quant::kKvPageCells;
constexpr std::uint32_t kVocabulary = 97;

// What follows a text.
inline Token token_after(std::span<const Token> text) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a
  for (const Token token : text) hash = (hash ^ static_cast<std::uint32_t>(token)) * 1099511628211U;
  return static_cast<Token>((hash >> 20U) % kVocabulary);
}

// So many tokens that a session draws after the prompt.
inline std::vector<Token> text_after(std::vector<Token> prompt, std::size_t count) {
  std::vector<Token> drawn;
  for (std::size_t i = 0; i < count; ++i) {
    drawn.push_back(token_after(prompt));
    prompt.push_back(drawn.back());
  }
  return drawn;
}

// So many tokens that differ from seed to seed.
inline std::vector<Token> some_text(std::size_t count, std::uint32_t seed) {
  std::vector<Token> text(count);
  std::uint32_t state = seed * 2654435761U + 1;
  for (Token& token : text) {
    state = state * 1664525U + 1013904223U;
    token = static_cast<Token>((state >> 16U) % kVocabulary);
  }
  return text;
}

class FakeDevice final : public backend::Device {
 public:
  FakeDevice(const model::Program& program, const plan::Plan& plan, std::uint32_t first_stage)
      : plan_(plan), first_stage_(first_stage) {
    cells_.assign(plan.shape.context, -1);
    for (const model::Cache& cache : program.caches) {
      if (cache.kind == model::CacheKind::State) states_.assign(plan::states_of(plan.shape), 0);
    }
    if (plan::has_window_pages(program, plan.shape)) {
      window_ = plan::longest_window(program);
      window_cells_.assign(std::size_t{plan::window_pages(program, plan.shape)} * kPage, -1);
    }
    logits_.resize(std::size_t{plan.shape.outputs} * kVocabulary);
    states_told_.resize(plan.shape.outputs);
    hidden_.resize(plan.shape.batch);
    hashes_.resize(plan.shape.batch);
    passes.reserve(100);
  }

  struct Run {
    std::uint32_t count;
    std::uint32_t position;
  };
  struct Pass {
    std::vector<Run> runs;
    std::size_t tokens = 0;
    std::size_t outputs = 0;
    backend::Rounding rounding = backend::Rounding::Fastest;
  };

  void upload(plan::RegionIndex, std::uint64_t, std::uint64_t, std::span<const std::byte>) override {}
  void prepare() override {}
  bool run(std::uint32_t stage, const backend::Batch& batch, const backend::StopFlag& stop) override {
    ++runs;
    noted_ = &batch;
    if (record) note(batch);
    if (stage == first_stage_) std::ranges::copy(batch.tokens, hidden_.begin());
    for (const backend::TokenRun& run : batch.runs) store(run, cells_);
    for (const backend::TokenRun& run : batch.window_runs) {
      store(run, window_cells_);
      see_window(run);
    }
    if (!states_.empty()) {
      for (const backend::TokenRun& run : batch.runs) go_on(run);
    }
    if (during) during();
    while (until_stopped && !stop.load()) std::this_thread::yield();
    if (stop.load()) return false;
    if (unfinished) return false;
    std::size_t row = 0;
    for (const std::uint32_t output : batch.outputs) {
      const auto run = std::ranges::find_if(batch.runs, [&](const backend::TokenRun& one) {
        return output >= one.first_token && output < one.first_token + one.count;
      });
      std::uint64_t hash = 14695981039346656037U;
      for (std::uint32_t i = 0; i <= run->first_position + output - run->first_token; ++i) {
        hash = (hash ^ static_cast<std::uint32_t>(cell(*run, cells_, i))) * 1099511628211U;
      }
      // With states they alone say what came before the pass.
      if (!states_.empty()) hash = hashes_.at(output);
      states_told_[row] = static_cast<float>(run->first_position + output - run->first_token);
      const auto begin = logits_.begin() + static_cast<std::ptrdiff_t>(row++ * kVocabulary);
      std::fill(begin, begin + kVocabulary, 0.0F);
      *(begin + static_cast<std::ptrdiff_t>((hash >> 20U) % kVocabulary)) = 1.0F;
    }
    return true;
  }
  float* crossing(model::ValueId) override { return hidden_.data(); }
  bool copy_page(std::uint32_t from, std::uint32_t to) override {
    if (!copies) return false;
    ++copied;
    std::copy_n(cells_.begin() + from * kPage, kPage, cells_.begin() + to * kPage);
    return true;
  }
  bool copy_window_page(std::uint32_t from, std::uint32_t to) override {
    if (!copies) return false;
    if (window_ > 0) std::copy_n(window_cells_.begin() + from * kPage, kPage, window_cells_.begin() + to * kPage);
    return true;
  }
  const float* logits() override { return logits_.data(); }
  const float* states() override { return states_told_.data(); }
  [[nodiscard]] Bytes allocated() const override { return Bytes(0); }

  // What another one's caches hold.
  void take_caches(const FakeDevice& other) {
    cells_ = other.cells_;
    window_cells_ = other.window_cells_;
    states_ = other.states_;
  }

  // In the middle of every run, when the cells are written and nothing else is; may throw.
  std::function<void()> during;
  bool until_stopped = false;  // no run ends but by its stop
  bool unfinished = false;     // says it did not finish, though nobody stopped it
  bool copies = true;
  bool record = true;
  std::size_t runs = 0;
  std::size_t copied = 0;
  std::vector<Pass> passes;

 private:
  static std::size_t place(const backend::TokenRun& run, std::uint32_t position) {
    return std::size_t{run.pages[position / kPage]} * kPage + position % kPage;
  }
  static Token cell(const backend::TokenRun& run, const std::vector<Token>& cells, std::uint32_t position) {
    return cells.at(place(run, position));
  }
  void store(const backend::TokenRun& run, std::vector<Token>& cells) const {
    for (std::uint32_t t = 0; t < run.count; ++t) {
      cells.at(place(run, run.first_position + t)) = static_cast<Token>(hidden_.at(run.first_token + t));
    }
  }
  // What the run's tokens see of their window must be what the full cache has.
  void see_window(const backend::TokenRun& run) const {
    const auto full = std::ranges::find(noted_->runs, run.first_token, &backend::TokenRun::first_token);
    const std::uint32_t first = run.first_position < window_ ? 0 : run.first_position - window_ + 1;
    for (std::uint32_t i = first; i < run.first_position + run.count; ++i) {
      ASSERT_EQ(cell(run, window_cells_, i), cell(*full, cells_, i)) << "position " << i;
    }
  }
  // A state is the hash of all tokens so far.
  void go_on(const backend::TokenRun& run) {
    std::uint64_t hash = run.first_position == 0 ? 14695981039346656037U : states_.at(run.state);
    for (std::uint32_t t = 0; t < run.count; ++t) {
      const auto token = static_cast<std::uint32_t>(static_cast<Token>(hidden_.at(run.first_token + t)));
      hash = (hash ^ token) * 1099511628211U;
      hashes_.at(run.first_token + t) = hash;
    }
    states_.at(run.state_after) = hash;
  }
  void note(const backend::Batch& batch) {
    Pass pass{{}, batch.tokens.size(), batch.outputs.size(), batch.rounding};
    for (const backend::TokenRun& run : batch.runs) pass.runs.push_back({run.count, run.first_position});
    passes.push_back(pass);
  }

  const plan::Plan& plan_;
  std::uint32_t first_stage_;
  std::vector<Token> cells_;
  std::vector<Token> window_cells_;
  std::uint32_t window_ = 0;
  std::vector<std::uint64_t> states_;
  std::vector<std::uint64_t> hashes_;  // of the pass's tokens
  const backend::Batch* noted_ = nullptr;
  std::vector<float> logits_;
  std::vector<float> states_told_;  // [outputs]: the token's position
  std::vector<float> hidden_;       // a token id for each token
};

struct FakeShape {
  std::uint32_t context = 8 * kPage;
  std::uint32_t sequences = 4;
  std::uint32_t batch = 64;
  std::uint32_t outputs = 8;
  double prompt_rate = 1000;  // tokens/s, predicted
  double generation_rate = 100;
  std::uint32_t devices = 1;  // with a stage each
  std::uint32_t window = 0;   // some layers' tokens see so many positions
  bool states = false;        // some layers keep a state
};

// A model of one group on each device, and an executor and a scheduler on top.
struct FakeModel {
  explicit FakeModel(const FakeShape& shape = {}, exec::SchedulerOptions options = {.learn = false},
                     std::uint32_t overlap_from = exec::kOverlapFrom) {
    program.config.vocabulary = kVocabulary;
    program.config.embedding = 1;
    program.values = {{"hidden", 1}};
    program.ropes.emplace_back();
    plan.shape.context = shape.context;
    plan.shape.sequences = shape.sequences;
    plan.shape.batch = shape.batch;
    plan.shape.outputs = shape.outputs;
    plan.prediction.prompt_rate = shape.prompt_rate;
    plan.prediction.generation_rate = shape.generation_rate;
    if (shape.window > 0) program.caches.push_back({.kind = model::CacheKind::Window, .window = shape.window});
    if (shape.states) program.caches.push_back({.kind = model::CacheKind::State, .state = 1});
    std::vector<backend::Device*> pointers;
    for (std::uint32_t i = 0; i < shape.devices; ++i) {
      model::Group group{};
      group.ops.emplace_back(model::ops::Scale{}, std::vector{model::kHidden}, std::vector{model::kHidden});
      program.groups.push_back(group);
      plan.stages.push_back({i, i, 1});
      devices.push_back(std::make_unique<FakeDevice>(program, plan, 0));
      pointers.push_back(devices.back().get());
    }
    executor = std::make_unique<exec::Executor>(program, plan, pointers, std::span<const std::vector<float>>(), nullptr,
                                                overlap_from);
    scheduler = std::make_unique<exec::Scheduler>(*executor, std::move(options));
  }
  FakeDevice& device() { return *devices.front(); }

  model::Program program;
  plan::Plan plan;
  std::vector<std::unique_ptr<FakeDevice>> devices;
  std::unique_ptr<exec::Executor> executor;
  std::unique_ptr<exec::Scheduler> scheduler;
};

// Takes the likeliest token, keeps what it was told, and allocates nothing when `keep` is false.
class FakeClient : public exec::SessionClient {
 public:
  explicit FakeClient(std::vector<Token> prompt, bool keep_all = true) : keep(keep_all), prompt_(std::move(prompt)) {
    text.reserve(1024);
  }

  Token draw(std::span<const float> logits) override {
    return static_cast<Token>(std::ranges::max_element(logits) - logits.begin());
  }
  bool is_end(Token token) override { return token == end_token; }
  bool take(Token token) override {
    if (keep) text.push_back(token);
    if (on_take) on_take();
    return text.size() != enough;
  }
  void prompt_read(std::size_t done, std::size_t all) override {
    read.assign({done, all});
    if (on_prompt) on_prompt();
  }
  void prompt_row(std::size_t index, std::span<const float> logits) override {
    EXPECT_EQ(index, rows.size());
    rows.push_back(static_cast<Token>(std::ranges::max_element(logits) - logits.begin()));
  }
  void ended(const exec::SessionResult& now) noexcept override {
    ++endings;
    result = now;
  }

  [[nodiscard]] const std::vector<Token>& prompt() const { return prompt_; }
  [[nodiscard]] exec::SessionOptions options(std::int64_t most = -1) const {
    exec::SessionOptions options;
    options.prompt = prompt_;
    options.most_tokens = most;
    return options;
  }

  bool keep;
  Token end_token = -1;
  std::size_t enough = 0;
  std::function<void()> on_take;
  std::function<void()> on_prompt;
  std::vector<Token> text;
  std::vector<Token> rows;
  std::vector<std::size_t> read{0, 0};
  int endings = 0;
  exec::SessionResult result;

 private:
  std::vector<Token> prompt_;
};

// Guesses what will be drawn, but for every `wrong`th token of a guess.
class Oracle final : public speculate::Drafter {
 public:
  explicit Oracle(std::size_t wrong, std::size_t most = 16) : wrong_(wrong), most_(most) { text_.reserve(4096); }
  void append(std::span<const Token> tokens) noexcept override {
    text_.insert(text_.end(), tokens.begin(), tokens.end());
  }
  std::span<const Token> draft(std::size_t most) noexcept override {
    asked = most;
    draft_ = text_after(text_, std::min(most, most_));
    for (std::size_t i = wrong_ - 1; i < draft_.size(); i += wrong_) draft_[i] = (draft_[i] + 1) % kVocabulary;
    return draft_;
  }
  void judge(std::size_t right) noexcept override { judged += right; }
  void reset() noexcept override { text_.clear(); }
  std::size_t asked = 0;
  std::size_t judged = 0;

 private:
  std::size_t wrong_, most_;
  std::vector<Token> text_;
  std::vector<Token> draft_;
};

inline void run_all(exec::Scheduler& scheduler) {
  for (int i = 0; scheduler.step(); ++i) ASSERT_LT(i, 100000) << "sessions that never end";
}

inline void expect_text(const FakeClient& client, std::size_t count) {
  EXPECT_EQ(client.text, text_after(client.prompt(), count));
}

}  // namespace loadline::test

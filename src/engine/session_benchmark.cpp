#include "engine/session_benchmark.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "base/error.h"
#include "quant/kv_page.h"

namespace loadline::engine {
namespace {

using Clock = std::chrono::steady_clock;

// Tokens for a session alone before another joins, so that its gap alone is known.
constexpr std::uint32_t kAlone = 16;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Says tokens that nobody asked the model for, and notes when each was drawn.
class Speaker final : public exec::SessionClient {
 public:
  Speaker(std::vector<Token> prompt, std::uint32_t vocabulary, std::size_t most)
      : prompt_(std::move(prompt)), vocabulary_(vocabulary) {
    times_.reserve(most);
  }
  Token draw(std::span<const float> /*logits*/) override {
    return static_cast<Token>((7 * times_.size() + 1) % vocabulary_);
  }
  bool take(Token /*token*/) override {
    times_.push_back(Clock::now());
    return !enough_;
  }
  void ended(const exec::SessionResult& result) noexcept override { result_ = result; }

  void join(Engine& engine, std::int64_t most_tokens) {
    exec::SessionOptions options;
    options.prompt = prompt_;
    options.most_tokens = most_tokens;
    if (!engine.scheduler().join(options, *this)) throw Error(ErrorCode::Internal, "no place is left for a session");
  }
  void has_enough() { enough_ = true; }
  void rethrow() const {
    if (result_.error) std::rethrow_exception(result_.error);
  }
  [[nodiscard]] const std::vector<Clock::time_point>& times() const { return times_; }
  [[nodiscard]] const exec::SessionResult& result() const { return result_; }

 private:
  std::vector<Token> prompt_;
  std::uint32_t vocabulary_;
  std::vector<Clock::time_point> times_;
  bool enough_ = false;
  exec::SessionResult result_;
};

double longest_gap(std::span<const Clock::time_point> times) {
  double longest = 0;
  for (std::size_t i = 1; i < times.size(); ++i) longest = std::max(longest, seconds(times[i] - times[i - 1]));
  return longest;
}

class SessionBench {
 public:
  SessionBench(Engine& engine, const SessionBenchmarkOptions& options, const StopFlag& stop)
      : engine_(engine), options_(options), stop_(stop) {}

  std::optional<SessionBenchmarkResult> run() {
    SessionBenchmarkResult result;
    if (!alone(result) || !together(result) || !beside(result)) return std::nullopt;
    return result;
  }

 private:
  // No two texts of a benchmark begin alike but those that are meant to.
  std::vector<Token> text(std::size_t count) {
    std::mt19937 random(++texts_);
    std::vector<Token> tokens(count);
    for (Token& token : tokens) token = static_cast<Token>(random() % vocabulary());
    return tokens;
  }
  [[nodiscard]] std::uint32_t vocabulary() const { return engine_.program().config.vocabulary; }
  bool finish() {
    engine_.run(stop_);
    return !stop_.load(std::memory_order_relaxed);
  }

  bool alone(SessionBenchmarkResult& result) {
    Speaker reader(text(options_.prompt), vocabulary(), 1);
    reader.join(engine_, 1);
    if (!finish()) return false;
    reader.rethrow();
    result.prompt_rate = options_.prompt / reader.result().prompt_seconds;
    Speaker one(text(options_.common + options_.own), vocabulary(), options_.generate);
    one.join(engine_, options_.generate);
    if (!finish()) return false;
    one.rethrow();
    result.alone_rate = static_cast<double>(one.result().generated_tokens - 1) / one.result().generation_seconds;
    return true;
  }

  // The rate is that of the time in which all of them generate.
  bool together(SessionBenchmarkResult& result) {
    const std::vector<Token> common = text(options_.common);
    std::vector<std::unique_ptr<Speaker>> speakers;
    for (std::uint32_t i = 0; i < options_.sessions; ++i) {
      std::vector<Token> prompt = common;
      const std::vector<Token> own = text(options_.own);
      prompt.insert(prompt.end(), own.begin(), own.end());
      prompt[options_.common] = static_cast<Token>(i % vocabulary());
      speakers.push_back(std::make_unique<Speaker>(std::move(prompt), vocabulary(), 4 * options_.generate));
      speakers.back()->join(engine_, -1);
    }
    const auto all_have = [&](std::size_t tokens) {
      return std::ranges::all_of(speakers, [&](const auto& s) { return s->times().size() >= tokens; });
    };
    while (!stop_.load(std::memory_order_relaxed) && !all_have(1) && engine_.scheduler().step(&stop_)) {
    }
    std::size_t before = 0;
    for (const auto& speaker : speakers) before += speaker->times().size();
    const auto start = Clock::now();
    for (std::uint32_t i = 1; i < options_.generate && !stop_.load(std::memory_order_relaxed); ++i) {
      engine_.scheduler().step(&stop_);
    }
    const double took = seconds(Clock::now() - start);
    std::size_t after = 0;
    for (const auto& speaker : speakers) {
      after += speaker->times().size();
      speaker->has_enough();
    }
    if (!finish()) return false;
    for (const auto& speaker : speakers) {
      speaker->rethrow();
      result.prompt_tokens += speaker->result().prompt_tokens;
      result.computed_tokens += speaker->result().prompt_tokens - speaker->result().shared_tokens;
    }
    result.together_rate = static_cast<double>(after - before) / took;
    return true;
  }

  bool beside(SessionBenchmarkResult& result) {
    Speaker speaker(text(options_.own), vocabulary(), options_.generate + kAlone + options_.prompt);
    speaker.join(engine_, -1);
    exec::Scheduler& scheduler = engine_.scheduler();
    while (!stop_.load(std::memory_order_relaxed) && speaker.times().size() <= kAlone && scheduler.step(&stop_)) {
    }
    result.gap_alone = longest_gap(speaker.times());
    const std::size_t from = speaker.times().size();
    Speaker reader(text(options_.prompt), vocabulary(), 1);
    reader.join(engine_, 1);
    while (!stop_.load(std::memory_order_relaxed) && reader.times().empty() && scheduler.step(&stop_)) {
    }
    speaker.has_enough();
    if (!finish()) return false;
    speaker.rethrow();
    reader.rethrow();
    result.gap_beside = longest_gap(std::span(speaker.times()).subspan(from - 1));
    result.tokens_beside = speaker.times().size() - from;
    return true;
  }

  Engine& engine_;
  const SessionBenchmarkOptions& options_;
  const StopFlag& stop_;
  std::uint32_t texts_ = 0;
};

}  // namespace

std::uint32_t sequences_needed(const SessionBenchmarkOptions& options) { return std::max(options.sessions, 2U); }

std::uint32_t context_needed(const SessionBenchmarkOptions& options) {
  const auto pages = [](std::uint32_t cells) {
    return (cells + quant::kKvPageCells - 1) / quant::kKvPageCells * quant::kKvPageCells;
  };
  // Sessions that began earlier go on while the others' prompts are read.
  const std::uint32_t together = options.sessions * pages(options.common + options.own + 4 * options.generate);
  // Where passes are short the one that generates beside gets a token for each few of the prompt.
  const std::uint32_t beside = pages(options.prompt + 1) + pages(options.own + kAlone + options.prompt);
  return std::max(together, beside);
}

std::optional<SessionBenchmarkResult> benchmark_sessions(Engine& engine, const SessionBenchmarkOptions& options,
                                                         const StopFlag& stop) {
  return SessionBench(engine, options, stop).run();
}

}  // namespace loadline::engine

#include "engine/benchmark.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "quant/format.h"
#include "quant/kv_page.h"

namespace loadline::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<Token> random_tokens(std::size_t count, std::uint32_t vocabulary, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % vocabulary);
  return tokens;
}

// Says the tokens it was given, whatever the model would.
class Reciter final : public exec::SessionClient {
 public:
  explicit Reciter(std::vector<Token> text) : text_(std::move(text)) {}
  Token draw(std::span<const float> /*logits*/) override { return text_[drawn_++ % text_.size()]; }
  bool take(Token /*token*/) override { return true; }
  void ended(const exec::SessionResult& result) noexcept override {
    if (result.error) failure_ = result.error;
  }

  [[nodiscard]] std::span<const Token> text(std::size_t count) const { return std::span(text_).first(count); }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::vector<Token> text_;
  std::size_t drawn_ = 0;
  std::exception_ptr failure_;
};

class Bench {
 public:
  Bench(Engine& engine, const BenchmarkOptions& options, const StopFlag& stop)
      : engine_(engine), options_(options), stop_(stop) {
    // Each text begins otherwise, so that none shares another's cells.
    const std::size_t length = options.depth + std::max(options.prompt, 1U);
    for (std::uint32_t s = 0; s < most_sequences(options); ++s) {
      texts_.emplace_back(random_tokens(length, engine.program().config.vocabulary, s + 1));
    }
  }

  // Tokens per second, or nothing when stopped.
  std::optional<double> prompt() { return once(1, options_.prompt, 1, options_.prompt); }
  // The first of the tokens comes from a pass of one token too, behind what is there already.
  std::optional<double> generation(std::uint32_t sequences) {
    return once(sequences, 1, options_.generate, options_.generate);
  }

  // The share of the last run's time that the device was at work.
  [[nodiscard]] double busy(plan::DeviceIndex device) const { return busy_[device]; }

 private:
  // Sessions that read so many tokens behind the depth and generate so many; `counted` of each are what is measured.
  std::optional<double> once(std::uint32_t sequences, std::uint32_t read, std::uint32_t generated,
                             std::uint32_t counted) {
    if (options_.depth > 0) {
      join(sequences, 1, 0);
      if (!finish()) return std::nullopt;
    }
    for (plan::DeviceIndex i = 0; i < busy_.size(); ++i) busy_[i] = engine_.executor().busy_seconds(i);
    const auto start = Clock::now();
    join(sequences, read, generated);
    if (!finish()) return std::nullopt;
    const double seconds = seconds_since(start);
    for (plan::DeviceIndex i = 0; i < busy_.size(); ++i) {
      busy_[i] = (engine_.executor().busy_seconds(i) - busy_[i]) / seconds;
    }
    return static_cast<double>(counted) * sequences / seconds;
  }

  void join(std::uint32_t sequences, std::uint32_t read, std::uint32_t generated) {
    for (std::uint32_t s = 0; s < sequences; ++s) {
      exec::SessionOptions session;
      session.prompt = texts_[s].text(options_.depth + read);
      session.most_tokens = generated;
      session.most_shared = options_.depth;
      engine_.scheduler().join(session, texts_[s]);
    }
  }
  bool finish() {
    engine_.run(stop_);
    for (const Reciter& text : texts_) text.rethrow();
    return !stop_.load(std::memory_order_relaxed);
  }

  Engine& engine_;
  const BenchmarkOptions& options_;
  const StopFlag& stop_;
  std::vector<Reciter> texts_;
  std::vector<double> busy_ = std::vector<double>(engine_.plan().scratch.size(), 0.0);  // per device
};

std::string test_name(const char* kind, std::uint32_t count, std::uint32_t depth, std::uint32_t sequences) {
  std::string name = fmt::format("{}{}", kind, count);
  if (depth > 0) name += fmt::format(" @ d{}", depth);
  if (sequences > 1) name += fmt::format(" x{}", sequences);
  return name;
}

// What every device does for passes of `tokens` tokens, per token; nothing where all is the CPU's. `cells` of the cache
// are read for each token.
std::vector<BenchmarkRow::Part> parts_of(Engine& engine, std::uint32_t tokens, double cells, bool with_output) {
  const gguf::Model& model = engine.model();
  const plan::Plan& plan = engine.plan();
  const Bytes cell = kv_bytes_at(engine.program(), plan, 1) / engine.program().config.layers;
  std::vector<BenchmarkRow::Part> parts(plan.scratch.size());
  for (plan::DeviceIndex i = 0; i < parts.size(); ++i) parts[i].device = i;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const model::Group& group = engine.program().groups[g];
    if (group.kind == model::GroupKind::Embedding || (group.kind == model::GroupKind::Output && !with_output)) continue;
    BenchmarkRow::Part& part = parts[plan::device_for(plan, g, tokens)];
    for (const model::Op& op : group.ops) {
      for (const model::TensorUse& use : op.tensors) {
        const gguf::TensorInfo& info = model.tensors[static_cast<std::size_t>(use.tensor)];
        part.bytes_per_token += static_cast<double>(info.size.value) / tokens;
        if (use.role == model::TensorRole::Matrix) part.ops_per_token += 2.0 * static_cast<double>(info.elements());
      }
    }
    if (group.kind == model::GroupKind::Attention) {
      parts[plan.groups[g].device].bytes_per_token += static_cast<double>(cell.value) * cells;
    }
  }
  const auto idle = [](const BenchmarkRow::Part& part) { return part.bytes_per_token == 0; };
  if (std::all_of(parts.begin() + 1, parts.end(), idle)) return {};
  std::erase_if(parts, idle);
  return parts;
}

}  // namespace

double quantile(std::vector<double> values, double q) {
  std::ranges::sort(values);
  const double place = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

std::uint32_t most_sequences(const BenchmarkOptions& options) { return std::ranges::max(options.sequences); }

std::uint32_t context_needed(const BenchmarkOptions& options) {
  const std::uint32_t most = options.generate > 0 ? most_sequences(options) : 1;
  // A page more for each: the one that the depth ends in is copied before more is written to it.
  return (options.depth + std::max(options.prompt, options.generate) + quant::kKvPageCells) * most;
}

Bytes weight_bytes_per_pass(const gguf::Model& model, const model::Program& program) {
  Bytes total;
  for (const model::Group& group : program.groups) {
    if (group.kind == model::GroupKind::Embedding) continue;  // one row of it
    for (const model::TensorIndex tensor : group.tensors())
      total += model.tensors[static_cast<std::size_t>(tensor)].size;
  }
  return total;
}

Bytes kv_bytes_at(const model::Program& program, const plan::Plan& plan, std::uint32_t position) {
  const model::ModelConfig& config = program.config;
  const Bytes cell =
      quant::size_of(plan.shape.k_type, config.k_width()) + quant::size_of(plan.shape.v_type, config.v_width());
  return cell * config.layers * position;
}

double matmul_ops_per_token(const gguf::Model& model, const model::Program& program, bool with_output) {
  double total = 0;
  for (const model::Group& group : program.groups) {
    if (group.kind == model::GroupKind::Output && !with_output) continue;
    for (const model::Op& op : group.ops) {
      for (const model::TensorUse& use : op.tensors) {
        if (use.role != model::TensorRole::Matrix) continue;
        total += 2.0 * static_cast<double>(model.tensors[static_cast<std::size_t>(use.tensor)].elements());
      }
    }
  }
  return total;
}

std::vector<BenchmarkRow> benchmark(Engine& engine, const BenchmarkOptions& options, const StopFlag& stop,
                                    const std::function<void(std::size_t test)>& between) {
  Bench bench(engine, options, stop);
  const double weights = static_cast<double>(weight_bytes_per_pass(engine.model(), engine.program()).value);
  std::vector<BenchmarkRow> rows;
  const auto measure = [&](BenchmarkRow row, auto&& once) {
    if (!once()) return;  // the first run pages in, warms up and is not counted
    if (between) between(rows.size());
    for (std::uint32_t i = 0; i < options.repeats; ++i) {
      const std::optional<double> rate = once();
      if (!rate) return;
      row.rates.push_back(*rate);
      if (between) between(rows.size());
    }
    row.median = quantile(row.rates, 0.5);
    row.spread = (quantile(row.rates, 0.75) - quantile(row.rates, 0.25)) / 2;
    for (BenchmarkRow::Part& part : row.parts) part.busy = bench.busy(part.device);
    rows.push_back(std::move(row));
  };
  if (options.prompt > 0) {
    BenchmarkRow row;
    row.test = test_name("pp", options.prompt, options.depth, 1);
    const std::uint32_t batch = engine.plan().shape.batch;
    const std::uint32_t passes = (options.prompt + batch - 1) / batch;
    row.bytes_per_token = weights * passes / options.prompt;
    // The output matrix is multiplied for the last token only.
    row.ops_per_token = matmul_ops_per_token(engine.model(), engine.program(), false);
    row.parts = parts_of(engine, std::min(batch, options.prompt), 0, false);
    measure(std::move(row), [&] { return bench.prompt(); });
  }
  for (const std::uint32_t sequences : options.sequences) {
    if (options.generate == 0) break;
    BenchmarkRow row;
    row.test = test_name("tg", options.generate, options.depth, sequences);
    const Bytes kv = kv_bytes_at(engine.program(), engine.plan(), options.depth + options.generate / 2);
    row.bytes_per_token = weights / sequences + static_cast<double>(kv.value);
    row.ops_per_token = matmul_ops_per_token(engine.model(), engine.program(), true);
    row.parts = parts_of(engine, sequences, options.depth + options.generate / 2.0, true);
    measure(std::move(row), [&] { return bench.generation(sequences); });
  }
  return rows;
}

}  // namespace loadline::engine

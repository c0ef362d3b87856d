#include "backend/cpu/expert_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "backend/cpu/kernel_cases.h"
#include "backend/cpu/steps.h"
#include "base/thread_pool.h"

namespace loadline::cpu::test {
namespace {

// Runs steps as a device does.
void run_all(const std::vector<Step>& steps, const backend::Batch& batch, int threads) {
  ThreadPool pool(threads);
  WorkShares shares(threads);
  std::vector<WorkQueue> queues(steps.size());
  const StopFlag stop{false};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  const Pass pass{&batch, &stop, &kernels(), threads, &shares, nullptr, &failed, &error};
  renew_shares(shares, threads);
  pool.run([&](int thread) noexcept {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      run_step(steps[i], i, pass, queues[i], thread);
      pool.barrier().wait();
    }
  });
}

// All of an Experts operation's matrices, of random numbers, and memory for its steps.
struct Experts {
  struct Options {
    std::uint32_t experts = 12, used = 3, width = 64, hidden = 48;
    TensorType type = TensorType::F32;
    bool gated = true, fused = false, biases = false, scales = false, weights_before = false;
    Activation function = {ActivationFunction::Silu};
  };

  Experts(Options options, std::uint32_t tokens, int threads, Random& random)
      : o(options),
        rows(tokens * o.used),
        gate_rows(o.fused ? 2 * o.hidden : o.hidden),
        gate(o.type, o.experts * gate_rows, o.width, Style::Normal, random),
        up(o.type, o.experts * o.hidden, o.width, Style::Normal, random),
        down(o.type, o.experts * o.width, o.hidden, Style::Normal, random),
        x(random_activations(tokens, o.width, Style::Normal, random)),
        gate_bias(random_activations(o.experts, gate_rows, Style::Normal, random)),
        up_bias(random_activations(o.experts, o.hidden, Style::Normal, random)),
        down_bias(random_activations(o.experts, o.width, Style::Normal, random)),
        scale(random_activations(1, o.experts, Style::Normal, random)),
        prepared(quant::activation_bytes(kind(), o.width, tokens).value),
        gathered(quant::activation_bytes(kind(), o.width, rows).value),
        hidden(quant::activation_bytes(kind(), o.hidden, rows).value),
        gate_out(rows * (o.hidden + 32)),
        up_out(rows * (o.hidden + 32)),
        results(std::min(tokens, kFewExpertTokens) * o.used * (o.width + 32)),
        workspace(static_cast<std::size_t>(threads) * tokens * kExpertStride),
        out(tokens * o.width, -777.0F),
        tables(3 * o.experts + 2 + 3 * rows),
        weights(rows),
        chosen(rows) {
    std::vector<std::int32_t> order(o.experts);
    std::iota(order.begin(), order.end(), 0);
    for (std::uint32_t t = 0; t < tokens; ++t) {
      std::shuffle(order.begin(), order.end(), random);
      for (std::uint32_t i = 0; i < o.used; ++i) {
        chosen[t * o.used + i] = {order[i], std::uniform_real_distribution<float>(0.1F, 1)(random)};
      }
    }
    slot.experts = o.experts;
    slot.used = o.used;
    slot.chosen = chosen.data();
    std::uint32_t* free = tables.data();
    const auto take = [&](std::uint32_t count) { return std::exchange(free, free + count); };
    slot.tables = {take(o.experts + 1), take(o.experts), take(1), take(rows), take(rows), weights.data(), take(rows)};
    slot.x = x.data();
    slot.width = o.width;
    slot.inputs[0] = {kind(), prepared.data(), gathered.data()};
    slot.input_count = 1;
    slot.gated = o.gated;
    const std::uint32_t up_first = o.fused ? o.hidden : 0;
    const TestMatrix& up_matrix = o.fused ? gate : up;
    slot.gate = {{gate.matrix(), 0, gate_rows, o.hidden}, bias(gate_bias), gate_rows, factor()};
    slot.up = {{up_matrix.matrix(), up_first, o.fused ? gate_rows : o.hidden, o.hidden},
               o.biases ? (o.fused ? gate_bias.data() + up_first : up_bias.data()) : nullptr,
               o.fused ? gate_rows : o.hidden,
               factor()};
    slot.down = {{down.matrix(), 0, o.width, o.width}, bias(down_bias), o.width, factor()};
    slot.gate_out = gate_out.data();
    slot.up_out = up_out.data();
    slot.function = o.function;
    slot.weights_before = o.weights_before;
    slot.hidden_kind = kind();
    slot.hidden = hidden.data();
    slot.results = results.data();
    slot.workspace = workspace.data();
    slot.workspace_floats = std::size_t{tokens} * kExpertStride;
    slot.out = out.data();
    slot.out_width = o.width;
    slot.after_select = false;
  }

  [[nodiscard]] quant::ActivationKind kind() const { return quant::activation_kind(o.type); }
  [[nodiscard]] const float* bias(const std::vector<float>& values) const { return o.biases ? values.data() : nullptr; }
  [[nodiscard]] const float* factor() const { return o.scales ? scale.data() : nullptr; }

  void run(std::uint32_t tokens, int threads, backend::Rounding rounding = backend::Rounding::Fastest) {
    const std::vector<std::int32_t> ids(tokens);
    const backend::Batch batch{ids, {}, {}, {}, rounding};
    std::vector<Step> steps;
    for (const auto phase : {ExpertsStep::Phase::Begin, ExpertsStep::Phase::Gather, ExpertsStep::Phase::Up,
                             ExpertsStep::Phase::Hidden, ExpertsStep::Phase::Down, ExpertsStep::Phase::Sum}) {
      steps.emplace_back(ExpertsStep{phase, &slot});
    }
    run_all(steps, batch, threads);
  }

  // In double, of one token.
  [[nodiscard]] std::vector<double> expected(std::uint32_t t) const {
    std::vector<double> sum(o.width, 0.0);
    for (std::uint32_t i = 0; i < o.used; ++i) {
      const auto e = static_cast<std::uint32_t>(chosen[t * o.used + i].expert);
      const double weight = chosen[t * o.used + i].weight;
      const double before = o.weights_before ? weight : 1;
      const double times = o.scales ? scale[e] : 1;
      const auto product = [&](const TestMatrix& m, std::uint64_t row) {
        double value = 0;
        for (std::uint32_t c = 0; c < o.width; ++c) value += double{m.values[row * o.width + c]} * x[t * o.width + c];
        return value * times * before;
      };
      std::vector<double> inner(o.hidden);
      for (std::uint32_t r = 0; r < o.hidden; ++r) {
        double u = o.fused ? product(gate, e * gate_rows + o.hidden + r) : product(up, e * o.hidden + r);
        double g = product(gate, e * gate_rows + r);
        if (o.biases) {
          u += o.fused ? gate_bias[e * gate_rows + o.hidden + r] : up_bias[e * o.hidden + r];
          g += gate_bias[e * gate_rows + r];
        }
        const double base = o.gated ? g : u;
        inner[r] = base / (1 + std::exp(-base)) * (o.gated ? u : 1);
      }
      for (std::uint32_t r = 0; r < o.width; ++r) {
        double value = 0;
        for (std::uint32_t c = 0; c < o.hidden; ++c) value += down.values[(e * o.width + r) * o.hidden + c] * inner[c];
        value *= times;
        if (o.biases) value += down_bias[e * o.width + r];
        sum[r] += o.weights_before ? value : weight * value;
      }
    }
    return sum;
  }

  void expect_agreement(std::uint32_t tokens, double share) const {
    for (std::uint32_t t = 0; t < tokens; ++t) {
      const std::vector<double> row = expected(t);
      double largest = 0;
      for (const double value : row) largest = std::max(largest, std::fabs(value));
      for (std::uint32_t c = 0; c < o.width; ++c) {
        ASSERT_NEAR(out[t * o.width + c], row[c], share * largest)
            << "token " << t << " of " << tokens << " value " << c;
      }
    }
  }

  Options o;
  std::uint32_t rows, gate_rows;
  TestMatrix gate, up, down;
  std::vector<float> x, gate_bias, up_bias, down_bias, scale;
  Buffer prepared, gathered, hidden;
  std::vector<float> gate_out, up_out, results, workspace, out;
  std::vector<std::uint32_t> tables;
  std::vector<float> weights;
  std::vector<ChosenExpert> chosen;
  ExpertsSlot slot{};
};

TEST(ExpertSteps, add_up_what_the_chosen_experts_make_of_few_tokens_and_of_many) {
  Random random(3);
  const Experts::Options cases[] = {
      {},
      {.gated = false},
      {.fused = true, .biases = true},
      {.biases = true, .scales = true},
      {.weights_before = true},
      {.hidden = 40, .biases = true},
      {.hidden = 56, .fused = true},
      {.experts = 7, .hidden = 9},
      {.experts = 7, .width = 40, .biases = true},
      {.experts = 5, .used = 4, .width = 201, .hidden = 40},
      {.experts = 5, .used = 5, .width = 272, .hidden = 320, .biases = true},
  };
  for (const Experts::Options& options : cases) {
    for (const std::uint32_t tokens : {1U, 2U, 7U, 8U, 9U, 40U}) {
      for (const int threads : {1, 3}) {
        Experts experts(options, tokens, threads, random);
        experts.run(tokens, threads);
        experts.expect_agreement(tokens, 1e-5);
      }
    }
  }
}

TEST(ExpertSteps, multiply_quantised_experts_with_activations_in_8_bits) {
  Random random(4);
  for (const std::uint32_t tokens : {1U, 3U, 20U}) {
    Experts experts({.width = 512, .hidden = 256, .type = TensorType::Q8_0}, tokens, 2, random);
    experts.run(tokens, 2);
    experts.expect_agreement(tokens, 0.03);
  }
}

TEST(ExpertSteps, give_the_same_for_any_number_of_threads_and_as_alone_in_any_batch) {
  Random random(5);
  const std::uint32_t tokens = 20;
  Experts many({.width = 512, .hidden = 256, .type = TensorType::Q8_0}, tokens, 3, random);
  many.run(tokens, 1, backend::Rounding::AsAlone);
  const std::vector<float> once = many.out;
  many.run(tokens, 3, backend::Rounding::AsAlone);
  EXPECT_EQ(many.out, once);
  // Its last token, in a batch of its own.
  const std::uint32_t last = tokens - 1;
  many.slot.x += last * many.o.width;
  many.slot.chosen += last * many.o.used;
  many.run(1, 2);
  EXPECT_TRUE(std::equal(once.end() - many.o.width, once.end(), many.out.begin()));
}

TEST(HeadLinear, multiplies_each_head_with_its_own_matrix_and_copies_the_rest) {
  Random random(6);
  constexpr std::uint32_t kHeads = 3, kColumns = 32, kCopied = 5;
  for (const std::uint32_t tokens : {1U, 4U, 30U}) {
    for (const auto& [transposed, kRows] : {std::pair{false, 48U}, {false, 40U}, {true, 48U}}) {
      // Of each head's rows of the tensor, those that are used come after 16 others.
      const std::uint32_t used = transposed ? kColumns : kRows;
      const std::uint32_t length = transposed ? kRows : kColumns;
      const TestMatrix weights(TensorType::F32, kHeads * (used + 16), length, Style::Normal, random);
      const std::vector<float> x = random_activations(tokens, kHeads * (kColumns + kCopied), Style::Normal, random);
      std::vector<float> out(tokens * kHeads * (kRows + kCopied), -777.0F);
      const Buffer prepared(kHeads * quant::activation_bytes(quant::ActivationKind::Float32, kColumns, tokens).value);
      HeadLinearStep step{};
      step.weights = {weights.matrix(), 16, used + 16, used};
      step.heads = kHeads;
      step.columns = kColumns;
      step.rows = kRows;
      step.copied = kCopied;
      step.transposed = transposed;
      step.kind = quant::ActivationKind::Float32;
      step.prepared = prepared.data();
      step.x = x.data();
      step.out = out.data();
      std::vector<Step> steps;
      for (const auto phase : {HeadLinearStep::Phase::Prepare, HeadLinearStep::Phase::Multiply}) {
        step.phase = phase;
        steps.emplace_back(step);
      }
      const std::vector<std::int32_t> ids(tokens);
      run_all(steps, {ids, {}, {}, {}}, 2);
      for (std::uint32_t item = 0; item < tokens * kHeads; ++item) {
        const std::uint32_t head = item % kHeads;
        const float* in = x.data() + item * (kColumns + kCopied);
        const float* got = out.data() + item * (kRows + kCopied);
        for (std::uint32_t r = 0; r < kRows; ++r) {
          double expected = 0;
          for (std::uint32_t c = 0; c < kColumns; ++c) {
            const std::uint32_t row = 16 + head * (used + 16) + (transposed ? c : r);
            expected += double{in[c]} * weights.values[row * length + (transposed ? r : c)];
          }
          ASSERT_NEAR(got[r], expected, 1e-4) << tokens << " tokens, head " << head;
        }
        for (std::uint32_t i = 0; i < kCopied; ++i) ASSERT_EQ(got[kRows + i], in[kColumns + i]);
      }
    }
  }
}

}  // namespace
}  // namespace loadline::cpu::test

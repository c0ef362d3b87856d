// The shaders of layers that keep a state for each sequence, each alone, against plain loops in double.
#include <fmt/format.h>

#include <cmath>

#include "model/operations.h"
#include "selftest/checks.h"
#include "selftest/workbench.h"

namespace loadline::selftest {
namespace {

using vulkan::Buffer;
using vulkan::CommandList;

// As run.glsl has it: the tokens of one sequence, and where its state is read and left.
struct StateRun {
  std::uint32_t first, count, position, state, state_after;
};
// One that begins, one that leaves its state where it was, one that leaves it elsewhere.
const std::vector<StateRun> kStateRuns = {{0, 3, 0, 0, 0}, {3, 1, 5, 2, 2}, {4, 5, 7, 1, 3}};
constexpr std::uint32_t kStateTokens = 9;
constexpr std::uint32_t kStatePlaces = 4;

double softplus(double x) { return x > 30 ? x : std::log1p(std::exp(x)); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }

Buffer table_of_runs(Workbench& bench) {
  return bench.buffer(std::vector<std::uint32_t>{kStateTokens, 0, 0, static_cast<std::uint32_t>(kStateRuns.size())});
}

// States before and after, as doubles: each place of `size` values.
class States {
 public:
  States(std::size_t size, Random& random) : size_(size), floats_(random_floats(kStatePlaces * size, random)) {
    // Where a sequence begins nothing may be read.
    for (std::size_t i = 0; i < size; ++i) floats_[i] = std::numeric_limits<float>::quiet_NaN();
    after_.assign(floats_.begin(), floats_.end());
  }
  [[nodiscard]] const Floats& before() const { return floats_; }
  // What the run begins with.
  [[nodiscard]] std::vector<double> of(const StateRun& run) const {
    if (run.position == 0) return std::vector<double>(size_);
    const auto from = std::span(floats_).subspan(run.state * size_, size_);
    return {from.begin(), from.end()};
  }
  void leave(const StateRun& run, const std::vector<double>& state) {
    std::ranges::copy(state, after_.begin() + static_cast<std::ptrdiff_t>(run.state_after * size_));
  }
  void compare(const Buffer& seen, Comparison& comparison, std::string_view what) const {
    const auto values = floats_of(seen, after_.size());
    for (std::size_t i = 0; i < after_.size(); ++i) {
      comparison.expect(values[i], after_[i], 1e-4 * (1 + std::fabs(after_[i])), what,
                        static_cast<std::uint32_t>(i / size_), static_cast<std::uint32_t>(i % size_));
    }
  }

 private:
  std::size_t size_;
  Floats floats_;
  std::vector<double> after_;
};

void check_convolution(Subject& subject, Row& row) {
  constexpr std::uint32_t kColumns = 70, kTaps = 4, kKept = kTaps - 1;
  Workbench bench(subject.options);
  Random random(10);
  Comparison comparison;
  for (const bool biased : {true, false}) {
    const Floats x = random_floats(std::size_t{kStateTokens} * kColumns, random);
    const Floats weight = random_floats(std::size_t{kColumns} * kTaps, random);
    const Floats bias = random_floats(kColumns, random);
    States states(std::size_t{kKept} * kColumns, random);
    const Buffer x_buffer = bench.buffer(x);
    const Buffer weight_buffer = bench.buffer(weight);
    const Buffer bias_buffer = bench.buffer(bias);
    const Buffer state_buffer = bench.buffer(states.before());
    const Buffer run_buffer = bench.buffer(kStateRuns);
    const Buffer table = table_of_runs(bench);
    const Buffer out = bench.buffer(x.size() * sizeof(float), 0xFF);
    vulkan::ConvolutionArguments arguments;
    arguments.x = x_buffer.address();
    arguments.result = out.address();
    arguments.weight = weight_buffer.address();
    arguments.bias = biased ? bias_buffer.address() : 0;
    arguments.states = state_buffer.address();
    arguments.runs = run_buffer.address();
    arguments.table = table.address();
    arguments.columns = kColumns;
    arguments.taps = kTaps;
    arguments.function = static_cast<std::uint32_t>(model::Activation::Silu);
    bench.run([&](CommandList& list) {
      bench.operations.convolution(list, arguments, kStateTokens + 1);
      list.barrier();
      arguments.leaves = 1;
      bench.operations.convolution(list, arguments, static_cast<std::uint32_t>(kStateRuns.size()) + 1);
    });
    const auto results = floats_of(out, x.size());
    for (const StateRun& run : kStateRuns) {
      std::vector<double> rows = states.of(run);
      const auto own = std::span(x).subspan(std::size_t{run.first} * kColumns, std::size_t{run.count} * kColumns);
      rows.insert(rows.end(), own.begin(), own.end());
      for (std::uint32_t t = 0; t < run.count; ++t) {
        for (std::uint32_t c = 0; c < kColumns; ++c) {
          double sum = biased ? bias[c] : 0;
          for (std::uint32_t tap = 0; tap < kTaps; ++tap) {
            sum += double{weight[c * kTaps + tap]} * rows[std::size_t{t + tap} * kColumns + c];
          }
          const double wanted = sum * logistic(sum);
          comparison.expect(results[std::size_t{run.first + t} * kColumns + c], wanted, 2e-5 * (1 + std::fabs(wanted)),
                            "a convolution", run.first + t, c);
        }
      }
      states.leave(run, {rows.end() - std::ptrdiff_t{kKept} * kColumns, rows.end()});
    }
    states.compare(state_buffer, comparison, "what a convolution leaves");
  }
  row.said = comparison.text();
}

// In two dispatches, as long runs are cut.
constexpr std::uint32_t kFirstTokens = 2;
template <class Arguments, class Dispatch>
void in_two(Workbench& bench, Arguments arguments, Dispatch dispatch) {
  bench.run([&](CommandList& list) {
    arguments.first = 0;
    arguments.count = kFirstTokens;
    dispatch(list, arguments);
    list.barrier();
    arguments.first = kFirstTokens;
    arguments.count = kStateTokens;
    dispatch(list, arguments);
  });
}

struct DeltaCase {
  static constexpr std::uint32_t kKeyHeads = 2, kValueHeads = 4, kSize = 20;
  static constexpr std::uint32_t kRow = (2 * kKeyHeads + kValueHeads) * kSize;
  bool tiled;
  Floats qkv, beta, decay, dt_bias, rate;

  DeltaCase(bool is_tiled, Random& random)
      : tiled(is_tiled),
        qkv(random_floats(std::size_t{kStateTokens} * kRow, random)),
        beta(random_floats(std::size_t{kStateTokens} * kValueHeads, random)),
        decay(random_floats(beta.size(), random)),
        dt_bias(random_floats(kValueHeads, random)),
        rate(random_floats(kValueHeads, random)) {
    for (float& value : rate) value = -std::fabs(value);
  }
  // The state [size of k][size of v] of a head after the token; what the head makes.
  std::vector<double> step(std::span<double> state, std::uint32_t token, std::uint32_t head) const {
    const std::uint32_t key_head = tiled ? head % kKeyHeads : head / (kValueHeads / kKeyHeads);
    const auto part = [&](std::uint32_t index) {
      const auto own = std::span(qkv).subspan(std::size_t{token} * kRow + std::size_t{index} * kSize, kSize);
      return std::vector<double>(own.begin(), own.end());
    };
    const auto unit = [](std::vector<double> values, double more) {
      double squares = 0;
      for (const double value : values) squares += value * value;
      for (double& value : values) value /= std::sqrt(squares) * more;
      return values;
    };
    const std::vector<double> query = unit(part(key_head), std::sqrt(double{kSize}));
    const std::vector<double> key = unit(part(kKeyHeads + key_head), 1);
    const std::vector<double> value = part(2 * kKeyHeads + head);
    const std::size_t at = std::size_t{token} * kValueHeads + head;
    const double kept = std::exp(softplus(double{decay[at]} + dt_bias[head]) * rate[head]);
    std::vector<double> out(kSize);
    for (double& one : state) one *= kept;
    for (std::uint32_t j = 0; j < kSize; ++j) {
      double known = 0;
      for (std::uint32_t i = 0; i < kSize; ++i) known += key[i] * state[i * kSize + j];
      const double change = logistic(beta[at]) * (value[j] - known);
      for (std::uint32_t i = 0; i < kSize; ++i) {
        state[i * kSize + j] += key[i] * change;
        out[j] += query[i] * state[i * kSize + j];
      }
    }
    return out;
  }
};

void check_delta_net(Subject& subject, Row& row) {
  using Case = DeltaCase;
  constexpr std::size_t kHeadState = std::size_t{Case::kSize} * Case::kSize;
  Workbench bench(subject.options);
  Random random(11);
  Comparison comparison;
  for (const bool tiled : {true, false}) {
    const Case c(tiled, random);
    States states(Case::kValueHeads * kHeadState, random);
    const Buffer qkv = bench.buffer(c.qkv);
    const Buffer beta = bench.buffer(c.beta);
    const Buffer decay = bench.buffer(c.decay);
    const Buffer dt_bias = bench.buffer(c.dt_bias);
    const Buffer rate = bench.buffer(c.rate);
    const Buffer state_buffer = bench.buffer(states.before());
    const Buffer run_buffer = bench.buffer(kStateRuns);
    const Buffer table = table_of_runs(bench);
    const std::size_t made = std::size_t{kStateTokens} * Case::kValueHeads * Case::kSize;
    const Buffer out = bench.buffer(made * sizeof(float), 0xFF);
    vulkan::DeltaNetArguments arguments;
    arguments.qkv = qkv.address();
    arguments.beta = beta.address();
    arguments.decay = decay.address();
    arguments.dt_bias = dt_bias.address();
    arguments.rate = rate.address();
    arguments.result = out.address();
    arguments.states = state_buffer.address();
    arguments.runs = run_buffer.address();
    arguments.table = table.address();
    arguments.key_heads = Case::kKeyHeads;
    arguments.value_heads = Case::kValueHeads;
    arguments.size = Case::kSize;
    arguments.epsilon = 1e-6F;
    arguments.tiled = tiled ? 1 : 0;
    in_two(bench, arguments, [&](CommandList& list, const vulkan::DeltaNetArguments& part) {
      bench.operations.delta_net(list, part, static_cast<std::uint32_t>(kStateRuns.size()) + 1);
    });
    const auto results = floats_of(out, made);
    for (const StateRun& run : kStateRuns) {
      std::vector<double> state = states.of(run);
      for (std::uint32_t t = run.first; t < run.first + run.count; ++t) {
        for (std::uint32_t h = 0; h < Case::kValueHeads; ++h) {
          const std::vector<double> wanted = c.step(std::span(state).subspan(h * kHeadState, kHeadState), t, h);
          for (std::uint32_t i = 0; i < Case::kSize; ++i) {
            comparison.expect(results[(std::size_t{t} * Case::kValueHeads + h) * Case::kSize + i], wanted[i],
                              1e-4 * (1 + std::fabs(wanted[i])), tiled ? "tiled heads" : "heads", t,
                              h * Case::kSize + i);
          }
        }
      }
      states.leave(run, state);
    }
    states.compare(state_buffer, comparison, "what it leaves");
  }
  row.said = comparison.text();
}

void check_state_space(Subject& subject, Row& row) {
  constexpr std::uint32_t kHeads = 4, kGroups = 2, kRows = 12, kInner = kHeads * kRows, kState = 20;
  constexpr std::uint32_t kRow = kInner + 2 * kGroups * kState;
  Workbench bench(subject.options);
  Random random(12);
  Comparison comparison;
  const Floats xbc = random_floats(std::size_t{kStateTokens} * kRow, random);
  const Floats dt = random_floats(std::size_t{kStateTokens} * kHeads, random);
  const Floats dt_bias = random_floats(kHeads, random);
  Floats rate = random_floats(kHeads, random);
  for (float& value : rate) value = -std::fabs(value);
  const Floats direct = random_floats(kHeads, random);
  States states(std::size_t{kInner} * kState, random);
  const Buffer xbc_buffer = bench.buffer(xbc);
  const Buffer dt_buffer = bench.buffer(dt);
  const Buffer bias_buffer = bench.buffer(dt_bias);
  const Buffer rate_buffer = bench.buffer(rate);
  const Buffer direct_buffer = bench.buffer(direct);
  const Buffer state_buffer = bench.buffer(states.before());
  const Buffer run_buffer = bench.buffer(kStateRuns);
  const Buffer table = table_of_runs(bench);
  const Buffer out = bench.buffer(std::size_t{kStateTokens} * kInner * sizeof(float), 0xFF);
  vulkan::StateSpaceArguments arguments;
  arguments.xbc = xbc_buffer.address();
  arguments.dt = dt_buffer.address();
  arguments.dt_bias = bias_buffer.address();
  arguments.rate = rate_buffer.address();
  arguments.direct = direct_buffer.address();
  arguments.result = out.address();
  arguments.states = state_buffer.address();
  arguments.runs = run_buffer.address();
  arguments.table = table.address();
  arguments.inner = kInner;
  arguments.state = kState;
  arguments.heads = kHeads;
  arguments.groups = kGroups;
  in_two(bench, arguments, [&](CommandList& list, const vulkan::StateSpaceArguments& part) {
    bench.operations.state_space(list, part, static_cast<std::uint32_t>(kStateRuns.size()) + 1);
  });
  const auto results = floats_of(out, std::size_t{kStateTokens} * kInner);
  for (const StateRun& run : kStateRuns) {
    std::vector<double> state = states.of(run);  // [heads][state][rows]
    for (std::uint32_t t = run.first; t < run.first + run.count; ++t) {
      const float* const of_token = xbc.data() + std::size_t{t} * kRow;
      for (std::uint32_t i = 0; i < kInner; ++i) {
        const std::uint32_t head = i / kRows;
        const std::uint32_t group = head / (kHeads / kGroups);
        const double step = softplus(double{dt[t * kHeads + head]} + dt_bias[head]);
        const double x = of_token[i];
        double wanted = direct[head] * x;
        for (std::uint32_t n = 0; n < kState; ++n) {
          double& one = state[(std::size_t{head} * kState + n) * kRows + i % kRows];
          one = one * std::exp(step * rate[head]) + step * x * of_token[kInner + group * kState + n];
          wanted += one * of_token[kInner + (kGroups + group) * kState + n];
        }
        comparison.expect(results[std::size_t{t} * kInner + i], wanted, 1e-4 * (1 + std::fabs(wanted)), "a scan", t, i);
      }
    }
    states.leave(run, state);
  }
  states.compare(state_buffer, comparison, "what it leaves");
  row.said = comparison.text();
}

}  // namespace

void add_recurrent_checks(Checks& checks) {
  checks.push_back({"shader", "Convolution", 2, check_convolution});
  checks.push_back({"shader", "DeltaNet", 2, check_delta_net});
  checks.push_back({"shader", "StateSpace", 2, check_state_space});
}

}  // namespace loadline::selftest

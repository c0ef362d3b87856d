// Measures a loaded model the way llama-bench names it: ppN (a prompt of N tokens), tgN (N tokens, one by one), at a
// depth of context; and states each rate as a share of what the machine could do at most.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace loadline::engine {

struct BenchmarkOptions {
  std::uint32_t prompt = 512;                  // tokens of the prompt test; 0: none
  std::uint32_t generate = 128;                // tokens of the generation test; 0: none
  std::uint32_t depth = 0;                     // tokens in the context before each test
  std::vector<std::uint32_t> sequences = {1};  // numbers generated side by side, one batch a step; a test for each
  std::uint32_t repeats = 5;
};

struct BenchmarkRow {
  std::string test;           // "pp512", "tg128", "tg128 @ d8192", "tg128 x4"
  std::vector<double> rates;  // tokens/s, one per repeat
  double median = 0;
  double spread = 0;           // half the distance between the quartiles
  double bytes_per_token = 0;  // of weights and KV cache that a step must read, per token it makes
  double ops_per_token = 0;    // multiply-adds of the matrix products, counted as two
  // What of it each device of the plan did, where there is more than the CPU.
  struct Part {
    plan::DeviceIndex device = plan::kCpu;
    double busy = 0;  // share of the time that it was the one at work
    double bytes_per_token = 0;
    double ops_per_token = 0;
  };
  std::vector<Part> parts;
};

// The largest of options.sequences, which must not be empty.
std::uint32_t most_sequences(const BenchmarkOptions& options);

// Cells of context the options need.
std::uint32_t context_needed(const BenchmarkOptions& options);

// The value below which the share `q` of the values lies, between two of them in proportion. `values` must not be
// empty.
double quantile(std::vector<double> values, double q);

// Runs the tests, each after one uncounted run. `between(test)` is called with the number of a test, 0 for the first,
// before its first counted run and after each: to measure, in turn with the runs, what they are compared with. Stops
// early, with the rows so far, when `stop` is set.
std::vector<BenchmarkRow> benchmark(Engine& engine, const BenchmarkOptions& options, const StopFlag& stop,
                                    const std::function<void(std::size_t test)>& between = {});

// Bytes of resident weights a pass reads once, whatever its batch; and of KV cache that one token at `position` reads.
Bytes weight_bytes_per_pass(const gguf::Model& model, const model::Program& program);
Bytes kv_bytes_at(const model::Program& program, const plan::Plan& plan, std::uint32_t position);
// Multiply-adds (as two operations) of all matrix products for one token, without and with the output matrix.
double matmul_ops_per_token(const gguf::Model& model, const model::Program& program, bool with_output);

}  // namespace loadline::engine

#include "backend/cpu/recurrent_steps.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace loadline::cpu {
namespace {

// Columns of a state that a thread takes at once: what a kernel keeps in registers and the cache next to the core.
constexpr std::uint32_t kColumns = 16;

// Calls f(run, piece) for every run and every one of `pieces` pieces of it, as the threads claim them.
template <class Function>
void claim_pieces(const Pass& pass, WorkQueue& queue, std::uint64_t pieces, Function&& f) {
  const auto runs = pass.batch->runs;
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(runs.size() * pieces, pass.threads, 1);
    if (begin == end) return;
    for (std::uint64_t i = begin; i < end; ++i) f(runs[i / pieces], i % pieces);
  }
}

template <class Function>
void claim_tokens(const Pass& pass, WorkQueue& queue, Function&& f) {
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(pass.batch->tokens.size(), pass.threads, 1);
    if (begin == end) return;
    for (std::uint64_t t = begin; t < end; ++t) f(t);
  }
}

std::uint64_t columns_of(std::uint64_t width) { return (width + kColumns - 1) / kColumns; }

// Columns [begin, end) of `rows` rows, from row number `first` on, of a run's state, ready to be gone on with.
float* go_on(const StateSlots& states, const TokenRun& run, std::uint64_t first, std::uint64_t rows,
             std::uint64_t width, std::uint64_t begin, std::uint64_t end) {
  float* after = states.after(run);
  const float* before = states.before(run);
  for (std::uint64_t r = first; r < first + rows; ++r) {
    float* to = after + r * width;
    if (run.first_position == 0) {
      std::fill(to + begin, to + end, 0.0F);
    } else {
      std::copy(before + r * width + begin, before + r * width + end, to + begin);
    }
  }
  return after;
}

}  // namespace

void run(const ConvolutionStep& step, const Pass& pass, WorkQueue& queue) {
  const std::uint64_t channels = step.convolution.channels;
  // Several registers' worth at once: neighbouring tokens' rows lie far apart.
  constexpr std::uint64_t kChannels = 64;
  claim_pieces(pass, queue, (channels + kChannels - 1) / kChannels, [&](const TokenRun& run, std::uint64_t piece) {
    const std::uint64_t begin = piece * kChannels;
    const std::uint64_t end = std::min(begin + kChannels, channels);
    float* state = go_on(step.states, run, 0, step.convolution.taps - 1, channels, begin, end);
    pass.kernels->vectors->convolve(step.convolution, step.x + run.first_token * channels, channels,
                                    step.out + run.first_token * channels, channels, run.count, state, begin, end);
  });
}

void run(const DeltaRowsStep& step, const Pass& pass, WorkQueue& queue) {
  const VectorKernels& kernels = *pass.kernels->vectors;
  const DeltaNetStep& net = step.net;
  const std::uint32_t dim = net.net.head_dim;
  const std::uint32_t values = net.net.value_heads;
  const std::uint64_t width = std::uint64_t{2 * net.net.key_heads + values} * dim;
  const Norm norm{NormKind::L2, net.epsilon};
  const float shrink = 1.0F / std::sqrt(static_cast<float>(dim));
  claim_tokens(pass, queue, [&](std::uint64_t t) {
    for (std::uint32_t head = 0; head < 2 * net.net.key_heads; ++head) {
      float* x = net.qkv + t * width + std::uint64_t{head} * dim;
      kernels.norm(norm, x, x, dim, 0, dim);
      if (head < net.net.key_heads) kernels.scale(x, shrink, dim);
    }
    float* beta = net.beta + t * values;
    float* decay = net.decay + t * values;
    kernels.activate({ActivationFunction::Sigmoid}, beta, nullptr, beta, values);
    kernels.add_scaled(decay, net.bias, 1, values);
    kernels.activate({ActivationFunction::Softplus}, decay, net.a, decay, values);
  });
}

void run(const DeltaNetStep& step, const Pass& pass, WorkQueue& queue) {
  const std::uint32_t dim = step.net.head_dim;
  const std::uint32_t values = step.net.value_heads;
  const std::uint64_t keys = std::uint64_t{step.net.key_heads} * dim;
  const std::uint64_t width = 2 * keys + std::uint64_t{values} * dim;
  const std::uint64_t blocks = columns_of(dim);
  claim_pieces(pass, queue, values * blocks, [&](const TokenRun& run, std::uint64_t piece) {
    const auto head = static_cast<std::uint32_t>(piece / blocks);
    const auto begin = static_cast<std::uint32_t>(piece % blocks * kColumns);
    const std::uint32_t end = std::min(begin + kColumns, dim);
    float* state = go_on(step.states, run, std::uint64_t{head} * dim, dim, dim, begin, end);
    const float* row = step.qkv + run.first_token * width;
    DeltaRows rows{};
    rows.query = row;
    rows.key = row + keys;
    rows.value = row + 2 * keys;
    rows.query_stride = rows.key_stride = rows.value_stride = width;
    rows.decay = step.decay + std::uint64_t{run.first_token} * values;
    rows.beta = step.beta + std::uint64_t{run.first_token} * values;
    rows.gate_stride = values;
    rows.out_stride = std::uint64_t{values} * dim;
    rows.out = step.out + run.first_token * rows.out_stride;
    rows.state = state;
    rows.tokens = run.count;
    pass.kernels->vectors->delta_net(step.net, rows, head, begin, end);
  });
}

void run(const Mamba2RowsStep& step, const Pass& pass, WorkQueue& queue) {
  const VectorKernels& kernels = *pass.kernels->vectors;
  const std::uint32_t heads = step.scan.scan.heads;
  claim_tokens(pass, queue, [&](std::uint64_t t) {
    float* dt = step.scan.dt + t * heads;
    kernels.add_scaled(dt, step.scan.dt_bias, 1, heads);
    kernels.activate({ActivationFunction::Softplus}, dt, nullptr, dt, heads);
  });
}

void run(const Mamba2Step& step, const Pass& pass, WorkQueue& queue) {
  const Mamba2& scan = step.scan;
  const std::uint64_t inner = std::uint64_t{scan.heads} * scan.head_dim;
  const std::uint64_t group = std::uint64_t{scan.groups} * scan.state_dim;
  const std::uint64_t blocks = columns_of(scan.head_dim);
  claim_pieces(pass, queue, scan.heads * blocks, [&](const TokenRun& run, std::uint64_t piece) {
    const auto head = static_cast<std::uint32_t>(piece / blocks);
    const auto begin = static_cast<std::uint32_t>(piece % blocks * kColumns);
    const std::uint32_t end = std::min(begin + kColumns, scan.head_dim);
    float* state =
        go_on(step.states, run, std::uint64_t{head} * scan.state_dim, scan.state_dim, scan.head_dim, begin, end);
    MambaRows rows{};
    rows.stride = inner + 2 * group;
    rows.x = step.xbc + run.first_token * rows.stride;
    rows.b = rows.x + inner;
    rows.c = rows.b + group;
    rows.dt = step.dt + std::uint64_t{run.first_token} * scan.heads;
    rows.dt_stride = scan.heads;
    rows.out_stride = inner;
    rows.out = step.out + run.first_token * inner;
    rows.state = state;
    rows.tokens = run.count;
    pass.kernels->vectors->mamba2(scan, rows, head, begin, end);
  });
}

}  // namespace loadline::cpu

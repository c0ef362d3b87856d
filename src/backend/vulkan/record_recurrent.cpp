// Steps of layers that keep a state for each sequence.
#include <algorithm>

#include "backend/vulkan/stage_recorder.h"

namespace loadline::vulkan {

void Recorder::record(const recipe::Convolution& convolution) {
  const ops::Convolution& of = convolution.attributes;
  ConvolutionArguments arguments;
  arguments.x = value(convolution.x);
  arguments.result = value(convolution.out);
  arguments.weight = tensor(of.weight);
  arguments.bias = tensor(of.bias);
  arguments.states = region(source_.plan.kv[of.cache].k);
  arguments.runs = table(table_.runs);
  arguments.table = table_address_;
  arguments.columns = width(convolution.x);
  arguments.taps = of.taps;
  arguments.function = static_cast<std::uint32_t>(of.activation);
  operations_.convolution(next(0), arguments, most_);
  arguments.leaves = 1;
  operations_.convolution(next(0), arguments, most_runs());
}

void Recorder::record(const recipe::DeltaNet& net) {
  const ops::DeltaNet& of = net.attributes;
  DeltaNetArguments arguments;
  arguments.qkv = value(net.qkv);
  arguments.beta = value(net.beta);
  arguments.decay = value(net.decay);
  arguments.dt_bias = tensor(of.dt_bias);
  arguments.rate = tensor(of.decay);
  arguments.result = value(net.out);
  arguments.states = region(source_.plan.kv[of.cache].k);
  arguments.runs = table(table_.runs);
  arguments.table = table_address_;
  arguments.key_heads = of.key_heads;
  arguments.value_heads = of.value_heads;
  arguments.size = of.size;
  arguments.epsilon = of.epsilon;
  arguments.tiled = of.tiled ? 1 : 0;
  in_ranges(of.value_heads, of.size, of.size, [&](std::uint32_t first, std::uint32_t count, CommandList& list) {
    arguments.first = first;
    arguments.count = count;
    operations_.delta_net(list, arguments, most_runs());
  });
}

void Recorder::record(const recipe::StateSpace& scan) {
  const ops::StateSpace& of = scan.attributes;
  StateSpaceArguments arguments;
  arguments.xbc = value(scan.xbc);
  arguments.dt = value(scan.dt);
  arguments.dt_bias = tensor(of.dt_bias);
  arguments.rate = tensor(of.a);
  arguments.direct = tensor(of.d);
  arguments.result = value(scan.out);
  arguments.states = region(source_.plan.kv[of.cache].k);
  arguments.runs = table(table_.runs);
  arguments.table = table_address_;
  arguments.inner = of.inner;
  arguments.state = of.state;
  arguments.heads = of.heads;
  arguments.groups = of.groups;
  in_ranges(of.heads, of.state, of.inner / of.heads, [&](std::uint32_t first, std::uint32_t count, CommandList& list) {
    arguments.first = first;
    arguments.count = count;
    operations_.state_space(list, arguments, most_runs());
  });
}

template <class Function>
void Recorder::in_ranges(std::uint64_t heads, std::uint64_t rows, std::uint64_t columns, Function&& f) {
  // A state's value is read twice and written once for a token.
  const std::uint64_t work = 4 * heads * rows * columns;
  std::uint64_t most = limit_.most / work;
  if (context_.limits().software) {
    // llvmpipe ends a program's loops after 65535 rounds in all (matmul_units.glsl).
    constexpr std::uint64_t kRounds = 60000;
    constexpr std::uint64_t kLeastThreads = 64;
    const std::uint64_t rounds = 256 + 2 * (rows + 1) * ((columns + kLeastThreads - 1) / kLeastThreads);
    most = std::min(most, kRounds / rounds);
  }
  const auto each = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(most, 1, most_));
  for (std::uint32_t first = 0; first < most_; first += each) {
    const std::uint32_t count = std::min(each, most_ - first);
    f(first, count, next(work * count));
  }
}

}  // namespace loadline::vulkan

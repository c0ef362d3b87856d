#include "backend/vulkan/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace loadline::vulkan {
namespace {

constexpr std::uint64_t kBytesPerGroup = 64 * 1024;       // read_memory.comp
constexpr std::uint64_t kOperationsPerGroup = 64 * 8192;  // multiply_add.comp
constexpr std::uint32_t kGroups = 4096;                   // enough to fill any device
constexpr double kLongEnough = 0.03;                      // seconds, beside which handing over is nothing
constexpr std::uint32_t kMostRounds = 1024;
constexpr Bytes kMostMemory = kGiB;           // far beyond any device's caches
constexpr Bytes kMostHostMemory = 64 * kMiB;  // long enough on the bus that handing over a copy is nothing beside it
constexpr const char* kMeasuring = "being measured";

// A list that is still at work must not be destroyed, whatever went wrong.
void run(Timeline& timeline, const CommandList& list) {
  try {
    timeline.wait(timeline.submit(list, kMeasuring), kMeasuring);
  } catch (...) {
    timeline.drain();
    throw;
  }
}

// Repeats what `record` writes into a list until it takes long enough; the best rate of three, `work` being that of one
// recording.
double best_rate(Context& context, Timeline& timeline, double work, const std::function<void(CommandList&)>& record) {
  CommandList list(context);
  double best = 0;
  int counted = 0;
  for (std::uint32_t rounds = 1; counted < 3;) {
    list.begin(false);
    for (std::uint32_t i = 0; i < rounds; ++i) record(list);
    list.end();
    const auto start = std::chrono::steady_clock::now();
    run(timeline, list);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds < kLongEnough && rounds < kMostRounds) {
      rounds *= 2;
      continue;
    }
    best = std::max(best, work * rounds / seconds);
    ++counted;
  }
  return best;
}

double read_bandwidth(Context& context, Pipelines& pipelines, Timeline& timeline,
                      std::span<const MeasuredMemory> memory, const Place& word) {
  const auto groups = [&](const MeasuredMemory& one) {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(one.size.value / kBytesPerGroup, context.limits().most_workgroups));
  };
  double bytes = 0;
  for (const MeasuredMemory& one : memory) bytes += static_cast<double>(groups(one)) * kBytesPerGroup;
  if (bytes == 0) return 0;
  return best_rate(context, timeline, bytes, [&](CommandList& list) {
    for (const MeasuredMemory& one : memory) {
      if (groups(one) == 0) continue;
      const ReadMemoryArguments arguments{one.place.address, word.address};
      list.dispatch(pipelines.get({Shader::ReadMemory, std::nullopt, {}}), pipelines.layout(), arguments,
                    {groups(one)});
    }
  });
}

double float_ops(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& word) {
  const MultiplyAddArguments arguments{word.address, 0.5F};
  return best_rate(context, timeline, static_cast<double>(kGroups) * kOperationsPerGroup, [&](CommandList& list) {
    list.dispatch(pipelines.get({Shader::MultiplyAdd, std::nullopt, {}}), pipelines.layout(), arguments, {kGroups});
  });
}

}  // namespace

Peaks measure_peaks(Context& context, Pipelines& pipelines, Timeline& timeline, std::span<const MeasuredMemory> memory,
                    const Place& word) {
  return {read_bandwidth(context, pipelines, timeline, memory, word), float_ops(context, pipelines, timeline, word)};
}

DevicePeaks measure_device(const DeviceOptions& options,
                           const std::function<void(std::string_view, double)>& progress) {
  const auto tell = [&](std::string_view what, double done) {
    if (progress) progress(what, done);
  };
  tell("memory", 0);
  Context context(options);
  Pipelines pipelines(context);
  Timeline timeline(context);
  const Bytes free = std::min(context.free_memory().value_or(context.info().memory), context.info().memory);
  const Bytes size(std::min({free.value / 4, context.limits().largest_allocation.value, kMostMemory.value}) /
                   kBytesPerGroup * kBytesPerGroup);
  if (size < kMostHostMemory) {
    throw Error(
        ErrorCode::DoesNotFit,
        fmt::format("too little memory of the GPU {} is free to measure it: {}", context.info().name, to_string(free)),
        "Another program may have taken it; end that, and measure again.");
  }
  const Buffer device(context, MemoryKind::Device, size, "what is measured");
  const Buffer host(context, MemoryKind::Host, kMostHostMemory, "what is copied");
  std::memset(host.data(), 1, host.size().value);  // all of it must be there before it is timed
  const Place memory{device.handle(), 0, device.address(), nullptr};
  const Place source{host.handle(), 0, host.address(), host.data()};
  const auto copy = [&](CommandList& list) {
    list.copy(source, memory, kMostHostMemory);
    list.barrier();
  };
  // Written once, so that reading it is reading memory, whatever the driver does about pages nobody has touched.
  CommandList fill(context);
  fill.begin(false);
  for (Bytes at; at < size; at += kMostHostMemory) {
    Place part = memory;
    part.offset += at.value;
    fill.copy(source, part, std::min(kMostHostMemory, size - at));
  }
  fill.end();
  run(timeline, fill);

  DevicePeaks found;
  found.peaks.read_bandwidth =
      read_bandwidth(context, pipelines, timeline, std::array{MeasuredMemory{memory, size}}, memory);
  tell("multiply-adds", 0.4);
  found.peaks.float_ops = float_ops(context, pipelines, timeline, memory);
  tell("copies to it", 0.7);
  found.host_bandwidth = best_rate(context, timeline, static_cast<double>(kMostHostMemory.value), copy);
  context.check_messages();
  tell("done", 1);
  return found;
}

}  // namespace loadline::vulkan

#include "backend/vulkan/measure.h"

#include <algorithm>
#include <chrono>

namespace loadline::vulkan {
namespace {

constexpr std::uint64_t kBytesPerGroup = 64 * 1024;       // read_memory.comp
constexpr std::uint64_t kOperationsPerGroup = 64 * 8192;  // multiply_add.comp
constexpr std::uint32_t kGroups = 4096;                   // enough to fill any device
constexpr double kLongEnough = 0.03;                      // seconds, beside which handing over is nothing
constexpr std::uint32_t kMostRounds = 1024;
constexpr const char* kMeasuring = "being measured";

// Repeats one dispatch in a list until it takes long enough; the best rate of three, `work` being that of one dispatch.
template <class Arguments>
double best_rate(Context& context, Pipelines& pipelines, Timeline& timeline, Shader shader, const Arguments& arguments,
                 std::uint32_t groups, double work) {
  CommandList list(context);
  double best = 0;
  int counted = 0;
  for (std::uint32_t rounds = 1; counted < 3;) {
    list.begin(false);
    for (std::uint32_t i = 0; i < rounds; ++i) {
      list.dispatch(pipelines.get({shader, std::nullopt, {}}), pipelines.layout(), arguments, {groups});
    }
    list.end();
    const auto start = std::chrono::steady_clock::now();
    timeline.wait(timeline.submit(list, kMeasuring), kMeasuring);
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

}  // namespace

Peaks measure_peaks(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory, Bytes size,
                    const Place& word) {
  Peaks peaks;
  const auto groups = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(size.value / kBytesPerGroup, context.limits().most_workgroups));
  if (groups > 0) {
    peaks.read_bandwidth =
        best_rate(context, pipelines, timeline, Shader::ReadMemory, ReadMemoryArguments{memory.address, word.address},
                  groups, static_cast<double>(groups) * kBytesPerGroup);
  }
  peaks.float_ops =
      best_rate(context, pipelines, timeline, Shader::MultiplyAdd, MultiplyAddArguments{word.address, 0.5F}, kGroups,
                static_cast<double>(kGroups) * kOperationsPerGroup);
  return peaks;
}

}  // namespace loadline::vulkan

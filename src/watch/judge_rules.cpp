// What is evidence of what.
#include <fmt/format.h>

#include <algorithm>

#include "watch/judge.h"

namespace loadline::watch {
namespace {

// Passes take so much longer than they should that it is no chance.
constexpr double kSlow = 1.15;

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * share); }

std::string rate(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.0f} MB/s", bytes / 1e6) : fmt::format("{:.2f} GB/s", bytes / 1e9);
}

Bytes above(Bytes a, Bytes b) { return a > b ? a - b : Bytes(); }

bool is_slow(const std::optional<double>& slowdown, double least = kSlow) { return slowdown && *slowdown >= least; }

double number(Bytes bytes) { return static_cast<double>(bytes.value); }

}  // namespace

std::optional<Judge::Finding> Judge::find(Kind kind, const Window& recent, const Sample& sample) const {
  switch (kind) {
    case Kind::Spilled: return spilled(recent, sample);
    case Kind::Squeezed: return squeezed(sample);
    case Kind::Thrashing: return thrashing(recent, sample);
    case Kind::Starved: return starved(recent, sample);
    case Kind::Throttled: return throttled(recent, sample);
    case Kind::DiskSlow: return disk_slow(recent);
    case Kind::Mispredicted: return mispredicted(recent);
  }
  return std::nullopt;
}

std::optional<Judge::Finding> Judge::spilled(const Window& recent, const Sample& sample) const {
  constexpr double kSlowDevice = 1.5;
  for (std::size_t i = 1; i < promise_.devices.size() && i < sample.gpus.size(); ++i) {
    const Promise::Device& device = promise_.devices[i];
    const GpuSample& gpu = sample.gpus[i];
    const GpuSample& before = at_first_[i];
    if (device.planned.value == 0 || device.holds_ram) continue;
    const Bytes least = std::max(64 * kMiB, device.planned / 50);
    const double slowdown = recent.device_slowdown[i];
    Finding finding;
    finding.device = static_cast<plan::DeviceIndex>(i);
    finding.remedy =
        fmt::format("Close what else uses the memory of {}, or plan with less of it, so that nothing has to be moved.",
                    device.name);
    // System memory in use for the device grows: its buffers went there.
    if (gpu.moved && before.moved && above(*gpu.moved, *before.moved) >= least && slowdown >= kSlowDevice) {
      const Bytes moved = above(*gpu.moved, *before.moved);
      finding.evidence = fmt::format("the driver has moved about {} of {} to system memory ({} there now, {} before)",
                                     to_string(moved), device.name, to_string(*gpu.moved), to_string(*before.moved));
      finding.figures = {{"moved_bytes", number(moved)}, {"system_bytes", number(*gpu.moved)}};
      return finding;
    }
    // What this process has on the device shrinks, and it gave nothing back.
    if (gpu.own && before.own && above(*before.own, *gpu.own) >= least && slowdown >= kSlowDevice) {
      const Bytes moved = above(*before.own, *gpu.own);
      finding.evidence = fmt::format("about {} of this model are no longer in the memory of {} ({} there, {} before)",
                                     to_string(moved), device.name, to_string(*gpu.own), to_string(*before.own));
      finding.figures = {{"moved_bytes", number(moved)}};
      return finding;
    }
    // More is in use than may be, and what should come from the device's memory comes at the speed of the bus.
    const bool over = gpu.budget && gpu.own && *gpu.own > *gpu.budget;
    const double seconds = recent.sum.passes.device_seconds[i];
    const double weights = number(device.weights) * static_cast<double>(recent.sum.passes.passes);
    const double reached = seconds > 0 ? weights / seconds : 0;
    const bool few_tokens = recent.sum.passes.tokens < 16;
    // What slows everything slows the processor's part of a pass too.
    const bool alone = is_quiet(recent) && slowdown > 2 * recent.device_slowdown[plan::kCpu];
    const bool as_bus = alone && few_tokens && device.host_bandwidth > 0 &&
                        device.bandwidth > 3 * device.host_bandwidth && reached > 0 &&
                        reached < 1.5 * device.host_bandwidth && slowdown >= 3;
    if ((over && slowdown >= 2) || as_bus) {
      finding.evidence =
          fmt::format("the weights in {} come at {}, which is the speed of the bus and not of its memory", device.name,
                      rate(reached));
      if (over) {
        finding.evidence += fmt::format("; {} are in use there where the driver allows {}", to_string(*gpu.own),
                                        to_string(*gpu.budget));
      }
      finding.figures = {{"bytes_per_second", reached}, {"bus_bytes_per_second", device.host_bandwidth}};
      return finding;
    }
  }
  return std::nullopt;
}

std::optional<Judge::Finding> Judge::squeezed_device(plan::DeviceIndex index, const GpuSample& gpu) const {
  const Promise::Device& device = promise_.devices[index];
  const GpuSample& before = at_first_[index];
  Finding finding;
  finding.device = index;
  finding.remedy = fmt::format("Close what else uses {}, or plan again with less of its memory.", device.name);
  if (gpu.budget && gpu.own && *gpu.budget + 16 * kMiB < *gpu.own) {
    finding.evidence = fmt::format("the driver now lets this program have {} of {}, and it holds {}",
                                   to_string(*gpu.budget), device.name, to_string(*gpu.own));
    finding.figures = {{"budget_bytes", number(*gpu.budget)}, {"held_bytes", number(*gpu.own)}};
    return finding;
  }
  if (!gpu.total || !gpu.used || !before.used) return std::nullopt;
  const Bytes left = above(*gpu.total, *gpu.used);
  const Bytes grown = above(*gpu.used, *before.used);
  if (left > 16 * kMiB || grown < 64 * kMiB) return std::nullopt;
  finding.evidence = fmt::format("other programs took {} more of {}, and {} of its {} are left", to_string(grown),
                                 device.name, to_string(left), to_string(*gpu.total));
  finding.figures = {{"taken_bytes", number(grown)}, {"left_bytes", number(left)}};
  return finding;
}

std::optional<Judge::Finding> Judge::squeezed(const Sample& sample) const {
  for (std::size_t i = 1; i < promise_.devices.size() && i < sample.gpus.size(); ++i) {
    if (promise_.devices[i].planned.value == 0) continue;
    if (auto finding = squeezed_device(static_cast<plan::DeviceIndex>(i), sample.gpus[i])) return finding;
  }
  Finding finding;
  // The limit came down on what is held.
  const GroupSample& group = sample.group;
  if (group.limit && group.used) {
    const Bytes before = group_at_first_.limit.value_or(Bytes(std::uint64_t{1} << 62));
    const Bytes left = above(*group.limit, *group.used);
    const bool lowered = *group.limit < before && before.value - group.limit->value > before.value / 50;
    if (lowered && left < std::max(16 * kMiB, *group.limit / 50)) {
      finding.evidence = fmt::format("the limit of this program's control group was lowered to {}, and {} are in use",
                                     to_string(*group.limit), to_string(*group.used));
      finding.remedy = "Raise the limit again, or plan with a smaller budget of RAM.";
      finding.figures = {{"limit_bytes", number(*group.limit)}, {"used_bytes", number(*group.used)}};
      return finding;
    }
  }
  const MachineSample& machine = sample.machine;
  if (!machine.available || !machine.total || !available_at_first_) return std::nullopt;
  const Bytes taken = above(*available_at_first_, *machine.available);
  const Bytes least = std::min(*machine.total / 50, 512 * kMiB);
  if (*machine.available >= least || taken < *machine.total / 50) return std::nullopt;
  finding.evidence = fmt::format("other programs took {} more of RAM, and {} of {} are left", to_string(taken),
                                 to_string(*machine.available), to_string(*machine.total));
  finding.remedy =
      "Close some of them, or plan with a smaller budget of RAM, before the system swaps or ends programs.";
  finding.figures = {{"taken_bytes", number(taken)}, {"left_bytes", number(*machine.available)}};
  return finding;
}

std::optional<Judge::Finding> Judge::thrashing(const Window& recent, const Sample& sample) const {
  const Interval& sum = recent.sum;
  const double seconds = std::max(1e-3, sum.seconds);
  const double faults = sum.faults / seconds;
  const double stalled = sum.memory_stalled.value_or(0) / seconds;
  const double full = sum.full / seconds;
  // What goes out and stays there harms nothing, and who waits for memory may be another program: pages must come back.
  const bool back = faults >= 8;
  const bool taken = sum.swapped >= static_cast<double>(kMiB.value) || stalled >= 0.08 || full >= 4;
  const bool some = faults >= 30 || (back && taken);
  const bool much = stalled >= 0.2 && faults >= 30;
  if (!much && !(some && is_slow(recent.slowdown))) return std::nullopt;
  Finding finding;
  finding.evidence = fmt::format("memory of this program is taken back: {:.0f} pages a second come from disk", faults);
  if (sample.process.swapped && sample.process.swapped->value > 0) {
    finding.evidence += fmt::format(", {} of it are swapped out", to_string(*sample.process.swapped));
  }
  if (stalled >= 0.01)
    finding.evidence += fmt::format(", {} of the time goes into waiting for memory", percent(stalled));
  constexpr double kAlways = 100;  // times a second
  if (full >= kAlways) {
    finding.evidence += ", its control group is full all the time";
  } else if (full >= 1) {
    finding.evidence += fmt::format(", its control group is full {:.0f} times a second", full);
  }
  finding.remedy = "Close what else takes RAM, raise the limit, or plan with a smaller budget of RAM.";
  finding.figures = {{"faults_per_second", faults}, {"stalled_share", stalled}, {"full_per_second", full}};
  return finding;
}

// Whether that explains most of what is lost.
bool Judge::waits_for_processors(const Window& recent) {
  constexpr double kExplained = 0.5;
  const Interval& sum = recent.sum;
  const double busy = std::min(sum.seconds, sum.passes.seconds + sum.passes.running);
  const double lost = (1 - 1 / std::max(1.0, recent.slowdown.value_or(1))) * busy;
  return sum.waited.value_or(0) + sum.held_back.value_or(0) + sum.stolen.value_or(0) >= kExplained * lost;
}

std::optional<Judge::Finding> Judge::starved(const Window& recent, const Sample&) const {
  const Interval& sum = recent.sum;
  const double seconds = std::max(1e-3, sum.seconds);
  const double processors = std::max(1U, sum.processors);
  const double held_back = sum.held_back.value_or(0) / seconds;
  const double stolen = sum.stolen.value_or(0) / (processors * seconds);
  const double wanted = sum.ran.value_or(0) + sum.waited.value_or(0);
  const double waited = wanted > 0 ? sum.waited.value_or(0) / wanted : 0;
  const double others = sum.others.value_or(0) / (processors * seconds);
  // Else there was nothing to do: what a process that rests does now and then waits as long as it takes.
  constexpr double kWorks = 0.1;  // of a processor, that it had or wanted
  const bool told = sum.ran.has_value();
  const bool works = recent.slowdown.has_value() && (!told || wanted >= kWorks * seconds);
  if (!works) return std::nullopt;
  const bool slow = is_slow(recent.slowdown);
  Finding finding;
  if (held_back >= (slow ? 0.05 : 0.25)) {
    finding.evidence =
        fmt::format("the control group's share of the processors was used up for {} of the time", percent(held_back));
    finding.remedy = "Raise its limit on processor time, or use fewer threads.";
    finding.figures = {{"held_back_share", held_back}};
    return finding;
  }
  if (stolen >= (slow ? 0.10 : 0.30)) {
    finding.evidence = fmt::format("the hypervisor kept {} of the processors' time from this machine", percent(stolen));
    finding.remedy = "Other machines on the same host use them: wait, or ask for processors of your own.";
    finding.figures = {{"stolen_share", stolen}};
    return finding;
  }
  // More threads than processors wait for each other: that is nobody's fault but the setting's.
  if (others < 0.1 || waited < (slow ? 0.12 : 0.35)) return std::nullopt;
  // What waits for its disk most of the time wants little of a processor, and waiting for that costs it little.
  constexpr double kMostOfOne = 0.7;  // of a processor's time, that it wants
  if (told && (slow ? !waits_for_processors(recent) : wanted < kMostOfOne * seconds)) return std::nullopt;
  finding.evidence = fmt::format("other programs had {} of the processors, and this one waited for them {} of its time",
                                 percent(others), percent(waited));
  finding.remedy = "Close what uses the processors, or use fewer threads.";
  finding.figures = {{"others_share", others}, {"waited_share", waited}};
  return finding;
}

std::optional<Judge::Finding> Judge::throttled(const Window& recent, const Sample& sample) const {
  const Interval& sum = recent.sum;
  const double seconds = std::max(1e-3, sum.seconds);
  const double slowed = sum.slowed.value_or(0) / seconds;
  Finding finding;
  const auto hot = [&](const std::optional<double>& degrees) {
    return degrees ? fmt::format(" at {:.0f} °C", *degrees) : std::string();
  };
  for (std::size_t i = 1; i < promise_.devices.size() && i < sample.gpus.size(); ++i) {
    const GpuSample& gpu = sample.gpus[i];
    if (!gpu.slowed.value_or(false) || recent.device_slowdown[i] < kSlow) continue;
    finding.device = static_cast<plan::DeviceIndex>(i);
    finding.evidence = fmt::format("{} slowed itself down{}", promise_.devices[i].name, hot(gpu.temperature));
    if (gpu.clock && gpu.most_clock && *gpu.most_clock > 0) {
      finding.evidence += fmt::format(", to {:.0f} of {:.0f} MHz", *gpu.clock / 1e6, *gpu.most_clock / 1e6);
    }
    finding.remedy = "Let it cool: look at its fans, the air around it, and its power supply.";
    finding.figures = {{"clock", gpu.clock.value_or(0)}, {"temperature", gpu.temperature.value_or(0)}};
    return finding;
  }
  const bool by_counter = slowed >= 0.05 && is_slow(recent.slowdown);
  const bool by_clock = clock_ > 0 && sum.clock > 0 && sum.clock < 0.7 * clock_ && is_slow(recent.slowdown, 1.2) &&
                        sum.ran.value_or(0) > 0.5 * seconds;
  if (!by_counter && !by_clock) return std::nullopt;
  finding.evidence = fmt::format("the processor slowed itself down{}", hot(sample.processor.temperature));
  if (sum.clock > 0) {
    finding.evidence += fmt::format(", to {:.0f} MHz", sum.clock / 1e6);
    if (clock_ > 0) finding.evidence += fmt::format(" from {:.0f}", clock_ / 1e6);
  }
  finding.remedy = "Let it cool, plug the machine in, and look at its power settings.";
  finding.figures = {{"clock", sum.clock}, {"usual_clock", clock_}, {"slowed_share", slowed}};
  return finding;
}

std::optional<Judge::Finding> Judge::disk_slow(const Window& recent) const {
  const Interval& sum = recent.sum;
  const PassSample& passes = sum.passes;
  if (promise_.streamed.value == 0 || promise_.disk_bandwidth <= 0 || !is_slow(recent.slowdown, 1.3)) {
    return std::nullopt;
  }
  constexpr double kLeastShare = 0.7;  // of what it was measured to give
  constexpr double kLateRead = 1.5;    // times as long as a pass's reading should take
  const double seconds = std::max(1e-3, sum.seconds);
  double reached = 0;
  const double late = kLateRead * std::max(number(promise_.streamed) / promise_.disk_bandwidth,
                                           passes.running_predicted * correction(passes.running_tokens));
  if (passes.running > late && !waits_for_processors(recent)) {
    // It has read less than all so far; what the disk gave to everybody may be less still.
    reached = number(promise_.streamed) / passes.running;
    if (sum.disk_bytes > 0) reached = std::min(reached, sum.disk_bytes / seconds);
  } else if (passes.passes > 0 && passes.waited >= 0.3 * passes.seconds) {
    reached = number(promise_.streamed) * static_cast<double>(passes.passes) / passes.seconds;
  } else {
    return std::nullopt;
  }
  if (reached >= kLeastShare * promise_.disk_bandwidth) return std::nullopt;
  Finding finding;
  finding.evidence =
      fmt::format("the disk gives {} where the plan counts on {}", rate(reached), rate(promise_.disk_bandwidth));
  const double latency = sum.disk_reads > 0 ? sum.disk_seconds / sum.disk_reads : 0;
  if (latency > 0) finding.evidence += fmt::format(", and a read takes {:.1f} ms", 1000 * latency);
  finding.remedy =
      "See what else uses the disk; give more RAM, so that less is read for every token; or measure it again.";
  finding.figures = {{"bytes_per_second", reached},
                     {"planned_bytes_per_second", promise_.disk_bandwidth},
                     {"seconds_per_read", latency}};
  return finding;
}

std::optional<Judge::Finding> Judge::mispredicted(const Window& recent) const {
  constexpr double kFar = 2;
  constexpr double kLeastSeconds = 0.5;  // of passes: less says nothing
  constexpr double kLeastPass = 2e-3;    // s: shorter ones are all fixed costs
  const PassSample& passes = recent.sum.passes;
  if (!recent.raw || *recent.raw < kFar || !is_quiet(recent)) return std::nullopt;
  const double took = passes.seconds + passes.running;
  if (took < kLeastSeconds) return std::nullopt;
  if (passes.passes > 0 && passes.predicted / static_cast<double>(passes.passes) < kLeastPass) return std::nullopt;
  Finding finding;
  finding.evidence =
      fmt::format("passes take {:.1f} times as long as predicted, and nothing on the machine explains it", *recent.raw);
  finding.remedy = promise_.assumed ? "Measure this machine: its speeds were assumed."
                                    : "Measure this machine again, when it does nothing else.";
  finding.figures = {{"ratio", *recent.raw}};
  return finding;
}

}  // namespace loadline::watch

// Judge: from samples to verdicts. Pure: it asks no clock and reads no file; the same samples give the same verdicts.
//
// A verdict needs evidence of its cause, most kinds also passes that take longer than they should, in several samples
// in a row; it is taken back once there was none for a while. What passes should take is their prediction, corrected by
// what they took while nothing was wrong. Samples between which time is missing (the machine slept, the process was
// stopped) say nothing, and neither do the first passes.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "watch/sample.h"
#include "watch/verdict.h"

namespace loadline::watch {

// What the plan counts on.
struct Promise {
  struct Device {
    std::string name;           // "RTX 3050 Ti"
    Bytes planned;              // of its memory, all together
    Bytes weights;              // read by every pass of few tokens
    double bandwidth = 0;       // bytes/s of its memory
    double host_bandwidth = 0;  // bytes/s from RAM to it; 0 for the CPU
    bool holds_ram = false;     // its memory is RAM (a GPU that is software): no bus is between them
  };
  std::vector<Device> devices;  // per device of the plan that computes
  Bytes streamed;               // from disk for every pass
  double disk_bandwidth = 0;    // bytes/s
  bool assumed = false;         // the machine was not measured: predictions rest on assumptions
};

// Time that passes took beyond what they should have, by what it was lost to.
struct Losses {
  double passes = 0;                     // s: of all passes so far
  std::array<double, kKinds> lost = {};  // s, per Kind

  [[nodiscard]] double share(Kind kind) const { return passes > 0 ? lost[static_cast<std::size_t>(kind)] / passes : 0; }
};

struct Change {
  Verdict verdict;
  bool begins = true;  // false: it is over
};

// Not thread-safe.
class Judge {
 public:
  explicit Judge(Promise promise) : promise_(std::move(promise)) {}

  // Samples in the order of their time, about four a second. What begins and ends with this one; the reference is good
  // until the next call.
  const std::vector<Change>& take(const Sample& sample);

  [[nodiscard]] std::vector<Verdict> verdicts() const;  // those that hold
  [[nodiscard]] const Losses& losses() const { return losses_; }
  // Measured against predicted time of the last passes, uncorrected; nullopt where there were none.
  [[nodiscard]] std::optional<double> ratio() const;

 private:
  // What lies between two samples.
  struct Interval {
    double seconds = 0;
    std::optional<double> ran, waited, stolen, others;  // s
    std::optional<double> held_back, slowed;            // s (slowed: or times)
    std::optional<double> memory_stalled;               // s, everybody
    double faults = 0, full = 0;                        // times
    double swapped = 0;                                 // bytes that went out
    double clock = 0;                                   // Hz; 0: not known
    std::uint32_t processors = 0;
    double disk_reads = 0, disk_seconds = 0, disk_bytes = 0;
    PassSample passes;
    double should = 0;  // s: the passes, corrected
    double lost = 0;    // s, not yet attributed
  };
  // The sums over the last intervals.
  struct Window {
    Interval sum;
    int count = 0;
    std::optional<double> slowdown;  // of passes, against what they should take
    std::optional<double> raw;       // against their predictions
    std::array<double, exec::kLoggedDevices> device_slowdown = {};
  };
  struct Finding {
    plan::DeviceIndex device = plan::kCpu;
    std::string evidence, remedy;
    std::vector<Figure> figures;
  };
  struct State {
    int on = 0, off = 0;  // samples in a row
    std::optional<Verdict> verdict;
  };

  void begin_anew(const Sample& sample);
  [[nodiscard]] Interval between(const Sample& before, const Sample& now) const;
  [[nodiscard]] bool stood(const Interval& interval) const;
  [[nodiscard]] Window window(std::size_t intervals) const;
  void note_baseline(const Sample& sample);
  void correct(const Window& recent, bool suspicious);
  [[nodiscard]] double correction(double tokens) const;
  [[nodiscard]] std::optional<Finding> find(Kind kind, const Window& recent, const Sample& sample) const;
  [[nodiscard]] std::optional<Finding> spilled(const Window& recent, const Sample& sample) const;
  [[nodiscard]] std::optional<Finding> squeezed(const Sample& sample) const;
  [[nodiscard]] std::optional<Finding> squeezed_device(plan::DeviceIndex device, const GpuSample& gpu) const;
  [[nodiscard]] std::optional<Finding> thrashing(const Window& recent, const Sample& sample) const;
  [[nodiscard]] std::optional<Finding> starved(const Window& recent, const Sample& sample) const;
  [[nodiscard]] std::optional<Finding> throttled(const Window& recent, const Sample& sample) const;
  [[nodiscard]] std::optional<Finding> disk_slow(const Window& recent) const;
  [[nodiscard]] std::optional<Finding> mispredicted(const Window& recent) const;
  [[nodiscard]] static bool is_quiet(const Window& recent);
  [[nodiscard]] static bool waits_for_processors(const Window& recent);
  void settle(Kind kind, const std::optional<Finding>& finding, const Window& recent, double time);
  void attribute();

  Promise promise_;
  std::optional<Sample> last_;
  std::deque<Interval> intervals_;  // the last ones, the latest last
  std::array<State, kKinds> states_;
  std::vector<Change> changes_;
  Losses losses_;
  double usual_seconds_ = 0.25;                           // from sample to sample
  double gap_end_ = 0;                                    // s: nothing that began before counts
  bool after_gap_ = true;                                 // the next passes may have begun before it
  double few_ = 1, many_ = 1;                             // correction of predictions, by the tokens of a pass
  double clock_ = 0;                                      // Hz: while passes ran as they should
  std::array<GpuSample, exec::kLoggedDevices> at_first_;  // what others had when the watch began
  GroupSample group_at_first_;
  std::optional<Bytes> available_at_first_;
  bool has_baseline_ = false;
};

}  // namespace loadline::watch

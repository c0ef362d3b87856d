#include "watch/judge.h"

#include <algorithm>
#include <utility>

namespace loadline::watch {
namespace {

constexpr std::size_t kKept = 8;        // intervals
constexpr std::size_t kRecent = 4;      // those that counters are looked at over
constexpr int kOnAfter = 3;             // samples in a row with evidence ...
constexpr int kMispredictedAfter = 5;   // ... where the absence of other evidence is the evidence
constexpr int kOffAfter = 8;            // samples in a row without
constexpr double kLongestInterval = 2;  // s; longer, and the process did not run, or the machine slept
constexpr double kManyTokens = 16;      // of a pass: it is arithmetic, not reading, that takes the time

template <class T>
double difference(const std::optional<T>& before, const std::optional<T>& now) {
  if (!before || !now) return 0;
  const auto a = static_cast<double>(*before);
  const auto b = static_cast<double>(*now);
  return std::max(0.0, b - a);
}
double difference(const std::optional<Bytes>& before, const std::optional<Bytes>& now) {
  if (!before || !now || *now < *before) return 0;
  return static_cast<double>((*now - *before).value);
}
// Absent where either is.
std::optional<double> growth(const std::optional<double>& before, const std::optional<double>& now) {
  if (!before || !now) return std::nullopt;
  return std::max(0.0, *now - *before);
}

void add(std::optional<double>& sum, const std::optional<double>& value) {
  if (value) sum = sum.value_or(0) + *value;
}

void add(PassSample& sum, const PassSample& passes) {
  // The tokens of most passes: by their number.
  const double all = static_cast<double>(sum.passes + passes.passes);
  if (all > 0) {
    sum.tokens =
        (sum.tokens * static_cast<double>(sum.passes) + passes.tokens * static_cast<double>(passes.passes)) / all;
  }
  sum.passes += passes.passes;
  sum.seconds += passes.seconds;
  sum.predicted += passes.predicted;
  sum.waited += passes.waited;
  sum.disk += passes.disk;
  for (std::size_t i = 0; i < sum.device_seconds.size(); ++i) {
    sum.device_seconds[i] += passes.device_seconds[i];
    sum.device_predicted[i] += passes.device_predicted[i];
  }
  sum.running = passes.running;  // of the latest
  sum.running_predicted = passes.running_predicted;
  sum.running_tokens = passes.running_tokens;
}

}  // namespace

double Judge::correction(double tokens) const { return tokens < kManyTokens ? few_ : many_; }

void Judge::begin_anew(const Sample& sample) {
  intervals_.clear();
  for (State& state : states_) state.on = 0;
  gap_end_ = sample.time;
  after_gap_ = true;
}

Judge::Interval Judge::between(const Sample& before, const Sample& now) const {
  Interval interval;
  interval.seconds = now.time - before.time;
  interval.ran = growth(before.process.ran, now.process.ran);
  interval.waited = growth(before.process.waited, now.process.waited);
  interval.stolen = growth(before.machine.stolen, now.machine.stolen);
  const auto busy = growth(before.machine.busy, now.machine.busy);
  if (busy) interval.others = std::max(0.0, *busy - interval.ran.value_or(0));
  interval.held_back = growth(before.group.held_back, now.group.held_back);
  interval.slowed = growth(before.processor.slowed, now.processor.slowed);
  if (before.machine.memory_pressure && now.machine.memory_pressure) {
    interval.memory_stalled = std::max(0.0, now.machine.memory_pressure->full - before.machine.memory_pressure->full);
  }
  interval.faults = difference(before.process.major_faults, now.process.major_faults);
  interval.full = difference(before.group.full, now.group.full);
  interval.swapped = difference(before.process.swapped, now.process.swapped);
  interval.clock = now.processor.clock.value_or(0);
  interval.processors = now.machine.processors;
  interval.disk_reads = difference(before.disk.reads, now.disk.reads);
  interval.disk_seconds = difference(before.disk.reading, now.disk.reading);
  interval.disk_bytes = difference(before.disk.read, now.disk.read);
  interval.passes = now.passes;
  return interval;
}

Judge::Window Judge::window(std::size_t intervals) const {
  Window recent;
  const std::size_t first = intervals_.size() - std::min(intervals, intervals_.size());
  for (std::size_t i = first; i < intervals_.size(); ++i) {
    const Interval& one = intervals_[i];
    Interval& sum = recent.sum;
    sum.seconds += one.seconds;
    add(sum.ran, one.ran);
    add(sum.waited, one.waited);
    add(sum.stolen, one.stolen);
    add(sum.others, one.others);
    add(sum.held_back, one.held_back);
    add(sum.slowed, one.slowed);
    add(sum.memory_stalled, one.memory_stalled);
    sum.faults += one.faults;
    sum.full += one.full;
    sum.swapped += one.swapped;
    sum.clock += one.clock;
    sum.processors = one.processors;
    sum.disk_reads += one.disk_reads;
    sum.disk_seconds += one.disk_seconds;
    sum.disk_bytes += one.disk_bytes;
    sum.should += one.should;
    add(sum.passes, one.passes);
    ++recent.count;
  }
  if (recent.count == 0) return recent;
  recent.sum.clock /= recent.count;

  const PassSample& passes = recent.sum.passes;
  double took = passes.seconds;
  double should = recent.sum.should;
  double predicted = passes.predicted;
  // A pass that is under way and late counts as far as it has come.
  constexpr double kLate = 1.3;
  constexpr double kLeastLate = 0.3;  // s
  const double running_should = passes.running_predicted * correction(passes.running_tokens);
  if (passes.running > std::max(kLeastLate, kLate * running_should) && running_should > 0) {
    took += passes.running;
    should += running_should;
    predicted += passes.running_predicted;
  }
  if (should > 0 && predicted > 0 && took > 0) {
    recent.slowdown = took / should;
    recent.raw = took / predicted;
  }
  const double corrected = passes.predicted > 0 ? recent.sum.should / passes.predicted : 1;
  for (std::size_t i = 0; i < recent.device_slowdown.size(); ++i) {
    const double expected = passes.device_predicted[i] * corrected;
    const double waited = i == plan::kCpu ? passes.waited : 0;
    if (expected > 0) recent.device_slowdown[i] = std::max(0.0, passes.device_seconds[i] - waited) / expected;
  }
  return recent;
}

// The process did not run for a while (it was stopped, its group frozen, its virtual machine paused): the sample comes
// late, and nothing that makes a thread late on a machine that is in trouble accounts for it.
bool Judge::stood(const Interval& interval) const {
  constexpr double kLate = 0.15;  // s
  const double late = interval.seconds - usual_seconds_;
  if (late < kLate) return false;
  const double trouble = interval.waited.value_or(0) + interval.held_back.value_or(0) + interval.stolen.value_or(0) +
                         interval.memory_stalled.value_or(0);
  return trouble < 0.5 * late && interval.faults < 3 && interval.full < 1;
}

// Nothing that could explain a slow pass.
bool Judge::is_quiet(const Window& recent) {
  const Interval& sum = recent.sum;
  const double processors = std::max(1U, sum.processors);
  const double wanted = sum.ran.value_or(0) + sum.waited.value_or(0);
  return (wanted <= 0 || sum.waited.value_or(0) < 0.08 * wanted) &&
         sum.stolen.value_or(0) < 0.05 * processors * sum.seconds && sum.held_back.value_or(0) < 0.03 * sum.seconds &&
         sum.faults < 10 * sum.seconds && sum.memory_stalled.value_or(0) < 0.05 * sum.seconds &&
         sum.slowed.value_or(0) <= 0.02 * sum.seconds;
}

void Judge::note_baseline(const Sample& sample) {
  // What others have when the watch begins, the plan was made with. Less is taken for it as well.
  const auto lower = [](std::optional<Bytes>& known, const std::optional<Bytes>& now) {
    if (now && (!known || *now < *known)) known = now;
  };
  for (std::size_t i = 0; i < sample.gpus.size(); ++i) {
    lower(at_first_[i].moved, sample.gpus[i].moved);
    lower(at_first_[i].used, sample.gpus[i].used);
    if (!at_first_[i].own || (sample.gpus[i].own && *sample.gpus[i].own > *at_first_[i].own)) {
      at_first_[i].own = sample.gpus[i].own;
    }
  }
  if (has_baseline_) return;
  group_at_first_ = sample.group;
  available_at_first_ = sample.machine.available;
  has_baseline_ = true;
}

// Predictions are corrected by what passes take while nothing is wrong: quickly where they are faster, slowly where
// they are slower, and not beyond what would be a verdict of its own.
void Judge::correct(const Window& recent, bool suspicious) {
  constexpr double kLeast = 0.1;
  constexpr double kMost = 1.5;
  constexpr double kLeastSeconds = 0.2;
  const PassSample& passes = recent.sum.passes;
  if (suspicious || passes.passes < 2 || passes.seconds < kLeastSeconds || passes.predicted <= 0) return;
  const double ratio = passes.seconds / passes.predicted;
  double& correction = passes.tokens < kManyTokens ? few_ : many_;
  const double share = ratio < correction ? 0.3 : is_quiet(recent) ? 0.05 : 0;
  correction = std::clamp(correction + share * (ratio - correction), kLeast, kMost);
  if (recent.slowdown && *recent.slowdown < 1.1) clock_ = std::max(0.999 * clock_, recent.sum.clock);
}

void Judge::settle(Kind kind, const std::optional<Finding>& finding, const Window& recent, double time) {
  State& state = states_[static_cast<std::size_t>(kind)];
  if (!finding) {
    state.on = 0;
    if (++state.off < kOffAfter || !state.verdict) return;
    changes_.push_back({std::move(*state.verdict), false});
    state.verdict.reset();
    return;
  }
  state.off = 0;
  const int needed = kind == Kind::Mispredicted ? kMispredictedAfter : kOnAfter;
  if (++state.on < needed) return;
  Verdict verdict;
  verdict.kind = kind;
  verdict.device = finding->device;
  verdict.since = state.verdict ? state.verdict->since : time;
  const double device = finding->device != plan::kCpu ? recent.device_slowdown[finding->device] : 0;
  verdict.slowdown = std::max(device, recent.slowdown.value_or(1));
  if (kind == Kind::Mispredicted) verdict.slowdown = recent.raw.value_or(1);
  if (kind == Kind::Squeezed) verdict.slowdown = 1;  // what is slow now may have another cause
  verdict.evidence = finding->evidence;
  verdict.remedy = finding->remedy;
  verdict.figures = finding->figures;
  if (recent.slowdown) verdict.figures.push_back({"slowdown", verdict.slowdown});
  const bool begins = !state.verdict;
  state.verdict = std::move(verdict);
  if (begins) changes_.push_back({*state.verdict, true});
}

// To the gravest of the verdicts that hold, also what was lost before they were sure. Memory that was taken costs no
// time by itself: where something that does was found as well, it is that.
void Judge::attribute() {
  const auto is_held = [](const State& state) { return state.verdict.has_value(); };
  const auto slows = [&](const State& state) { return is_held(state) && state.verdict->kind != Kind::Squeezed; };
  auto holds = std::ranges::find_if(states_, slows);
  if (holds == states_.end()) holds = std::ranges::find_if(states_, is_held);
  if (holds == states_.end()) return;
  double& lost = losses_.lost[static_cast<std::size_t>(holds - states_.begin())];
  for (Interval& interval : intervals_) lost += std::exchange(interval.lost, 0);
}

const std::vector<Change>& Judge::take(const Sample& sample) {
  changes_.clear();
  if (!last_) {
    last_ = sample;
    note_baseline(sample);
    return changes_;
  }
  const double slept = (sample.wall_time - last_->wall_time) - (sample.time - last_->time);
  const double passed = sample.time - last_->time;
  constexpr double kSlept = 0.5;  // s
  if (passed <= 0 || passed > kLongestInterval || slept > kSlept) {
    last_ = sample;
    begin_anew(sample);
    return changes_;
  }
  Interval interval = between(*last_, sample);
  last_ = sample;
  const bool stood_still = stood(interval);
  usual_seconds_ += 0.2 * (passed - usual_seconds_);
  if (stood_still) {
    begin_anew(sample);
    return changes_;
  }
  if (sample.passes.running > sample.time - gap_end_) interval.passes.running = 0;
  if (after_gap_ && interval.passes.passes > 0) {
    interval.passes = {};
    after_gap_ = false;
  }
  interval.should = interval.passes.predicted * correction(interval.passes.tokens);
  constexpr double kNoise = 1.05;
  if (interval.passes.seconds > kNoise * interval.should) interval.lost = interval.passes.seconds - interval.should;
  losses_.passes += interval.passes.seconds;
  intervals_.push_back(interval);
  if (intervals_.size() > kKept) intervals_.pop_front();

  Window recent = window(kRecent);
  const Window all = window(kKept);
  if (!recent.slowdown || recent.sum.passes.passes < 2) {  // long passes: few end within a second
    recent.slowdown = all.slowdown;
    recent.raw = all.raw;
    recent.device_slowdown = all.device_slowdown;
    recent.sum.passes = all.sum.passes;
  }
  bool suspicious = false;
  for (const Kind kind : kAllKinds) {
    std::optional<Finding> finding;
    if (kind == Kind::Mispredicted) {
      if (!suspicious) finding = mispredicted(recent);
    } else if (intervals_.size() >= 2) {
      finding = find(kind, recent, sample);
    }
    suspicious |= finding.has_value() || states_[static_cast<std::size_t>(kind)].verdict.has_value();
    settle(kind, finding, recent, sample.time);
  }
  correct(recent, suspicious);
  if (!suspicious) note_baseline(sample);
  attribute();
  return changes_;
}

std::vector<Verdict> Judge::verdicts() const {
  std::vector<Verdict> all;
  for (const State& state : states_) {
    if (state.verdict) all.push_back(*state.verdict);
  }
  return all;
}

std::optional<double> Judge::ratio() const { return window(kKept).raw; }

}  // namespace loadline::watch

// A machine for tests of the judge: healthy samples four times a second, which a test makes worse.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "watch/judge.h"

namespace loadline::test {

// Two processors and a GPU, on which a model of 1 GiB generates at 20 tokens a second as predicted.
class Scenario {
 public:
  explicit Scenario(watch::Promise promise = usual_promise()) : judge_(std::move(promise)) { fill(); }

  static watch::Promise usual_promise() {
    watch::Promise promise;
    promise.devices = {{"RAM", kGiB, Bytes(512 * kMiB), 20e9, 0}, {"Card", kGiB, 800 * kMiB, 200e9, 10e9}};
    promise.disk_bandwidth = 1e9;
    return promise;
  }

  // What one sample adds to the one before; a test changes it.
  struct Step {
    double seconds = 0.25;
    double slept = 0;
    double ran = 0.5, waited = 0;  // s
    double others = 0, stolen = 0;
    std::uint64_t faults = 0, full = 0;
    double swapped_mib = 0;
    double held_back = 0, slowed = 0;
    double memory_stalled = 0;
    std::uint64_t disk_reads = 0;
    double disk_seconds = 0, disk_bytes = 0;
    std::uint64_t passes = 5;
    double pass_seconds = 0.05, predicted = 0.05;  // each
    double tokens = 1;
    double waited_for_disk = 0;                       // each
    double gpu_seconds = 0.02, gpu_predicted = 0.02;  // each
    double running = 0, running_predicted = 0.05;
  };

  // Takes so many samples; returns the kinds that began meanwhile.
  std::vector<watch::Kind> run(int samples, const Step& step, const std::function<void(watch::Sample&)>& change = {}) {
    std::vector<watch::Kind> began;
    for (int i = 0; i < samples; ++i) {
      advance(step);
      if (change) change(sample_);
      for (const watch::Change& one : judge_.take(sample_)) {
        (one.begins ? began : ended_).push_back(one.verdict.kind);
        if (one.begins) last_ = one.verdict;
      }
    }
    return began;
  }
  std::vector<watch::Kind> run(int samples) { return run(samples, Step{}); }

  [[nodiscard]] const std::vector<watch::Kind>& ended() const { return ended_; }
  [[nodiscard]] const watch::Verdict& last() const { return last_; }
  watch::Judge& judge() { return judge_; }
  watch::Sample& sample() { return sample_; }

 private:
  void fill() {
    sample_.time = 1000;
    sample_.wall_time = 5000;
    sample_.process = {100.0, 1.0, 500, kGiB, Bytes()};
    sample_.machine.processors = 2;
    sample_.machine.busy = 300;
    sample_.machine.stolen = 2;
    sample_.machine.total = 16 * kGiB;
    sample_.machine.available = 8 * kGiB;
    sample_.machine.memory_pressure = watch::Pressure{1, 1};
    sample_.group = {8 * kGiB, 2 * kGiB, 0, 0.0};
    sample_.processor = {3.0e9, 3.6e9, 0.0, 60.0, 100.0};
    sample_.disk = {1000, kGiB, 3.0};
    watch::GpuSample& gpu = sample_.gpus[1];
    gpu.budget = 7 * kGiB;
    gpu.own = kGiB;
    gpu.total = 8 * kGiB;
    gpu.used = 2 * kGiB;
    gpu.moved = 100 * kMiB;
    gpu.clock = 1.8e9;
    gpu.most_clock = 1.9e9;
    gpu.temperature = 65;
    gpu.slowed = false;
    judge_.take(sample_);
  }
  void advance(const Step& step) {
    const auto add = [](auto& value, double more) {
      value = static_cast<std::remove_cvref_t<decltype(*value)>>(static_cast<double>(*value) + more);
    };
    sample_.time += step.seconds;
    sample_.wall_time += step.seconds + step.slept;
    add(sample_.process.ran, step.ran);
    add(sample_.process.waited, step.waited);
    add(sample_.process.major_faults, static_cast<double>(step.faults));
    *sample_.process.swapped += Bytes(static_cast<std::uint64_t>(step.swapped_mib * 1048576));
    add(sample_.machine.busy, step.ran + step.others);
    add(sample_.machine.stolen, step.stolen);
    sample_.machine.memory_pressure->full += step.memory_stalled;
    add(sample_.group.full, static_cast<double>(step.full));
    add(sample_.group.held_back, step.held_back);
    add(sample_.processor.slowed, step.slowed);
    add(sample_.disk.reads, static_cast<double>(step.disk_reads));
    *sample_.disk.read += Bytes(static_cast<std::uint64_t>(step.disk_bytes));
    add(sample_.disk.reading, step.disk_seconds);
    const auto passes = static_cast<double>(step.passes);
    watch::PassSample& all = sample_.passes;
    all = {};
    all.passes = step.passes;
    all.seconds = passes * step.pass_seconds;
    all.predicted = passes * step.predicted;
    all.tokens = step.tokens;
    all.waited = passes * step.waited_for_disk;
    all.device_seconds = {passes * (step.pass_seconds - step.gpu_seconds), passes * step.gpu_seconds};
    all.device_predicted = {passes * (step.predicted - step.gpu_predicted), passes * step.gpu_predicted};
    all.running = step.running;
    all.running_predicted = step.running_predicted;
    all.running_tokens = step.tokens;
  }

  watch::Judge judge_;
  watch::Sample sample_;
  watch::Verdict last_;
  std::vector<watch::Kind> ended_;
};

// Passes that take so many times as long as they should.
inline Scenario::Step slower(double times) {
  Scenario::Step step;
  step.pass_seconds *= times;
  step.gpu_seconds *= times;
  step.passes = static_cast<std::uint64_t>(std::max(1.0, 5 / times));
  return step;
}

}  // namespace loadline::test

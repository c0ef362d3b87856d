#include "selftest/selftest.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/setting.h"
#include "base/text.h"
#include "hardware/probe.h"
#include "hardware/shared_memory.h"
#include "hardware/vulkan_api.h"
#include "selftest/checks.h"

namespace loadline::selftest {
namespace {

// A flag that is set when the time is up or the user had enough.
class TimeLimit {
 public:
  TimeLimit(double seconds, const StopFlag& interrupted)
      : end_(steady_seconds() + seconds), thread_([this, &interrupted](const std::stop_token& token) {
          std::unique_lock lock(mutex_);
          while (!token.stop_requested() && !interrupted.load() && steady_seconds() < end_) {
            changed_.wait_for(lock, token, std::chrono::milliseconds(20), [] { return false; });
          }
          flag_.store(true);
        }) {}

  [[nodiscard]] const StopFlag& flag() const { return flag_; }

 private:
  const double end_;
  StopFlag flag_{false};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;  // goes first
};

Checks all_checks() {
  Checks all;
  add_card_checks(all);
  add_shader_checks(all);
  add_model_checks(all);
  add_memory_checks(all);
  add_speed_checks(all);
  std::ranges::stable_sort(all, {}, &Check::rank);
  return all;
}

Checks checks_for(const Options& options) {
  Checks all = all_checks();
  if (options.only.empty()) return all;
  Checks wanted;
  for (const std::string& part : options.only) {
    const auto means = [&](const Check& check) { return (check.section + " " + check.name).contains(part); };
    if (std::ranges::none_of(all, means)) {
      std::string names;
      for (const Check& check : all)
        names += fmt::format("{}{} {}", names.empty() ? "" : ", ", check.section, check.name);
      throw bad_input(fmt::format("no check of the self-test is called \"{}\"", printable(part)),
                      fmt::format("There are: {}.", names));
    }
  }
  for (Check& check : all) {
    const std::string name = check.section + " " + check.name;
    if (std::ranges::any_of(options.only, [&](const std::string& part) { return name.contains(part); })) {
      wanted.push_back(std::move(check));
    }
  }
  return wanted;
}

// One check, whatever becomes of it.
Row make(const Check& check, Subject& subject, const StopFlag& interrupted) {
  Row row;
  row.section = check.section;
  row.name = check.name;
  const auto ends = [&](Verdict verdict, std::string said) {
    row.verdict = verdict;
    row.said = std::move(said);
  };
  const double begin = steady_seconds();
  try {
    subject.check_time();
    check.run(subject, row);
  } catch (const Stopped&) {
    ends(Verdict::LeftOut, interrupted.load() ? "stopped by the user" : "the time is up");
  } catch (const NotHere& reason) {
    ends(Verdict::NotHere, reason.what());
  } catch (const NotKnown& reason) {
    ends(Verdict::LeftOut, reason.what());
  } catch (const Mismatch& mismatch) {
    ends(Verdict::Failed, mismatch.what());
  } catch (const Error& error) {
    ends(Verdict::Failed, error.what());
  } catch (const std::exception& error) {
    ends(Verdict::Failed, fmt::format("internal error: {}", error.what()));
  }
  row.seconds = steady_seconds() - begin;
  return row;
}

// What the driver says of the device, which must be there.
hardware::VulkanDeviceInfo info_of(const hardware::Gpu& gpu) {
  std::string why;
  const auto instance = hardware::VulkanInstance::open(why);
  if (instance) {
    for (const hardware::VulkanDeviceInfo& info : hardware::list_vulkan_devices(*instance)) {
      if (info.id == gpu.id) return info;
    }
  }
  throw Error(ErrorCode::DeviceFailure, fmt::format("the GPU {} is gone", gpu.name));
}

}  // namespace

std::vector<std::string> check_names() {
  std::vector<std::string> names;
  for (const Check& check : all_checks()) names.push_back(check.section + " " + check.name);
  return names;
}

Report run(const Options& options, const Events& events, const StopFlag& interrupted) {
  const double begin = steady_seconds();
  // Mesa's software device, which is used when it is named, spends most of the time on compiling, and that on making
  // fast what runs once. Read when its driver is opened; nobody else knows it.
  if (!options.device.empty()) ::setenv("GALLIVM_PERF", "nopt", 0);
  const Checks checks = checks_for(options);
  Report report;
  report.minutes = options.minutes;
  hardware::Profile machine = hardware::probe();
  report.processor = machine.cpu.model;
  report.ram = machine.ram.total;
  const std::vector<hardware::Gpu> gpus = hardware::probe_gpus_beside(
      machine.ram, options.device.empty() ? std::vector<std::string>() : std::vector<std::string>{options.device});
  if (gpus.empty()) {
    std::string there;
    for (const hardware::Gpu& gpu : hardware::list_gpus()) {
      there += fmt::format("{}{} ({})", there.empty() ? "" : ", ", gpu.id, printable(gpu.name));
    }
    throw SettingError(
        ErrorCode::BadInput, "this machine has no GPU that can be used",
        there.empty() ? "" : fmt::format("Of software there is: {}; it is used when it is named.", there),
        Setting::Devices);
  }
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    const double left = options.minutes * 60 - (steady_seconds() - begin);
    const double share = left / static_cast<double>(gpus.size() - i);
    const double from = steady_seconds();
    const TimeLimit limit(share, interrupted);
    Models models(limit.flag());
    machine.gpus = {gpus[i]};
    Subject subject{machine, {}, models, limit.flag()};
    subject.options.device = gpus[i].id;
    subject.options.broken_shader = options.broken_shader;
    Card card{gpus[i].id, gpus[i].name, info_of(gpus[i]).driver, gpus[i].software, gpus[i].total, gpus[i].free, {}};
    if (events.card) events.card(card);
    for (const Check& check : checks) {
      if (events.progress) {
        events.progress(check.section + " " + check.name, std::min(1.0, (steady_seconds() - from) / share));
      }
      card.rows.push_back(make(check, subject, interrupted));
      if (events.row) events.row(card.rows.back());
    }
    report.cards.push_back(std::move(card));
  }
  report.interrupted = interrupted.load();
  report.seconds = steady_seconds() - begin;
  return report;
}

}  // namespace loadline::selftest

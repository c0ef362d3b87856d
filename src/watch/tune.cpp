#include "watch/tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace loadline::watch {
namespace {

// What is no more than that faster may be chance.
constexpr double kWorth = 1.01;

class Search {
 public:
  Search(const TuneSpace& space, const std::function<std::optional<Measured>(const Setting&)>& measure,
         const std::function<bool()>& out_of_time, const std::function<void(const Trial&)>& tried)
      : space_(space), measure_(measure), out_of_time_(out_of_time), tried_(tried) {}

  TuneResult run(const Setting& planned) {
    const auto first = attempt("as planned", planned);
    if (first) take(planned, *first);
    bool better = first.has_value();
    while (better && !over_) {
      better = layers();
      better |= threads();
      better |= batch();
    }
    result_.finished = !over_;
    confirm(planned);
    return std::move(result_);
  }

 private:
  // nullopt where it does not fit, was tried before, or time is up.
  std::optional<Measured> attempt(const std::string& what, const Setting& setting) {
    const bool known =
        std::ranges::any_of(result_.trials, [&](const Trial& trial) { return trial.setting == setting; });
    if (known || over_ || (over_ = out_of_time_())) return std::nullopt;
    Trial trial{what, setting, measure_(setting), false};
    trial.best = trial.measured && (result_.trials.empty() || is_better(*trial.measured));
    result_.trials.push_back(trial);
    tried_(trial);
    return trial.measured;
  }

  // Generation decides; of two that generate as fast, the one that reads faster.
  [[nodiscard]] bool is_better(const Measured& measured) const {
    if (measured.generation > kWorth * result_.measured.generation) return true;
    return measured.generation * kWorth > result_.measured.generation &&
           measured.prompt > 1.03 * result_.measured.prompt;
  }
  void take(const Setting& setting, const Measured& measured) {
    result_.setting = setting;
    result_.measured = measured;
  }

  // Steps to either side, halved where neither helps. `value_of` and `with` name one of the setting's numbers.
  template <class With, class What>
  bool bisect(std::uint32_t value, std::uint32_t least, std::uint32_t most, std::uint32_t step, const With& with,
              const What& what) {
    bool helped = false;
    step = std::max(1U, step);
    while (step > 0 && !over_) {
      bool moved = false;
      for (const bool up : {true, false}) {
        const std::uint32_t next = up ? std::min(most, value + step) : value - std::min(value - least, step);
        if (next == value) continue;
        const Setting setting = with(next);
        const auto measured = attempt(what(next), setting);
        if (!measured || !is_better(*measured)) continue;
        take(setting, *measured);
        value = next;
        helped = moved = true;
        break;
      }
      if (!moved) step /= 2;
    }
    return helped;
  }

  // Half of them first: what the plan thought may be far off, where memory was moved behind its back.
  bool layers() {
    if (space_.most_layers == 0) return false;
    const auto with = [&](std::uint32_t count) {
      Setting setting = result_.setting;
      setting.gpu_layers = count;
      return setting;
    };
    const auto what = [](std::uint32_t count) { return fmt::format("{} layers on the GPU", count); };
    const std::uint32_t now = result_.setting.gpu_layers.value_or(space_.planned_layers);
    bool helped = false;
    const std::uint32_t half = space_.most_layers / 2;
    if (half != now) {
      const auto measured = attempt(what(half), with(half));
      if (measured && is_better(*measured)) {
        take(with(half), *measured);
        helped = true;
      }
    }
    const std::uint32_t from = result_.setting.gpu_layers.value_or(space_.planned_layers);
    return bisect(from, 0, space_.most_layers, space_.most_layers / 4, with, what) || helped;
  }

  bool threads() {
    return bisect(
        result_.setting.threads, 1, space_.most_threads, space_.most_threads / 4,
        [&](std::uint32_t count) {
          Setting setting = result_.setting;
          setting.threads = count;
          return setting;
        },
        [](std::uint32_t count) { return fmt::format("threads {}", count); });
  }

  bool batch() {
    bool helped = false;
    for (const bool up : {true, false}) {
      while (!over_) {
        Setting setting = result_.setting;
        setting.batch = up ? setting.batch * 2 : setting.batch / 2;
        if (setting.batch < space_.least_batch || setting.batch > space_.most_batch) break;
        const auto measured = attempt(fmt::format("batch {}", setting.batch), setting);
        if (!measured || !is_better(*measured)) break;
        take(setting, *measured);
        helped = true;
      }
    }
    return helped;
  }

  // The winner was perhaps lucky: it and what was planned are measured once more, and the plan stays where it is not
  // beaten twice.
  void confirm(const Setting& planned) {
    if (result_.setting == planned || out_of_time_()) return;
    const auto again = measure_(result_.setting);
    if (!again || out_of_time_()) return;
    const auto before = measure_(planned);
    if (!before) return;
    const double reached = std::min(result_.measured.generation, again->generation);
    result_.measured.generation = reached;
    if (before->generation * kWorth > reached && before->prompt > again->prompt) take(planned, *before);
  }

  const TuneSpace& space_;
  const std::function<std::optional<Measured>(const Setting&)>& measure_;
  const std::function<bool()>& out_of_time_;
  const std::function<void(const Trial&)>& tried_;
  TuneResult result_;
  bool over_ = false;
};

}  // namespace

TuneResult tune(const Setting& planned, const TuneSpace& space,
                const std::function<std::optional<Measured>(const Setting&)>& measure,
                const std::function<bool()>& out_of_time, const std::function<void(const Trial&)>& tried) {
  return Search(space, measure, out_of_time, tried).run(planned);
}

}  // namespace loadline::watch

#include "plan/placement_search.h"

#include <algorithm>
#include <array>
#include <limits>

namespace loadline::plan {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostGpus = 8;
// Partial assignments kept for each group and device. With one GPU they are compared in linear time, with more in
// quadratic.
constexpr std::size_t kMostLabels = 3000;
constexpr std::size_t kMostLabelsSeveral = 96;

using Prices = std::vector<double>;  // seconds per byte, per device; zero for the CPU

// The best completion from each point on when bytes have prices and there are no capacities: [item][device of the item
// before]. The bound that the search prunes with (Lagrangian relaxation of the capacities).
struct Completion {
  std::vector<std::vector<double>> seconds;  // [item + 1 entries][device]

  double from(std::size_t item, DeviceIndex before) const { return seconds[item][before]; }
};

double priced(const PlacementProblem& problem, const Prices& prices, std::size_t item, DeviceIndex device) {
  const PlacementProblem::Item& one = problem.items[item];
  if (!one.allowed[device]) return kNever;
  return one.seconds[device] + prices[device] * static_cast<double>(one.bytes[device]);
}

Completion complete(const PlacementProblem& problem, const Prices& prices) {
  const std::size_t count = problem.items.size();
  const auto devices = static_cast<DeviceIndex>(problem.devices());
  Completion completion;
  completion.seconds.assign(count + 1, std::vector<double>(devices, 0.0));
  for (std::size_t item = count; item-- > 0;) {
    for (DeviceIndex before = 0; before < devices; ++before) {
      double best = kNever;
      for (DeviceIndex device = 0; device < devices; ++device) {
        const double change = item == 0 ? 0.0 : problem.switch_seconds[before][device];
        best = std::min(best, change + priced(problem, prices, item, device) + completion.seconds[item + 1][device]);
      }
      completion.seconds[item][before] = best;
    }
  }
  return completion;
}

// The assignment that completion promises.
Assignment trace(const PlacementProblem& problem, const Prices& prices, const Completion& completion) {
  Assignment assignment;
  DeviceIndex before = 0;
  for (std::size_t item = 0; item < problem.items.size(); ++item) {
    DeviceIndex chosen = 0;
    double best = kNever;
    for (DeviceIndex device = 0; device < problem.devices(); ++device) {
      const double change = item == 0 ? 0.0 : problem.switch_seconds[before][device];
      const double total = change + priced(problem, prices, item, device) + completion.seconds[item + 1][device];
      if (total < best) {
        best = total;
        chosen = device;
      }
    }
    assignment.push_back(chosen);
    before = chosen;
  }
  return assignment;
}

std::vector<std::uint64_t> used_bytes(const PlacementProblem& problem, const Assignment& assignment) {
  std::vector<std::uint64_t> used(problem.devices(), 0);
  for (std::size_t item = 0; item < assignment.size(); ++item) {
    used[assignment[item]] += problem.items[item].bytes[assignment[item]];
  }
  return used;
}

// Time won by moving one item to another device, neighbours staying.
double gain(const PlacementProblem& problem, const Assignment& assignment, std::size_t item, DeviceIndex to) {
  const DeviceIndex from = assignment[item];
  double won = problem.items[item].seconds[from] - problem.items[item].seconds[to];
  if (item > 0) {
    won += problem.switch_seconds[assignment[item - 1]][from] - problem.switch_seconds[assignment[item - 1]][to];
  }
  if (item + 1 < assignment.size()) {
    won += problem.switch_seconds[from][assignment[item + 1]] - problem.switch_seconds[to][assignment[item + 1]];
  }
  return won;
}

// Moves single items to where they save most time per byte, as long as something fits and saves.
void fill(const PlacementProblem& problem, Assignment& assignment) {
  std::vector<std::uint64_t> used = used_bytes(problem, assignment);
  while (true) {
    double best = 0;
    std::size_t best_item = 0;
    DeviceIndex best_device = 0;
    for (std::size_t item = 0; item < assignment.size(); ++item) {
      const PlacementProblem::Item& one = problem.items[item];
      for (DeviceIndex device = 0; device < problem.devices(); ++device) {
        if (device == assignment[item] || !one.allowed[device]) continue;
        if (device != kCpu && used[device] + one.bytes[device] > problem.capacity[device]) continue;
        const double won = gain(problem, assignment, item, device) / static_cast<double>(one.bytes[device] + 1);
        if (won > best * (1 + 1e-12) && won > 0) {
          best = won;
          best_item = item;
          best_device = device;
        }
      }
    }
    if (best <= 0) return;
    used[assignment[best_item]] -= problem.items[best_item].bytes[assignment[best_item]];
    used[best_device] += problem.items[best_item].bytes[best_device];
    assignment[best_item] = best_device;
  }
}

// Prices under which the relaxed optimum just uses up the capacities, and the best real assignment met on the way.
class PriceSearch {
 public:
  explicit PriceSearch(const PlacementProblem& problem) : problem_(problem), prices_(problem.devices(), 0.0) {
    offer_everything_on_cpu();
    if (problem.devices() == 2) {
      bisect();
    } else if (problem.devices() > 2) {
      descend();
    }
  }

  [[nodiscard]] const Prices& prices() const { return best_prices_; }
  [[nodiscard]] const Assignment& best() const { return best_; }
  [[nodiscard]] double best_seconds() const { return best_seconds_; }

 private:
  void offer(Assignment assignment) {
    if (!is_feasible(problem_, assignment)) return;
    fill(problem_, assignment);
    const double seconds = seconds_of(problem_, assignment);
    if (seconds < best_seconds_) {
      best_seconds_ = seconds;
      best_ = std::move(assignment);
    }
  }

  // Only what must be elsewhere is.
  void offer_everything_on_cpu() {
    Assignment assignment;
    for (const PlacementProblem::Item& item : problem_.items) {
      const auto first = std::ranges::find(item.allowed, true);
      assignment.push_back(static_cast<DeviceIndex>(first - item.allowed.begin()));
    }
    offer(std::move(assignment));
  }

  // The relaxed optimum for the present prices; remembers the prices of the best bound.
  std::vector<std::uint64_t> evaluate() {
    const Completion completion = complete(problem_, prices_);
    Assignment assignment = trace(problem_, prices_, completion);
    std::vector<std::uint64_t> used = used_bytes(problem_, assignment);
    double bound = completion.from(0, 0);
    for (std::size_t d = 1; d < problem_.devices(); ++d)
      bound -= prices_[d] * static_cast<double>(problem_.capacity[d]);
    if (bound > best_bound_) {
      best_bound_ = bound;
      best_prices_ = prices_;
    }
    offer(std::move(assignment));
    return used;
  }

  // The most a byte can be worth: no placement of an item saves more time per byte.
  [[nodiscard]] double dearest() const {
    double most = 0;
    double change = 0;
    for (const auto& row : problem_.switch_seconds) change = std::max(change, *std::ranges::max_element(row));
    for (const PlacementProblem::Item& item : problem_.items) {
      for (std::size_t d = 1; d < problem_.devices(); ++d) {
        if (!item.allowed[d] || item.bytes[d] == 0) continue;
        most = std::max(most, (item.seconds[0] + 2 * change) / static_cast<double>(item.bytes[d]));
      }
    }
    return most;
  }

  void bisect() {
    if (evaluate()[1] <= problem_.capacity[1]) return;  // all that is wanted fits
    double low = 0;
    double high = dearest();
    for (int step = 0; step < 48; ++step) {
      prices_[1] = (low + high) / 2;
      (evaluate()[1] > problem_.capacity[1] ? low : high) = prices_[1];
    }
    prices_[1] = high;
    evaluate();
  }

  // Subgradient steps, each price moved by how much too much (or little) of its device is used.
  void descend() {
    const double most = dearest();
    for (int step = 0; step < 120; ++step) {
      const std::vector<std::uint64_t> used = evaluate();
      const double length = most / (1.0 + 0.15 * step);
      bool moved = false;
      for (std::size_t d = 1; d < problem_.devices(); ++d) {
        const double capacity = std::max(1.0, static_cast<double>(problem_.capacity[d]));
        const double excess = std::clamp((static_cast<double>(used[d]) - capacity) / capacity, -1.0, 1.0);
        const double price = std::max(0.0, prices_[d] + length * 0.3 * excess);
        moved = moved || price != prices_[d];
        prices_[d] = price;
      }
      if (!moved) return;
    }
  }

  const PlacementProblem& problem_;
  Prices prices_;
  Prices best_prices_ = prices_;
  double best_bound_ = -kNever;
  Assignment best_;
  double best_seconds_ = kNever;
};

// Which label of the item before, and on which device that item was.
struct Step {
  std::uint32_t label;
  DeviceIndex device;
};

// A partial assignment of the first items.
struct Label {
  double seconds = 0;
  double bound = 0;                                // least time of any completion, as far as the prices tell
  std::array<std::uint64_t, kMostGpus> used = {};  // per GPU
  Step came_from = {0, 0};
};

class LabelSearch {
 public:
  LabelSearch(const PlacementProblem& problem, const Prices& prices, double limit)
      : problem_(problem), prices_(prices), completion_(complete(problem, prices)), limit_(limit) {
    gpus_ = problem.devices() - 1;
    for (std::size_t d = 1; d < problem.devices(); ++d) {
      priced_capacity_ += prices[d] * static_cast<double>(problem.capacity[d]);
    }
  }

  // Better than `limit`, or empty.
  Assignment run() {
    const std::size_t count = problem_.items.size();
    history_.assign(count, std::vector<std::vector<Step>>(problem_.devices()));
    for (std::size_t item = 0; item < count; ++item) {
      std::vector<std::vector<Label>> next(problem_.devices());
      for (DeviceIndex device = 0; device < problem_.devices(); ++device) {
        if (!problem_.items[item].allowed[device]) continue;
        next[device] = extend(item, device);
        for (const Label& label : next[device]) history_[item][device].push_back(label.came_from);
      }
      labels_ = std::move(next);
    }
    return best();
  }

 private:
  std::vector<Label> extend(std::size_t item, DeviceIndex device) const {
    std::vector<Label> target;
    if (item == 0) {
      add(item, device, Label{}, 0.0, target);
    } else {
      for (DeviceIndex before = 0; before < problem_.devices(); ++before) {
        const std::vector<Label>& source = labels_[before];
        const double change = problem_.switch_seconds[before][device];
        for (std::uint32_t i = 0; i < source.size(); ++i) {
          Label next = source[i];
          next.came_from = {i, before};
          add(item, device, next, change, target);
        }
      }
    }
    prune(target);
    return target;
  }

  void add(std::size_t item, DeviceIndex device, Label label, double change, std::vector<Label>& target) const {
    const PlacementProblem::Item& one = problem_.items[item];
    label.seconds += change + one.seconds[device];
    if (device != kCpu) {
      std::uint64_t& used = label.used[device - 1];
      used += one.bytes[device];
      if (used > problem_.capacity[device]) return;
    }
    label.bound = label.seconds + completion_.seconds[item + 1][device] - priced_capacity_;
    for (std::size_t g = 0; g < gpus_; ++g) label.bound += prices_[g + 1] * static_cast<double>(label.used[g]);
    if (label.bound < limit_) target.push_back(label);
  }

  [[nodiscard]] bool dominates(const Label& a, const Label& b) const {
    if (a.seconds > b.seconds) return false;
    for (std::size_t g = 0; g < gpus_; ++g) {
      if (a.used[g] > b.used[g]) return false;
    }
    return true;
  }

  // Drops labels that another is at least as good as in every way.
  void prune(std::vector<Label>& labels) const {
    if (labels.size() < 2) return;
    std::ranges::stable_sort(labels, [&](const Label& a, const Label& b) {
      if (a.used != b.used) return a.used < b.used;
      return a.seconds < b.seconds;
    });
    std::vector<Label> kept;
    if (gpus_ == 1) {
      for (const Label& label : labels) {
        if (kept.empty() || label.seconds < kept.back().seconds) kept.push_back(label);
      }
    } else {
      cap(labels, 4 * kMostLabelsSeveral);
      for (const Label& label : labels) {
        const bool worse = std::ranges::any_of(kept, [&](const Label& other) { return dominates(other, label); });
        if (!worse) kept.push_back(label);
      }
    }
    cap(kept, gpus_ == 1 ? kMostLabels : kMostLabelsSeveral);
    labels = std::move(kept);
  }

  // The most promising ones, in the order they were in.
  static void cap(std::vector<Label>& labels, std::size_t most) {
    if (labels.size() <= most) return;
    std::vector<double> bounds;
    for (const Label& label : labels) bounds.push_back(label.bound);
    std::ranges::nth_element(bounds, bounds.begin() + static_cast<std::ptrdiff_t>(most));
    const double threshold = bounds[most];
    std::erase_if(labels, [&](const Label& label) { return label.bound >= threshold; });
  }

  Assignment best() const {
    double least = kNever;
    Step at{};
    for (DeviceIndex device = 0; device < problem_.devices(); ++device) {
      for (std::uint32_t i = 0; i < labels_[device].size(); ++i) {
        if (labels_[device][i].seconds >= least) continue;
        least = labels_[device][i].seconds;
        at = {i, device};
      }
    }
    if (least == kNever) return {};
    Assignment assignment(problem_.items.size());
    for (std::size_t item = problem_.items.size(); item-- > 0;) {
      assignment[item] = at.device;
      at = history_[item][at.device][at.label];
    }
    return assignment;
  }

  const PlacementProblem& problem_;
  const Prices& prices_;
  Completion completion_;
  double limit_;
  double priced_capacity_ = 0;
  std::size_t gpus_ = 0;
  std::vector<std::vector<Label>> labels_;               // of the item last looked at, per device
  std::vector<std::vector<std::vector<Step>>> history_;  // [item][device][label]
};

}  // namespace

double seconds_of(const PlacementProblem& problem, const Assignment& assignment) {
  double seconds = 0;
  for (std::size_t item = 0; item < assignment.size(); ++item) {
    seconds += problem.items[item].seconds[assignment[item]];
    if (item > 0) seconds += problem.switch_seconds[assignment[item - 1]][assignment[item]];
  }
  return seconds;
}

bool is_feasible(const PlacementProblem& problem, const Assignment& assignment) {
  for (std::size_t item = 0; item < assignment.size(); ++item) {
    if (assignment[item] >= problem.devices() || !problem.items[item].allowed[assignment[item]]) return false;
  }
  const std::vector<std::uint64_t> used = used_bytes(problem, assignment);
  for (std::size_t d = 1; d < problem.devices(); ++d) {
    if (used[d] > problem.capacity[d]) return false;
  }
  return true;
}

Assignment search_placement(const PlacementProblem& problem) {
  if (problem.items.empty() || problem.devices() - 1 > kMostGpus) return {};
  const PriceSearch relaxed(problem);
  if (problem.devices() == 1) return relaxed.best();
  LabelSearch search(problem, relaxed.prices(), relaxed.best_seconds());
  Assignment better = search.run();
  return better.empty() ? relaxed.best() : better;
}

}  // namespace loadline::plan

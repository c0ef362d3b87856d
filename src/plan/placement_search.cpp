#include "plan/placement_search.h"

#include <algorithm>
#include <array>

#include "plan/placement_bounds.h"

namespace loadline::plan {
namespace {

// Which label of the item before, and on which device that item was.
struct Step {
  std::uint32_t label;
  DeviceIndex device;
};

// Partial assignments of the items so far are labels: time and bytes used. A label that another is at least as good as
// in both is dropped, and so is one whose best completion, as far as prices tell, is not better than what is known.

// One GPU: bytes are one number, and lists stay sorted by it, so that all steps are merges.
class SingleSearch {
 public:
  // Keeps at most `most` labels for an item on a device: few find a good answer fast, many the best.
  SingleSearch(const PlacementProblem& problem, const Prices& prices, double limit, std::size_t most)
      : problem_(problem), completion_(complete(problem, prices)), price_(prices[1]), limit_(limit), most_(most) {}

  // Less than `limit`, or empty.
  Assignment run() {
    const std::size_t count = problem_.items.size();
    history_.resize(count);
    for (std::size_t item = 0; item < count; ++item) {
      std::array<List, 2> next;
      for (const DeviceIndex device : {0U, 1U}) {
        if (problem_.items[item].allowed[device]) next[device] = extend(item, device);
        for (const Label& label : next[device]) history_[item][device].push_back(label.came_from);
      }
      lists_ = std::move(next);
    }
    return best();
  }

 private:
  struct Label {
    double seconds;
    std::uint64_t used;
    Step came_from;
  };
  using List = std::vector<Label>;  // used ascending, seconds descending

  List extend(std::size_t item, DeviceIndex device) const {
    const PlacementProblem::Item& one = problem_.items[item];
    const std::uint64_t bytes = device == kCpu ? 0 : one.bytes[device];
    if (item == 0) return bytes > problem_.capacity[1] ? List{} : List{{one.seconds[device], bytes, {0, 0}}};
    // What a completion may still cost before it is not better than what is known.
    const double slack =
        limit_ + price_ * static_cast<double>(problem_.capacity[1]) - completion_.from(item + 1, device);
    const std::array<double, 2> add = {problem_.switch_seconds[0][device] + one.seconds[device],
                                       problem_.switch_seconds[1][device] + one.seconds[device]};
    List merged;
    std::array<std::size_t, 2> at = {0, 0};
    while (at[0] < lists_[0].size() || at[1] < lists_[1].size()) {
      const DeviceIndex from =
          at[1] >= lists_[1].size() || (at[0] < lists_[0].size() && lists_[0][at[0]].used <= lists_[1][at[1]].used) ? 0
                                                                                                                    : 1;
      const auto index = static_cast<std::uint32_t>(at[from]++);
      const Label& source = lists_[from][index];
      const Label label{source.seconds + add[from], source.used + bytes, {index, from}};
      if (label.used > problem_.capacity[1]) break;
      if (label.seconds + price_ * static_cast<double>(label.used) >= slack) continue;
      if (!merged.empty() && merged.back().used == label.used) {
        if (label.seconds < merged.back().seconds) merged.back() = label;
      } else if (merged.empty() || label.seconds < merged.back().seconds) {
        merged.push_back(label);
      }
    }
    if (merged.size() > most_) thin_out(merged);
    return merged;
  }

  // Keeps the labels nearest to the bound. This is where the search may miss the optimum, by very little.
  void thin_out(List& list) const {
    std::vector<double> costs;
    for (const Label& label : list) costs.push_back(label.seconds + price_ * static_cast<double>(label.used));
    std::ranges::nth_element(costs, costs.begin() + static_cast<std::ptrdiff_t>(most_));
    std::erase_if(list, [&, threshold = costs[most_]](const Label& label) {
      return label.seconds + price_ * static_cast<double>(label.used) >= threshold;
    });
  }

  Assignment best() const {
    double least = limit_;
    Step at{0, 0};
    bool found = false;
    for (const DeviceIndex device : {0U, 1U}) {
      for (std::uint32_t i = 0; i < lists_[device].size(); ++i) {
        if (lists_[device][i].seconds >= least) continue;
        least = lists_[device][i].seconds;
        at = {i, device};
        found = true;
      }
    }
    if (!found) return {};
    Assignment assignment(problem_.items.size());
    for (std::size_t item = problem_.items.size(); item-- > 0;) {
      assignment[item] = at.device;
      at = history_[item][at.device][at.label];
    }
    return assignment;
  }

  const PlacementProblem& problem_;
  Completion completion_;
  double price_;
  double limit_;
  std::size_t most_;
  std::array<List, 2> lists_;                              // of the item last looked at, per device
  std::vector<std::array<std::vector<Step>, 2>> history_;  // [item][device][label]
};

// Several GPUs: labels are compared one by one, so fewer are kept.
class SeveralSearch {
 public:
  SeveralSearch(const PlacementProblem& problem, const Prices& prices, double limit)
      : problem_(problem), prices_(prices), completion_(complete(problem, prices)), limit_(limit) {
    gpus_ = problem.devices() - 1;
    for (std::size_t d = 1; d < problem.devices(); ++d) {
      priced_capacity_ += prices[d] * static_cast<double>(problem.capacity[d]);
    }
  }

  static constexpr std::size_t kMostGpus = 8;

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
  struct Label {
    double seconds = 0;
    double bound = 0;                                // least time of any completion, as far as the prices tell
    std::array<std::uint64_t, kMostGpus> used = {};  // per GPU
    Step came_from = {0, 0};
  };
  static constexpr std::size_t kMost = 48;  // per item and device

  std::vector<Label> extend(std::size_t item, DeviceIndex device) const {
    std::vector<Label> target;
    if (item == 0) {
      add(item, device, Label{}, 0.0, target);
    } else {
      for (DeviceIndex before = 0; before < problem_.devices(); ++before) {
        const double change = problem_.switch_seconds[before][device];
        for (std::uint32_t i = 0; i < labels_[before].size(); ++i) {
          Label next = labels_[before][i];
          next.came_from = {i, before};
          add(item, device, next, change, target);
        }
      }
    }
    return prune(target);
  }

  void add(std::size_t item, DeviceIndex device, Label label, double change, std::vector<Label>& target) const {
    const PlacementProblem::Item& one = problem_.items[item];
    label.seconds += change + one.seconds[device];
    if (device != kCpu) {
      std::uint64_t& used = label.used[device - 1];
      used += one.bytes[device];
      if (used > problem_.capacity[device]) return;
    }
    label.bound = label.seconds + completion_.from(item + 1, device) - priced_capacity_;
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

  // The most promising ones that no other is at least as good as in every way.
  [[nodiscard]] std::vector<Label> prune(std::vector<Label>& labels) const {
    std::ranges::stable_sort(labels, {}, &Label::bound);
    std::vector<Label> kept;
    for (const Label& label : labels) {
      const bool worse = std::ranges::any_of(kept, [&](const Label& other) { return dominates(other, label); });
      if (worse) continue;
      kept.push_back(label);
      if (kept.size() == kMost) break;
    }
    return kept;
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

// Small problems are solved by trying everything: with several GPUs the search below is only near the optimum.
constexpr std::uint64_t kFewAssignments = 1U << 14;
bool is_small(const PlacementProblem& problem) {
  std::uint64_t count = 1;
  for (std::size_t i = 0; i < problem.items.size() && count <= kFewAssignments; ++i) count *= problem.devices();
  return count <= kFewAssignments;
}
Assignment best_of_all(const PlacementProblem& problem) {
  Assignment best;
  double least = kNever;
  Assignment tried(problem.items.size(), 0);
  while (true) {
    if (is_feasible(problem, tried) && seconds_of(problem, tried) < least) {
      least = seconds_of(problem, tried);
      best = tried;
    }
    std::size_t at = 0;
    while (at < tried.size() && ++tried[at] == problem.devices()) tried[at++] = 0;
    if (at == tried.size()) return best;
  }
}

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
  std::vector<std::uint64_t> used(problem.devices(), 0);
  for (std::size_t item = 0; item < assignment.size(); ++item) {
    const DeviceIndex device = assignment[item];
    if (device >= problem.devices() || !problem.items[item].allowed[device]) return false;
    used[device] += problem.items[item].bytes[device];
  }
  for (std::size_t d = 1; d < problem.devices(); ++d) {
    if (used[d] > problem.capacity[d]) return false;
  }
  return true;
}

Assignment search_placement(const PlacementProblem& problem, double limit, Effort effort) {
  if (problem.items.empty() || problem.devices() - 1 > SeveralSearch::kMostGpus) return {};
  const PriceSearch relaxed(problem);
  if (relaxed.bound() >= limit) return {};
  Assignment best = relaxed.best();
  double known = std::min(limit, relaxed.best_seconds());
  const auto take = [&](Assignment found) {
    if (found.empty()) return;
    known = seconds_of(problem, found);
    best = std::move(found);
  };
  if (problem.devices() == 2) {
    // The quick answer's time lets the thorough search drop most of what it meets.
    take(SingleSearch(problem, relaxed.prices(), known, 100).run());
    if (effort == Effort::Thorough) take(SingleSearch(problem, relaxed.prices(), known, 4000).run());
  } else if (problem.devices() > 2 && is_small(problem)) {
    take(best_of_all(problem));
  } else if (problem.devices() > 2) {
    take(SeveralSearch(problem, relaxed.prices(), known).run());
  }
  return !best.empty() && seconds_of(problem, best) < limit ? best : Assignment{};
}

}  // namespace loadline::plan

#include "plan/placement_bounds.h"

#include <algorithm>

namespace loadline::plan {
namespace {

double priced(const PlacementProblem& problem, const Prices& prices, std::size_t item, DeviceIndex device) {
  const PlacementProblem::Item& one = problem.items[item];
  if (!one.allowed[device]) return kNever;
  return one.seconds[device] + prices[device] * static_cast<double>(one.bytes[device]);
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

}  // namespace

Completion complete(const PlacementProblem& problem, const Prices& prices) {
  const std::size_t count = problem.items.size();
  const auto devices = static_cast<DeviceIndex>(problem.devices());
  Completion completion;
  completion.seconds.assign(count + 1, std::vector<double>(devices, 0.0));
  std::vector<double> on_device(devices);
  for (std::size_t item = count; item-- > 0;) {
    for (DeviceIndex device = 0; device < devices; ++device) {
      on_device[device] = priced(problem, prices, item, device) + completion.seconds[item + 1][device];
    }
    for (DeviceIndex before = 0; before < devices; ++before) {
      double best = kNever;
      for (DeviceIndex device = 0; device < devices; ++device) {
        const double change = item == 0 ? 0.0 : problem.switch_seconds[before][device];
        best = std::min(best, change + on_device[device]);
      }
      completion.seconds[item][before] = best;
    }
  }
  return completion;
}

PriceSearch::PriceSearch(const PlacementProblem& problem)
    : problem_(problem), prices_(problem.devices(), 0.0), best_prices_(prices_) {
  offer_everything_on_cpu();
  if (problem.devices() == 2) {
    bisect();
  } else {
    descend();
  }
}

void PriceSearch::offer(Assignment assignment) {
  if (!is_feasible(problem_, assignment)) return;
  if (seconds_of(problem_, assignment) > 1.1 * best_seconds_) return;  // too far behind for filling to catch up
  fill(problem_, assignment);
  const double seconds = seconds_of(problem_, assignment);
  if (seconds < best_seconds_) {
    best_seconds_ = seconds;
    best_ = std::move(assignment);
  }
}

// Only what must be elsewhere is.
void PriceSearch::offer_everything_on_cpu() {
  Assignment assignment;
  for (const PlacementProblem::Item& item : problem_.items) {
    const auto first = std::ranges::find(item.allowed, true);
    assignment.push_back(static_cast<DeviceIndex>(first - item.allowed.begin()));
  }
  offer(std::move(assignment));
}

// Bytes used by the relaxed optimum for the present prices. Remembers the prices of the best bound.
std::vector<std::uint64_t> PriceSearch::evaluate() {
  const Completion completion = complete(problem_, prices_);
  Assignment assignment = trace(problem_, prices_, completion);
  std::vector<std::uint64_t> used = used_bytes(problem_, assignment);
  double bound = completion.from(0, 0);
  for (std::size_t d = 1; d < problem_.devices(); ++d) bound -= prices_[d] * static_cast<double>(problem_.capacity[d]);
  if (bound > best_bound_) {
    best_bound_ = bound;
    best_prices_ = prices_;
  }
  offer(std::move(assignment));
  return used;
}

// The most a byte can be worth: no placement of an item saves more time per byte.
double PriceSearch::dearest() const {
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

void PriceSearch::bisect() {
  if (evaluate()[1] <= problem_.capacity[1]) return;  // all that is wanted fits
  double low = 0;
  double high = dearest();
  for (int step = 0; step < 40; ++step) {
    prices_[1] = (low + high) / 2;
    (evaluate()[1] > problem_.capacity[1] ? low : high) = prices_[1];
  }
  prices_[1] = high;
  evaluate();
}

// Subgradient steps, each price moved by how much too much (or little) of its device is used.
void PriceSearch::descend() {
  const double most = problem_.devices() > 1 ? dearest() : 0;
  for (int step = 0; step < 80; ++step) {
    const std::vector<std::uint64_t> used = evaluate();
    const double length = most / (1.0 + 0.25 * step);
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

}  // namespace loadline::plan

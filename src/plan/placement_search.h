// Which group on which device, as a problem of numbers: least time under the capacities. Knows nothing of models.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "plan/plan.h"

namespace loadline::plan {

struct PlacementProblem {
  // One group. Every vector has an entry per device.
  struct Item {
    std::vector<double> seconds;
    std::vector<std::uint64_t> bytes;
    std::vector<bool> allowed;
  };
  std::vector<Item> items;                          // in the order they run
  std::vector<std::vector<double>> switch_seconds;  // [from][to], zero on the diagonal
  std::vector<std::uint64_t> capacity;              // bytes; the CPU's (device 0) is not looked at

  [[nodiscard]] std::size_t devices() const { return capacity.size(); }
};

using Assignment = std::vector<DeviceIndex>;  // per item

// Time of an assignment: of its items on their devices, and of each change of device between neighbours.
double seconds_of(const PlacementProblem& problem, const Assignment& assignment);
// Every item is where it may be, and no GPU holds more than its capacity.
bool is_feasible(const PlacementProblem& problem, const Assignment& assignment);

// Quick: near the optimum. Thorough: with one GPU the optimum itself (in the rare case of more candidates than can be
// looked at, within a thousandth); with several the optimum of small problems, and near it of others.
enum class Effort : std::uint8_t { Quick, Thorough };

// The assignment of least time if that is less than `limit`; else, or where none is feasible, empty. At most eight
// GPUs. Deterministic.
Assignment search_placement(const PlacementProblem& problem, double limit = std::numeric_limits<double>::infinity(),
                            Effort effort = Effort::Thorough);

}  // namespace loadline::plan

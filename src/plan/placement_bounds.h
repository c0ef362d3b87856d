// The relaxation behind the placement search: capacities become prices per byte, and what the best completion costs
// under them bounds every real one from below (Lagrangian relaxation).
#pragma once

#include <limits>
#include <vector>

#include "plan/placement_search.h"

namespace loadline::plan {

inline constexpr double kNever = std::numeric_limits<double>::infinity();

using Prices = std::vector<double>;  // seconds per byte, per device; zero for the CPU

// Least time, bytes paid for, of items `item` and later when the one before is on `before`.
struct Completion {
  std::vector<std::vector<double>> seconds;  // [item, one more than there are][device before]

  [[nodiscard]] double from(std::size_t item, DeviceIndex before) const { return seconds[item][before]; }
};
Completion complete(const PlacementProblem& problem, const Prices& prices);

// Prices under which the relaxed optimum just uses up the capacities, and the best real assignment met on the way.
class PriceSearch {
 public:
  explicit PriceSearch(const PlacementProblem& problem);

  [[nodiscard]] const Prices& prices() const { return best_prices_; }
  // No assignment takes less.
  [[nodiscard]] double bound() const { return best_bound_; }
  // Empty where none was met.
  [[nodiscard]] const Assignment& best() const { return best_; }
  [[nodiscard]] double best_seconds() const { return best_seconds_; }

 private:
  void offer(Assignment assignment);
  void offer_everything_on_cpu();
  std::vector<std::uint64_t> evaluate();
  [[nodiscard]] double dearest() const;
  void bisect();
  void descend();

  const PlacementProblem& problem_;
  Prices prices_;
  Prices best_prices_;
  double best_bound_ = -kNever;
  Assignment best_;
  double best_seconds_ = kNever;
};

}  // namespace loadline::plan

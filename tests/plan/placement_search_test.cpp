#include "plan/placement_search.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <limits>

namespace loadline::plan {
namespace {

// Every assignment there is, tried.
double least_by_trying_all(const PlacementProblem& problem) {
  const std::size_t count = problem.items.size();
  Assignment assignment(count, 0);
  double least = std::numeric_limits<double>::infinity();
  while (true) {
    if (is_feasible(problem, assignment)) least = std::min(least, seconds_of(problem, assignment));
    std::size_t at = 0;
    while (at < count && ++assignment[at] == problem.devices()) assignment[at++] = 0;
    if (at == count) return least;
  }
}

double ms(int value) { return value * 1e-3; }

// Sizes of few kinds, as in a model, or all different; switches free to dear.
PlacementProblem any_problem(std::size_t devices, std::size_t most_items) {
  PlacementProblem problem;
  const auto count = *rc::gen::inRange<std::size_t>(1, most_items + 1);
  const int kinds = *rc::gen::element(2, 3, 20);
  std::vector<PlacementProblem::Item> palette;
  for (int k = 0; k < kinds; ++k) {
    PlacementProblem::Item item;
    const int cpu = *rc::gen::inRange(1, 100);
    for (std::size_t d = 0; d < devices; ++d) {
      item.seconds.push_back(d == 0 ? ms(cpu) : ms(*rc::gen::inRange(0, 100)));
      item.bytes.push_back(*rc::gen::inRange<std::uint64_t>(1, 50));
      item.allowed.push_back(true);
    }
    palette.push_back(std::move(item));
  }
  for (std::size_t i = 0; i < count; ++i) {
    PlacementProblem::Item item = palette[*rc::gen::inRange<std::size_t>(0, palette.size())];
    const int pinned = *rc::gen::inRange(0, 10);
    if (pinned < static_cast<int>(devices)) {
      for (std::size_t d = 0; d < devices; ++d) item.allowed[d] = d == static_cast<std::size_t>(pinned);
    }
    problem.items.push_back(std::move(item));
  }
  const int change = *rc::gen::element(0, 1, 20);
  problem.switch_seconds.assign(devices, std::vector<double>(devices, 0.0));
  for (std::size_t a = 0; a < devices; ++a) {
    for (std::size_t b = 0; b < devices; ++b) {
      if (a != b) problem.switch_seconds[a][b] = ms(change);
    }
  }
  problem.capacity.push_back(0);
  for (std::size_t d = 1; d < devices; ++d) problem.capacity.push_back(*rc::gen::inRange<std::uint64_t>(0, 300));
  return problem;
}

void check_against_all(const PlacementProblem& problem) {
  const double least = least_by_trying_all(problem);
  const Assignment found = search_placement(problem);
  if (least == std::numeric_limits<double>::infinity()) {
    RC_ASSERT(found.empty());
    return;
  }
  RC_ASSERT(found.size() == problem.items.size());
  RC_ASSERT(is_feasible(problem, found));
  RC_ASSERT(seconds_of(problem, found) <= least * (1 + 1e-9));
}

TEST(PlacementSearch, finds_the_best_of_all_assignments_for_one_gpu) {
  EXPECT_TRUE(rc::check([] { check_against_all(any_problem(2, 12)); }));
}

TEST(PlacementSearch, finds_the_best_of_all_assignments_for_two_gpus) {
  EXPECT_TRUE(rc::check([] { check_against_all(any_problem(3, 7)); }));
}

TEST(PlacementSearch, more_capacity_is_never_slower) {
  EXPECT_TRUE(rc::check([] {
    PlacementProblem problem = any_problem(2, 40);
    for (PlacementProblem::Item& item : problem.items) item.allowed[0] = true;
    double before = std::numeric_limits<double>::infinity();
    for (std::uint64_t capacity = 0; capacity < 900; capacity += 37) {
      problem.capacity[1] = capacity;
      const Assignment found = search_placement(problem);
      if (found.empty()) continue;
      const double seconds = seconds_of(problem, found);
      RC_ASSERT(seconds <= before * (1 + 1e-9));
      before = seconds;
    }
  }));
}

TEST(PlacementSearch, nothing_is_returned_where_what_is_pinned_does_not_fit) {
  PlacementProblem problem;
  problem.items.push_back({{1.0, 0.5}, {10, 10}, {false, true}});
  problem.switch_seconds = {{0, 0}, {0, 0}};
  problem.capacity = {0, 9};
  EXPECT_TRUE(search_placement(problem).empty());
  problem.capacity = {0, 10};
  EXPECT_EQ(search_placement(problem), (Assignment{1}));
}

TEST(PlacementSearch, a_dear_switch_keeps_groups_together) {
  PlacementProblem problem;
  for (int i = 0; i < 4; ++i) problem.items.push_back({{1.0, i % 2 == 0 ? 0.1 : 0.9}, {10, 10}, {true, true}});
  problem.switch_seconds = {{0, 1}, {1, 0}};
  problem.capacity = {0, 20};
  // Apart, the two best would save 1.8 and cost 3 switches; 0 and 1 together save 1.0 for one switch.
  EXPECT_EQ(search_placement(problem), (Assignment{0, 0, 0, 0}));
  problem.switch_seconds = {{0, 0.1}, {0.1, 0}};
  EXPECT_EQ(search_placement(problem), (Assignment{1, 0, 1, 0}));
}

}  // namespace
}  // namespace loadline::plan

// Whose turn it is, with keys that come and go in any order.
#include "serve/fair_turns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace loadline::serve {
namespace {

// What waits and what runs, by key, and who is served when a place is free.
class Queue {
 public:
  void come(const std::string& keys) {
    for (const char key : keys) waiting_.emplace_back(1, key);
  }
  // So many are served, each of them done before the next where `places` is 1.
  std::string serve(std::size_t count, std::size_t places = 1) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) {
      if (running_.size() == places) running_.erase(running_.begin());
      const std::vector<std::string_view> keys(waiting_.begin(), waiting_.end());
      const std::size_t next = turns_.choose(
          keys, [&](std::string_view key) { return static_cast<std::size_t>(std::ranges::count(running_, key)); });
      turns_.took(waiting_[next]);
      out += waiting_[next];
      running_.push_back(waiting_[next]);
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(next));
    }
    return out;
  }

 private:
  FairTurns turns_;
  std::vector<std::string> waiting_, running_;
};

TEST(FairTurns, KeysTakeTurnsHoweverManyOneOfThemHasWaiting) {
  Queue queue;
  queue.come("aaaaabbc");
  EXPECT_EQ(queue.serve(8), "abcabaaa");
}

TEST(FairTurns, WhoComesLaterDoesNotWaitForAllOfAnothersQueue) {
  Queue queue;
  queue.come("aaaaaaaa");
  EXPECT_EQ(queue.serve(3), "aaa");
  queue.come("bb");
  EXPECT_EQ(queue.serve(5), "babaa");
}

TEST(FairTurns, AKeyWithFewerRunningComesFirst) {
  Queue queue;
  queue.come("aab");
  EXPECT_EQ(queue.serve(3, 3), "aba");
  queue.come("abc");
  EXPECT_EQ(queue.serve(1, 4), "c");
}

TEST(FairTurns, OneKeyIsServedInTheOrderOfItsRequests) {
  FairTurns turns;
  const std::vector<std::string_view> keys = {"x", "x", "x"};
  EXPECT_EQ(turns.choose(keys, [](std::string_view) { return 0; }), 0U);
  turns.took("x");
  EXPECT_EQ(turns.choose(keys, [](std::string_view) { return 1; }), 0U);
}

TEST(FairTurns, KeysWithoutEndAreForgotten) {
  FairTurns turns;
  for (int i = 0; i < 5000; ++i) turns.took(std::to_string(i));
  const std::vector<std::string_view> keys = {"4999", "0"};
  EXPECT_EQ(turns.choose(keys, [](std::string_view) { return 0; }), 1U);
}

}  // namespace
}  // namespace loadline::serve

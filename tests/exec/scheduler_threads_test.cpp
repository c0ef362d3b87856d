// Joining, cancelling and asking from other threads while one steps.
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <mutex>
#include <random>
#include <thread>

#include "exec/fake_device.h"

namespace loadline::exec {
namespace {

using test::FakeClient;
using test::FakeModel;
using test::kPage;
using test::some_text;
using test::text_after;

// Says when it has ended, once.
class Waiting final : public FakeClient {
 public:
  using FakeClient::FakeClient;
  void ended(const SessionResult& now) noexcept override {
    FakeClient::ended(now);
    done.store(true);
    done.notify_all();
  }
  std::atomic<bool> done{false};
};

TEST(SchedulerThreads, ACancelIsAnsweredWhileAPassRunsAndEndsIt) {
  FakeModel fake;
  FakeClient client(some_text(60, 1));
  const auto id = fake.scheduler->join(client.options(), client);
  std::latch running{1};
  fake.device().during = [&] { running.count_down(); };
  fake.device().until_stopped = true;
  std::thread other([&] {
    running.wait();
    EXPECT_TRUE(fake.scheduler->cancel(*id));  // returns, though the pass goes on until it is stopped
  });
  EXPECT_FALSE(fake.scheduler->step());
  other.join();
  EXPECT_EQ(client.result.ending, Ending::Stopped);
}

TEST(SchedulerThreads, AThreadWithoutWorkIsWokenByASessionAndByWake) {
  FakeModel fake;
  std::atomic<bool> closing{false};
  std::thread steps([&] {
    while (!closing.load()) {
      fake.scheduler->wait_for_work();
      while (fake.scheduler->step()) {
      }
    }
  });
  for (std::uint32_t i = 0; i < 20; ++i) {
    Waiting client(some_text(5 + i, i));
    ASSERT_TRUE(fake.scheduler->join(client.options(3), client));
    client.done.wait(false);
    EXPECT_EQ(client.text, text_after(client.prompt(), 3));
  }
  closing.store(true);
  fake.scheduler->wake();
  steps.join();
}

TEST(SchedulerThreads, ManyThreadsJoinAndCancelAndEveryTextIsRight) {
  constexpr int kThreads = 4;
  FakeModel fake({.context = 16 * kPage, .sequences = 6, .batch = 64, .outputs = 8});
  std::atomic<bool> closing{false};
  std::thread steps([&] {
    while (!closing.load()) {
      fake.scheduler->wait_for_work();
      while (fake.scheduler->step()) {
      }
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 100; ++i) {
        Waiting client(some_text(1 + random() % 90, static_cast<std::uint32_t>(random() % 5)));
        const std::size_t most = 1 + random() % 20;
        const auto id = fake.scheduler->join(client.options(static_cast<std::int64_t>(most)), client);
        if (!id) {
          std::this_thread::yield();
          continue;
        }
        static_cast<void>(fake.scheduler->activity());
        const bool cancelled = random() % 4 == 0;
        if (cancelled) fake.scheduler->cancel(*id);
        client.done.wait(false);
        const std::vector<Token> text = text_after(client.prompt(), most);
        if (client.result.ending == Ending::Length) {
          EXPECT_EQ(client.text, text);
        } else {
          EXPECT_TRUE(cancelled || client.result.ending == Ending::ContextFull);
          EXPECT_TRUE(std::equal(client.text.begin(), client.text.end(), text.begin()));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  closing.store(true);
  fake.scheduler->wake();
  steps.join();
  EXPECT_EQ(fake.scheduler->sessions(), 0U);
  EXPECT_EQ(fake.executor->cache().available_pages(), 16U);
}

}  // namespace
}  // namespace loadline::exec

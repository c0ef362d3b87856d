// Ten thousand sessions, one after the other and several at a time: nothing is allocated where they run, and the
// process holds no more afterwards.
#include <gtest/gtest.h>

#include "exec/fake_device.h"
#include "hardware/probe.h"
#include "speculate/ngram_drafter.h"
#include "support/allocations.h"

namespace loadline::exec {
namespace {

using test::FakeClient;
using test::FakeModel;
using test::kPage;
using test::some_text;

TEST(ManySessions, AllocateNothingAndLeaveNothingBehind) {
  FakeModel fake({.context = 64 * kPage, .sequences = 4, .batch = 64, .outputs = 8});
  fake.device().record = false;
  std::vector<std::unique_ptr<FakeClient>> clients;
  std::vector<std::unique_ptr<speculate::NgramDrafter>> drafters;
  for (std::uint32_t i = 0; i < 16; ++i) {
    clients.push_back(std::make_unique<FakeClient>(some_text(3 + i * 11 % 100, i), false));
    drafters.push_back(std::make_unique<speculate::NgramDrafter>(speculate::NgramOptions{}, 4096));
  }
  std::size_t joined = 0;
  const auto run = [&](std::size_t count) {
    const std::size_t end = joined + count;
    while (joined < end || fake.scheduler->sessions() > 0) {
      while (joined < end && fake.scheduler->free_places() > 0) {
        FakeClient& client = *clients[joined % clients.size()];
        SessionOptions options = client.options(static_cast<std::int64_t>(1 + joined % 20));
        drafters[joined % drafters.size()]->reset();
        if (joined % 3 == 0) options.drafter = drafters[joined % drafters.size()].get();
        const auto id = fake.scheduler->join(options, client);
        if (joined % 7 == 0) fake.scheduler->cancel(*id);
        ++joined;
      }
      fake.scheduler->step();
    }
  };
  run(100);
  const Bytes before = hardware::held_memory();
  const test::AllocationWatch watch;
  run(10000);
  EXPECT_EQ(watch.count(), 0U);
  EXPECT_LE(hardware::held_memory(), before + 64 * kKiB) << "a stack's next page";
  EXPECT_EQ(fake.executor->cache().available_pages(), 64U);
  for (const auto& client : clients) EXPECT_GT(client->endings, 600);
}

}  // namespace
}  // namespace loadline::exec

// The executor is replaced under sessions, as when a model goes on by another plan: every text is what it would have
// been, and no client is asked for a token twice.
#include <gtest/gtest.h>

#include "base/error.h"
#include "exec/fake_device.h"
#include "exec/scheduler.h"

namespace loadline::exec {
namespace {

using test::FakeClient;
using test::FakeModel;
using test::FakeShape;
using test::kPage;
using test::Oracle;
using test::run_all;
using test::some_text;
using test::text_after;

// The scheduler goes on with the other model's devices.
std::uint64_t move_to(FakeModel& other, Scheduler& scheduler) {
  const std::uint64_t tokens = scheduler.put_down();
  scheduler.take_up(*other.executor);
  return tokens;
}

// Likewise, and the other model has what the caches of the first hold.
void move_with_caches(FakeModel& fake, FakeModel& other, Scheduler& scheduler) {
  scheduler.put_down();
  other.device().take_caches(fake.device());
  other.scheduler.reset();
  other.executor = std::make_unique<Executor>(other.program, other.plan, std::vector<backend::Device*>{&other.device()},
                                              std::span<const std::vector<float>>(), nullptr, kOverlapFrom,
                                              fake.executor->give_cache());
  scheduler.take_up(*other.executor, true);
}

std::size_t tokens_of(FakeModel& model) {
  std::size_t tokens = 0;
  for (const test::FakeDevice::Pass& pass : model.device().passes) tokens += pass.tokens;
  return tokens;
}

TEST(ReplacedExecutor, WithTheSameCacheNothingIsComputedAgain) {
  const std::vector<Token> prompt = some_text(40, 1);
  for (int steps = 0; steps < 24; ++steps) {
    FakeModel fake({.batch = 16});
    FakeModel other({.batch = 24});
    FakeClient client(prompt);
    ASSERT_TRUE(fake.scheduler->join(client.options(20), client));
    for (int i = 0; i < steps; ++i) fake.scheduler->step();
    move_with_caches(fake, other, *fake.scheduler);
    EXPECT_EQ(fake.scheduler->catching_up(), 0U);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.text, text_after(prompt, 20)) << "after " << steps << " passes";
    EXPECT_EQ(tokens_of(fake) + tokens_of(other), 40U + 19U) << "after " << steps << " passes";
    EXPECT_EQ(client.endings, 1);
    EXPECT_EQ(client.result.generated_tokens, 20U);
    EXPECT_EQ(client.result.prompt_tokens, 40U);
    EXPECT_EQ(client.read, (std::vector<std::size_t>{40, 40}));
  }
}

TEST(ReplacedExecutor, SessionsThatCatchUpGoOnWithTheSameCache) {
  for (int passes = 0; passes < 12; ++passes) {
    FakeModel fake({.batch = 8});
    FakeModel other({.batch = 8});
    FakeModel third({.batch = 8});
    FakeClient client(some_text(20, 3));
    ASSERT_TRUE(fake.scheduler->join(client.options(60), client));
    for (int i = 0; i < 30; ++i) fake.scheduler->step();
    move_to(other, *fake.scheduler);
    for (int i = 0; i < passes; ++i) fake.scheduler->step();
    move_with_caches(other, third, *fake.scheduler);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.text, text_after(client.prompt(), 60)) << passes;
    EXPECT_EQ(tokens_of(other) + tokens_of(third), 20U + 59U) << passes;
  }
}

// Sessions that share a prompt's beginning, one of them with guesses, in caches of every kind: `change` replaces `fake`
// by `other` after every so many passes, and all say what they would have.
template <class Change>
void sessions_of_every_kind_go_on(int apart, const Change& change) {
  for (const FakeShape& shape :
       {FakeShape{.context = 16 * kPage, .batch = 48}, FakeShape{.context = 16 * kPage, .batch = 48, .window = 20},
        FakeShape{.context = 16 * kPage, .batch = 48, .states = true}}) {
    for (int steps = 1; steps < 14; steps += apart) {
      FakeModel fake(shape);
      FakeModel other(shape);
      std::vector<std::unique_ptr<FakeClient>> clients;
      Oracle guesses(5);
      for (std::uint32_t i = 0; i < 4; ++i) {
        std::vector<Token> prompt = some_text(30, 7);  // which they share
        for (const Token token : some_text(10 * i, i)) prompt.push_back(token);
        clients.push_back(std::make_unique<FakeClient>(prompt));
        SessionOptions options = clients.back()->options(25);
        if (i == 2) options.drafter = &guesses;
        ASSERT_TRUE(fake.scheduler->join(options, *clients.back()));
      }
      for (int i = 0; i < steps; ++i) fake.scheduler->step();
      change(fake, other);
      run_all(*fake.scheduler);
      for (const auto& client : clients) EXPECT_EQ(client->text, text_after(client->prompt(), 25)) << steps;
      EXPECT_EQ(other.executor->cache().available_pages(), 16U);
    }
  }
}

TEST(ReplacedExecutor, WithTheSameCacheSessionsOfEveryKindGoOnTogether) {
  sessions_of_every_kind_go_on(
      1, [](FakeModel& fake, FakeModel& other) { move_with_caches(fake, other, *fake.scheduler); });
}

TEST(ReplacedExecutor, WithTheSameCacheTextsThatWereKeptAreStillFound) {
  FakeModel fake;
  FakeModel other;
  FakeClient first(some_text(40, 1));
  ASSERT_TRUE(fake.scheduler->join(first.options(5), first));
  run_all(*fake.scheduler);
  move_with_caches(fake, other, *fake.scheduler);
  FakeClient again(some_text(40, 1));
  ASSERT_TRUE(fake.scheduler->join(again.options(5), again));
  run_all(*fake.scheduler);
  EXPECT_EQ(again.text, text_after(again.prompt(), 5));
  EXPECT_EQ(again.result.shared_tokens, 39U);
}

// Who takes a place whose session ended meanwhile finds none of its cells there.
TEST(ReplacedExecutor, WithTheSameCacheWhoEndsMeanwhileLeavesItsPlaceEmpty) {
  FakeModel fake({.sequences = 1});
  FakeModel other({.sequences = 1});
  FakeClient one(some_text(10, 1));
  FakeClient two(some_text(10, 2));
  const auto id = fake.scheduler->join(one.options(50), one);
  for (int i = 0; i < 8; ++i) fake.scheduler->step();
  fake.scheduler->put_down();
  EXPECT_TRUE(fake.scheduler->cancel(*id));
  EXPECT_FALSE(fake.scheduler->step());
  EXPECT_EQ(one.result.ending, Ending::Stopped);
  ASSERT_TRUE(fake.scheduler->join(two.options(5), two));
  move_with_caches(fake, other, *fake.scheduler);
  run_all(*fake.scheduler);
  EXPECT_EQ(two.text, text_after(two.prompt(), 5));
}

TEST(ReplacedExecutor, ASessionGoesOnWhereverItWas) {
  const std::vector<Token> prompt = some_text(40, 1);
  for (int steps = 0; steps < 24; ++steps) {
    FakeModel fake({.batch = 16});
    FakeModel other({.context = 6 * kPage, .batch = 24});
    FakeClient client(prompt);
    ASSERT_TRUE(fake.scheduler->join(client.options(20), client));
    for (int i = 0; i < steps; ++i) fake.scheduler->step();
    const std::uint64_t again = move_to(other, *fake.scheduler);
    const std::size_t had = client.text.size();
    if (steps >= 3) {
      EXPECT_EQ(again, client.endings > 0 ? 0 : 40 + had - 1);
    }
    run_all(*fake.scheduler);
    EXPECT_EQ(client.text, text_after(prompt, 20)) << "after " << steps << " passes";
    EXPECT_EQ(client.endings, 1);
    EXPECT_EQ(client.result.generated_tokens, 20U);
    EXPECT_EQ(client.result.prompt_tokens, 40U);
    EXPECT_EQ(client.read, (std::vector<std::size_t>{40, 40}));
    EXPECT_EQ(fake.scheduler->catching_up(), 0U);
  }
}

TEST(ReplacedExecutor, MayBeReplacedAgainBeforeAnybodyCaughtUp) {
  FakeModel fake({.batch = 8});
  std::vector<std::unique_ptr<FakeModel>> others;
  FakeClient client(some_text(20, 3));
  ASSERT_TRUE(fake.scheduler->join(client.options(60), client));
  for (int i = 0; i < 30; ++i) fake.scheduler->step();
  for (int i = 0; i < 40; ++i) {
    others.push_back(std::make_unique<FakeModel>(FakeShape{.batch = 8}));
    move_to(*others.back(), *fake.scheduler);
    for (int passes = 0; passes < i % 9; ++passes) fake.scheduler->step();
  }
  run_all(*fake.scheduler);
  EXPECT_EQ(client.text, text_after(client.prompt(), 60));
}

TEST(ReplacedExecutor, SessionsOfEveryKindGoOnTogether) {
  sessions_of_every_kind_go_on(3, [](FakeModel& fake, FakeModel& other) { move_to(other, *fake.scheduler); });
}

TEST(ReplacedExecutor, WhatWasGeneratedIsComputedAsTokensThatAreGenerated) {
  FakeModel fake({.context = 16 * kPage, .batch = 128});
  FakeModel other({.context = 16 * kPage, .batch = 128});
  FakeClient client(some_text(40, 1));
  ASSERT_TRUE(fake.scheduler->join(client.options(100), client));
  for (int i = 0; i < 60; ++i) fake.scheduler->step();
  move_to(other, *fake.scheduler);
  fake.scheduler->step();
  fake.scheduler->step();
  ASSERT_EQ(other.device().passes.size(), 2U);
  EXPECT_EQ(other.device().passes[0].tokens, 40U);
  EXPECT_EQ(other.device().passes[0].rounding, Rounding::Fastest);
  EXPECT_EQ(other.device().passes[1].tokens, 60U);
  EXPECT_EQ(other.device().passes[1].rounding, Rounding::AsAlone);
  EXPECT_EQ(client.text.size(), 61U);
}

TEST(ReplacedExecutor, RowsOfAPromptAreToldOnce) {
  FakeModel fake({.batch = 16});
  FakeModel other({.batch = 16});
  FakeClient client(some_text(40, 1));
  SessionOptions options = client.options(0);
  options.prompt_rows = true;
  ASSERT_TRUE(fake.scheduler->join(options, client));
  fake.scheduler->step();
  fake.scheduler->step();
  const std::size_t told = client.rows.size();
  ASSERT_GT(told, 0U);
  move_to(other, *fake.scheduler);
  run_all(*fake.scheduler);
  EXPECT_EQ(client.rows.size(), 40U);  // the client itself expects each index once
}

TEST(ReplacedExecutor, ASmallerContextEndsThoseThatItCannotHold) {
  FakeModel fake({.context = 8 * kPage});
  FakeModel smaller({.context = 2 * kPage});
  FakeClient large(some_text(3 * kPage, 1));
  FakeClient small(some_text(10, 2));
  ASSERT_TRUE(fake.scheduler->join(large.options(50), large));
  ASSERT_TRUE(fake.scheduler->join(small.options(20), small));
  for (int i = 0; i < 8; ++i) fake.scheduler->step();
  move_to(smaller, *fake.scheduler);
  EXPECT_EQ(large.endings, 1);
  EXPECT_EQ(large.result.ending, Ending::ContextFull);
  run_all(*fake.scheduler);
  EXPECT_EQ(small.text, text_after(small.prompt(), 20));
  FakeClient longer(some_text(3 * kPage, 1));
  EXPECT_THROW(fake.scheduler->join(longer.options(1), longer), Error);
}

TEST(ReplacedExecutor, WhoIsCancelledMeanwhileEndsAndWhoJoinsBegins) {
  FakeModel fake;
  FakeModel other;
  FakeClient one(some_text(10, 1));
  FakeClient two(some_text(10, 2));
  const auto id = fake.scheduler->join(one.options(50), one);
  for (int i = 0; i < 8; ++i) fake.scheduler->step();
  fake.scheduler->put_down();
  EXPECT_TRUE(fake.scheduler->cancel(*id));
  ASSERT_TRUE(fake.scheduler->join(two.options(5), two));
  fake.scheduler->take_up(*other.executor);
  run_all(*fake.scheduler);
  EXPECT_EQ(one.result.ending, Ending::Stopped);
  EXPECT_EQ(two.text, text_after(two.prompt(), 5));
}

TEST(ReplacedExecutor, ADeviceThatFailsTakesNobodyWithIt) {
  FakeModel fake({}, {.learn = false, .outlive_devices = true});
  FakeModel other;
  FakeClient one(some_text(10, 1));
  FakeClient two(some_text(20, 2));
  ASSERT_TRUE(fake.scheduler->join(one.options(30), one));
  ASSERT_TRUE(fake.scheduler->join(two.options(30), two));
  for (int i = 0; i < 8; ++i) fake.scheduler->step();
  fake.device().during = [] { throw Error(ErrorCode::DeviceFailure, "it is lost"); };
  EXPECT_THROW(fake.scheduler->step(), Error);
  EXPECT_EQ(fake.executor->failed_device(), 0U);
  EXPECT_EQ(one.endings + two.endings, 0);
  move_to(other, *fake.scheduler);
  run_all(*fake.scheduler);
  EXPECT_EQ(one.text, text_after(one.prompt(), 30));
  EXPECT_EQ(two.text, text_after(two.prompt(), 30));
}

TEST(ReplacedExecutor, WithoutAnotherEveryoneIsToldWhy) {
  FakeModel fake;
  FakeClient client(some_text(10, 1));
  ASSERT_TRUE(fake.scheduler->join(client.options(30), client));
  for (int i = 0; i < 8; ++i) fake.scheduler->step();
  fake.scheduler->put_down();
  EXPECT_THROW(fake.scheduler->step(), Error);
  fake.scheduler->abandon("the disk is gone");
  EXPECT_EQ(client.result.ending, Ending::Failed);
  try {
    std::rethrow_exception(client.result.error);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the disk is gone");
  }
  FakeClient late(some_text(10, 1));
  EXPECT_THROW(fake.scheduler->join(late.options(1), late), Error);
}

TEST(ReplacedExecutor, AnotherNumberOfSessionsIsTakenWhereThereAreNone) {
  FakeModel fake({.sequences = 2});
  FakeModel other({.sequences = 3});
  FakeClient first(some_text(10, 1));
  const auto old = fake.scheduler->join(first.options(2), first);
  run_all(*fake.scheduler);
  move_to(other, *fake.scheduler);
  EXPECT_EQ(fake.scheduler->free_places(), 3U);
  EXPECT_FALSE(fake.scheduler->cancel(*old));
  std::vector<std::unique_ptr<FakeClient>> clients;
  for (std::uint32_t i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<FakeClient>(some_text(10, i)));
    ASSERT_TRUE(fake.scheduler->join(clients.back()->options(5), *clients.back()));
  }
  run_all(*fake.scheduler);
  for (const auto& client : clients) EXPECT_EQ(client->text, text_after(client->prompt(), 5));
}

}  // namespace
}  // namespace loadline::exec

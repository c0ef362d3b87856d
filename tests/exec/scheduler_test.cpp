// The scheduler over a device without kernels: which sessions get what in which pass, and that every text is the one it
// would be alone.
#include "exec/scheduler.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "exec/fake_device.h"

namespace loadline::exec {
namespace {

using test::expect_text;
using test::FakeClient;
using test::FakeModel;
using test::kPage;
using test::kVocabulary;
using test::run_all;
using test::some_text;
using test::text_after;

TEST(Scheduler, ASessionReadsItsPromptInFullBatchesAndGeneratesWhatFollows) {
  FakeModel fake({.batch = 32});
  FakeClient client(some_text(70, 1));
  ASSERT_TRUE(fake.scheduler->join(client.options(5), client));
  run_all(*fake.scheduler);
  expect_text(client, 5);
  EXPECT_EQ(client.result.ending, Ending::Length);
  EXPECT_EQ(client.result.prompt_tokens, 70U);
  EXPECT_EQ(client.result.generated_tokens, 5U);
  EXPECT_EQ(client.result.passes, 4U);
  EXPECT_EQ(client.endings, 1);
  const auto& passes = fake.device().passes;
  ASSERT_EQ(passes.size(), 7U);
  EXPECT_EQ(passes[0].tokens, 32U);
  EXPECT_EQ(passes[0].outputs, 0U);
  EXPECT_EQ(passes[2].tokens, 6U);
  EXPECT_EQ(passes[2].rounding, Rounding::Fastest);
  EXPECT_EQ(passes[3].tokens, 1U);
  EXPECT_EQ(passes[3].rounding, Rounding::AsAlone);
}

TEST(Scheduler, EndsForEveryReasonThereIs) {
  FakeModel fake({.context = 2 * kPage, .sequences = 1});
  const std::vector<Token> prompt = some_text(10, 1);
  const std::vector<Token> text = text_after(prompt, 60);
  {
    FakeClient client(prompt);
    client.end_token = text[3];
    fake.scheduler->join(client.options(), client);
    run_all(*fake.scheduler);
    const auto first = static_cast<std::size_t>(std::ranges::find(text, text[3]) - text.begin());
    EXPECT_EQ(client.result.ending, Ending::EndOfGeneration);
    expect_text(client, first);
    EXPECT_EQ(client.result.generated_tokens, first);
  }
  {
    FakeClient client(prompt);
    client.enough = 4;
    fake.scheduler->join(client.options(), client);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.result.ending, Ending::Enough);
    expect_text(client, 4);
  }
  {
    FakeClient client(prompt);
    fake.scheduler->join(client.options(), client);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.result.ending, Ending::ContextFull);
    expect_text(client, 2 * kPage - prompt.size() + 1);  // the last one needs no cell
  }
  {
    FakeClient client(prompt);
    fake.scheduler->join(client.options(0), client);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.result.ending, Ending::Length);
    EXPECT_TRUE(client.text.empty());
    EXPECT_EQ(client.read, (std::vector<std::size_t>{10, 10}));
  }
  EXPECT_EQ(fake.executor->cache().available_pages(), 2U);
}

TEST(Scheduler, APromptOfMoreThanHalfOfTheContextAndOneOfAllOfIt) {
  FakeModel fake({.context = 4 * kPage, .sequences = 2, .batch = 48});
  for (const std::size_t length : {3 * kPage, 4 * kPage - 1, 4 * kPage}) {
    FakeClient client(some_text(length, 1));
    fake.scheduler->join(client.options(), client);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.result.ending, Ending::ContextFull);
    expect_text(client, 4 * kPage - length + 1);
  }
}

TEST(Scheduler, RefusesPromptsThatCannotBeAndPlacesThatAreTaken) {
  FakeModel fake({.context = 2 * kPage, .sequences = 1});
  FakeClient longer(some_text(2 * kPage + 1, 1));
  try {
    fake.scheduler->join(longer.options(), longer);
    FAIL() << "a prompt longer than the context was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    EXPECT_STREQ(error.what(), "the prompt has 65 tokens, but the context has room for 64");
    EXPECT_EQ(error.hint().find("-c"), std::string::npos) << "a library names no flags";
  }
  FakeClient empty({});
  EXPECT_THROW(fake.scheduler->join(empty.options(), empty), Error);
  FakeClient unknown({1, static_cast<Token>(kVocabulary)});
  EXPECT_THROW(fake.scheduler->join(unknown.options(), unknown), Error);
  FakeClient client(some_text(5, 1));
  FakeClient second(some_text(5, 2));
  EXPECT_TRUE(fake.scheduler->join(client.options(3), client));
  EXPECT_EQ(fake.scheduler->free_places(), 0U);
  EXPECT_FALSE(fake.scheduler->join(second.options(3), second));
  run_all(*fake.scheduler);
  EXPECT_TRUE(fake.scheduler->join(second.options(3), second));
  run_all(*fake.scheduler);
  expect_text(second, 3);
}

TEST(Scheduler, SessionsThatJoinAndLeaveMeanwhileGetTheTextTheyGetAlone) {
  FakeModel fake({.context = 32 * kPage, .sequences = 4, .batch = 64});
  std::vector<std::unique_ptr<FakeClient>> clients;
  std::size_t joined = 0;
  for (std::uint32_t i = 0; i < 40; ++i) clients.push_back(std::make_unique<FakeClient>(some_text(1 + i * 7 % 90, i)));
  const auto most = [](std::size_t i) { return static_cast<std::int64_t>(1 + i * 13 % 50); };
  for (int step = 0; joined < clients.size(); ++step) {
    if (step % 3 == 0 && fake.scheduler->free_places() > 0) {
      ASSERT_TRUE(fake.scheduler->join(clients[joined]->options(most(joined)), *clients[joined]));
      ++joined;
    }
    fake.scheduler->step();
  }
  run_all(*fake.scheduler);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    EXPECT_EQ(clients[i]->result.ending, Ending::Length);
    expect_text(*clients[i], static_cast<std::size_t>(most(i)));
  }
  EXPECT_EQ(fake.executor->cache().available_pages(), 32U);
}

TEST(Scheduler, EverySessionThatGeneratesGetsATokenInEveryPassAlsoWhileAPromptIsRead) {
  // 100 passes of a token a second, 1000 tokens of a prompt: within 20 ms there is room for 20 tokens.
  FakeModel fake({.context = 32 * kPage, .sequences = 3, .batch = 64},
                 {.longest_shared_pass = 0.02, .aimed_at = 1, .learn = false});
  FakeClient one(some_text(5, 1));
  FakeClient two(some_text(9, 2));
  fake.scheduler->join(one.options(100), one);
  fake.scheduler->join(two.options(100), two);
  while (two.text.empty()) fake.scheduler->step();
  FakeClient reader(some_text(200, 3));
  fake.scheduler->join(reader.options(1), reader);
  const std::size_t before = fake.device().passes.size();
  const std::size_t had = one.text.size();
  while (reader.text.empty()) fake.scheduler->step();
  const std::size_t passes = fake.device().passes.size() - before;
  EXPECT_EQ(one.text.size() - had, passes);
  EXPECT_EQ(passes, (200U + 17) / 18);
  for (std::size_t i = before; i < fake.device().passes.size(); ++i) EXPECT_LE(fake.device().passes[i].tokens, 20U);
  expect_text(reader, 1);
}

TEST(Scheduler, CountsTheSessionsThatHadAPartInEachPass) {
  FakeModel fake({.batch = 32});
  FakeClient one(some_text(70, 1));
  FakeClient two(some_text(5, 2));
  fake.scheduler->join(one.options(9), one);
  while (one.text.empty()) fake.scheduler->step();
  fake.scheduler->join(two.options(3), two);
  run_all(*fake.scheduler);
  std::uint64_t members = 0;
  for (const auto& pass : fake.device().passes) members += pass.runs.size();
  EXPECT_EQ(members, 11U + 3U) << "three passes of a prompt, eight of what follows it, and the other's three";
  EXPECT_EQ(fake.scheduler->activity().passes, fake.device().passes.size());
  EXPECT_EQ(fake.scheduler->activity().members, members);
}

TEST(Scheduler, APassThatOthersWaitForIsMadeForLessThanItMayTake) {
  // Within 90 % of 20 ms there is room for 18 tokens.
  FakeModel fake({.context = 32 * kPage, .sequences = 2, .batch = 64}, {.longest_shared_pass = 0.02, .learn = false});
  FakeClient one(some_text(5, 1));
  fake.scheduler->join(one.options(100), one);
  while (one.text.empty()) fake.scheduler->step();
  FakeClient reader(some_text(200, 3));
  fake.scheduler->join(reader.options(1), reader);
  fake.scheduler->step();
  EXPECT_EQ(fake.device().passes.back().tokens, 18U);
}

TEST(Scheduler, PromptsThatAreReadTogetherShareThePassEqually) {
  FakeModel fake({.context = 32 * kPage, .sequences = 3, .batch = 96},
                 {.longest_shared_pass = 0.06, .aimed_at = 1, .learn = false});
  FakeClient longest(some_text(300, 1));
  FakeClient shortest(some_text(10, 2));
  FakeClient other(some_text(300, 3));
  for (FakeClient* client : {&longest, &shortest, &other}) fake.scheduler->join(client->options(1), *client);
  fake.scheduler->step();
  EXPECT_EQ(shortest.text.size(), 1U) << "what the short one leaves is the others'";
  EXPECT_EQ(longest.read[0], 25U);
  EXPECT_EQ(other.read[0], 25U);
}

TEST(Scheduler, WherePassesHaveFewerRowsThanSessionsTheyTakeTurnsAndPromptsGoOn) {
  for (const std::uint32_t outputs : {1U, 2U}) {
    FakeModel fake({.context = 32 * kPage, .sequences = 4, .batch = 16, .outputs = outputs});
    std::vector<std::unique_ptr<FakeClient>> clients;
    for (std::uint32_t i = 0; i < 4; ++i) {
      clients.push_back(std::make_unique<FakeClient>(some_text(5 + i, i)));
      fake.scheduler->join(clients.back()->options(20), *clients.back());
    }
    std::size_t widest = 0;
    while (fake.scheduler->step()) {
      std::size_t least = 20;
      std::size_t most = 0;
      for (const auto& client : clients) {
        least = std::min(least, client->text.size());
        most = std::max(most, client->text.size());
      }
      if (least > 0 && most < 20) widest = std::max(widest, most - least);
      ASSERT_LT(fake.device().passes.size(), 1000U);
    }
    for (const auto& client : clients) expect_text(*client, 20);
    EXPECT_LE(widest, 8U) << "some had to wait while others went on";
  }
}

TEST(Scheduler, AFailingClientEndsItsOwnSessionAndNoOther) {
  FakeModel fake;
  FakeClient good(some_text(5, 1));
  FakeClient bad(some_text(6, 2));
  bad.on_take = [&] {
    if (bad.text.size() == 3) throw std::runtime_error("the disk is full");
  };
  fake.scheduler->join(good.options(10), good);
  fake.scheduler->join(bad.options(10), bad);
  run_all(*fake.scheduler);
  expect_text(good, 10);
  EXPECT_EQ(bad.result.ending, Ending::Failed);
  EXPECT_THROW(std::rethrow_exception(bad.result.error), std::runtime_error);
  EXPECT_EQ(bad.endings, 1);
  EXPECT_EQ(fake.executor->cache().available_pages(), 8U);
}

TEST(Scheduler, ADeviceThatThrowsEndsTheSessionsOfThatPassAndTheNextOnesRun) {
  FakeModel fake({.context = 4 * kPage, .sequences = 3});
  FakeClient one(some_text(5, 1));
  FakeClient two(some_text(6, 2));
  FakeClient waiting(some_text(4 * kPage, 3));  // has no cells yet
  fake.scheduler->join(one.options(10), one);
  fake.scheduler->join(two.options(10), two);
  fake.scheduler->step();
  fake.scheduler->join(waiting.options(1), waiting);
  fake.device().during = [] { throw Error(ErrorCode::DeviceFailure, "lost"); };
  EXPECT_THROW(fake.scheduler->step(), Error);
  fake.device().during = nullptr;
  for (const FakeClient* client : {&one, &two}) {
    EXPECT_EQ(client->result.ending, Ending::Failed);
    EXPECT_THROW(std::rethrow_exception(client->result.error), Error);
  }
  run_all(*fake.scheduler);
  EXPECT_EQ(waiting.result.ending, Ending::Length);
  expect_text(waiting, 1);
}

// --- Cancelling.

TEST(Scheduler, CancellingASessionThatIsAloneInAPassEndsThePass) {
  FakeModel fake;
  FakeClient client(some_text(60, 1));
  const auto id = fake.scheduler->join(client.options(10), client);
  fake.device().during = [&] { EXPECT_TRUE(fake.scheduler->cancel(*id)); };
  EXPECT_FALSE(fake.scheduler->step());
  EXPECT_EQ(client.result.ending, Ending::Stopped);
  EXPECT_EQ(fake.scheduler->activity().passes, 0U) << "the pass was to be ended";
  EXPECT_EQ(fake.executor->cache().available_pages(), 8U);
  EXPECT_FALSE(fake.scheduler->cancel(*id));
}

TEST(Scheduler, CancellingOneOfSeveralLetsThePassEndForTheOthersAndFreesItsCellsThen) {
  FakeModel fake;
  FakeClient one(some_text(5, 1));
  FakeClient two(some_text(40, 2));
  fake.scheduler->join(one.options(10), one);
  const auto id = fake.scheduler->join(two.options(10), two);
  while (two.text.size() < 2) fake.scheduler->step();
  const std::size_t had = one.text.size();
  fake.device().during = [&] { fake.scheduler->cancel(*id); };
  fake.scheduler->step();
  fake.device().during = nullptr;
  EXPECT_EQ(one.text.size(), had + 1);
  EXPECT_EQ(two.text.size(), 2U) << "no token after it was cancelled";
  EXPECT_EQ(two.result.ending, Ending::Stopped);
  EXPECT_EQ(fake.executor->cache().available_pages(), 7U);
  run_all(*fake.scheduler);
  expect_text(one, 10);
}

TEST(Scheduler, WhenAllOfAPassAreCancelledItEnds) {
  FakeModel fake;
  FakeClient one(some_text(5, 1));
  FakeClient two(some_text(6, 2));
  fake.scheduler->join(one.options(10), one);
  fake.scheduler->join(two.options(10), two);
  fake.device().during = [&] { fake.scheduler->cancel_all(); };
  EXPECT_FALSE(fake.scheduler->step());
  EXPECT_EQ(fake.scheduler->activity().passes, 0U);
  EXPECT_EQ(one.endings + two.endings, 2);
}

TEST(Scheduler, ASessionCanBeCancelledBeforeItBeganAndFromItsOwnClient) {
  FakeModel fake;
  FakeClient early(some_text(5, 1));
  const auto id = fake.scheduler->join(early.options(10), early);
  EXPECT_TRUE(fake.scheduler->cancel(*id));
  EXPECT_FALSE(fake.scheduler->step());
  EXPECT_EQ(early.result.ending, Ending::Stopped);
  EXPECT_EQ(fake.device().runs, 0U);

  FakeClient self(some_text(5, 1));
  SessionId own = 0;
  self.on_take = [&] {
    if (self.text.size() == 4) fake.scheduler->cancel(own);
  };
  own = *fake.scheduler->join(self.options(10), self);
  run_all(*fake.scheduler);
  EXPECT_EQ(self.text.size(), 4U);
  EXPECT_EQ(self.result.ending, Ending::Stopped);
}

TEST(Scheduler, ANumberOfAPastSessionCancelsNoneThatCameAfter) {
  FakeModel fake({.sequences = 1});
  FakeClient first(some_text(5, 1));
  const auto old = fake.scheduler->join(first.options(1), first);
  run_all(*fake.scheduler);
  FakeClient second(some_text(5, 2));
  fake.scheduler->join(second.options(3), second);
  EXPECT_FALSE(fake.scheduler->cancel(*old));
  run_all(*fake.scheduler);
  expect_text(second, 3);
}

TEST(Scheduler, ANewcomerMayHaveALongPassOfALonePromptAbandonedOnce) {
  // A batch takes 0.256 s by prediction, which is more than the bound.
  FakeModel fake({.context = 32 * kPage, .sequences = 3, .batch = 256},
                 {.longest_shared_pass = 0.1, .aimed_at = 1, .learn = false, .clock = [] { return 0.0; }});
  FakeClient reader(some_text(600, 1));
  FakeClient newcomer(some_text(20, 2));
  FakeClient another(some_text(20, 3));
  fake.scheduler->join(reader.options(3), reader);
  fake.device().during = [&] {
    if (fake.device().runs == 1) fake.scheduler->join(newcomer.options(3), newcomer);
  };
  fake.scheduler->step();
  EXPECT_EQ(reader.read[0], 0U) << "its pass was abandoned";
  fake.scheduler->step();
  EXPECT_EQ(newcomer.text.size(), 1U);
  EXPECT_EQ(reader.read[0], 80U);
  while (newcomer.endings == 0) fake.scheduler->step();
  const std::size_t before = reader.read[0];
  const std::size_t runs = fake.device().runs;
  fake.device().during = [&] {
    if (fake.device().runs == runs + 1) fake.scheduler->join(another.options(3), another);
  };
  fake.scheduler->step();
  EXPECT_EQ(reader.read[0], before + 256) << "a second newcomer waits";
  run_all(*fake.scheduler);
  expect_text(reader, 3);
  expect_text(another, 3);
}

TEST(Scheduler, ALongPassOfALonePromptIsGivenUpForWhoWillJoinAfterIt) {
  FakeModel fake({.context = 32 * kPage, .sequences = 3, .batch = 256},
                 {.longest_shared_pass = 0.1, .aimed_at = 1, .learn = false, .clock = [] { return 0.0; }});
  FakeClient reader(some_text(600, 1));
  FakeClient newcomer(some_text(20, 2));
  fake.scheduler->join(reader.options(3), reader);
  fake.device().during = [&] {
    if (fake.device().runs == 1) fake.scheduler->make_way();
  };
  fake.scheduler->step();
  EXPECT_EQ(reader.read[0], 0U) << "its pass was abandoned";
  fake.scheduler->join(newcomer.options(3), newcomer);
  fake.scheduler->step();
  EXPECT_EQ(newcomer.text.size(), 1U);
  EXPECT_EQ(reader.read[0], 80U);
  run_all(*fake.scheduler);
  expect_text(reader, 3);
}

TEST(Scheduler, AShortPassIsNotAbandonedForANewcomer) {
  FakeModel fake({.context = 32 * kPage, .sequences = 3, .batch = 64},
                 {.longest_shared_pass = 0.1, .aimed_at = 1, .learn = false});
  FakeClient reader(some_text(200, 1));
  FakeClient newcomer(some_text(20, 2));
  fake.scheduler->join(reader.options(3), reader);
  fake.device().during = [&] {
    if (fake.device().runs == 1) fake.scheduler->join(newcomer.options(3), newcomer);
  };
  fake.scheduler->step();
  EXPECT_EQ(reader.read[0], 64U);
}

TEST(Scheduler, AStopOfTheOwnerEndsThePassAndLeavesEverySession) {
  FakeModel fake;
  FakeClient client(some_text(40, 1));
  fake.scheduler->join(client.options(3), client);
  StopFlag stop{true};
  EXPECT_TRUE(fake.scheduler->step(&stop));
  EXPECT_EQ(client.read[0], 0U);
  stop = false;
  while (fake.scheduler->step(&stop)) {
  }
  expect_text(client, 3);
}

// --- Sharing.

}  // namespace
}  // namespace loadline::exec

// Cells and pages of sessions over a device without kernels: what they share, wait for and give back.
#include <gtest/gtest.h>

#include "base/error.h"
#include "exec/fake_device.h"
#include "exec/scheduler.h"

namespace loadline::exec {
namespace {

using test::expect_text;
using test::FakeClient;
using test::FakeModel;
using test::kPage;
using test::run_all;
using test::some_text;

TEST(Scheduler, ABeginningThatSeveralHaveIsComputedOnce) {
  FakeModel fake({.context = 64 * kPage, .sequences = 8, .batch = 64});
  std::vector<std::unique_ptr<FakeClient>> clients;
  const std::vector<Token> common = some_text(300, 99);
  for (std::uint32_t i = 0; i < 8; ++i) {
    std::vector<Token> prompt = common;
    std::vector<Token> own = some_text(10 + i, i);
    own.front() = static_cast<Token>(i);  // here they part
    prompt.insert(prompt.end(), own.begin(), own.end());
    clients.push_back(std::make_unique<FakeClient>(std::move(prompt)));
    fake.scheduler->join(clients.back()->options(20), *clients.back());
  }
  run_all(*fake.scheduler);
  std::size_t computed = 0;
  for (const auto& client : clients) {
    expect_text(*client, 20);
    computed += client->result.prompt_tokens - client->result.shared_tokens;
  }
  EXPECT_EQ(computed, 300U + 10 + 11 + 12 + 13 + 14 + 15 + 16 + 17);
  EXPECT_EQ(fake.scheduler->activity().shared_tokens, 7U * 300);
}

TEST(Scheduler, AConversationGoesOnWhereItEndedWithoutComputingItAgain) {
  FakeModel fake({.context = 8 * kPage, .sequences = 2});
  FakeClient first(some_text(50, 1));
  fake.scheduler->join(first.options(20), first);
  run_all(*fake.scheduler);
  std::vector<Token> prompt = first.prompt();
  prompt.insert(prompt.end(), first.text.begin(), first.text.end());
  const std::vector<Token> question = some_text(12, 2);
  prompt.insert(prompt.end(), question.begin(), question.end());
  FakeClient second(prompt);
  fake.scheduler->join(second.options(5), second);
  run_all(*fake.scheduler);
  expect_text(second, 5);
  EXPECT_EQ(second.result.shared_tokens, 69U) << "the last token that was generated has no cell";
  EXPECT_EQ(fake.device().copied, 0U);
}

TEST(Scheduler, TheSamePromptAgainComputesItsLastTokenAlone) {
  FakeModel fake;
  for (const bool copies : {true, false}) {
    fake.device().copies = copies;
    FakeClient client(some_text(60, 1));
    fake.scheduler->join(client.options(5), client);
    run_all(*fake.scheduler);
    FakeClient again(some_text(60, 1));
    fake.scheduler->join(again.options(5), again);
    run_all(*fake.scheduler);
    expect_text(again, 5);
    EXPECT_EQ(again.result.shared_tokens, copies ? 59U : kPage);
  }
}

TEST(Scheduler, WhoAsksForNothingSharedOrForTheRowsOfItsPromptComputesEverything) {
  FakeModel fake({.context = 8 * kPage, .sequences = 2, .batch = 64, .outputs = 5});
  FakeClient client(some_text(70, 1));
  fake.scheduler->join(client.options(1), client);
  run_all(*fake.scheduler);
  FakeClient own(some_text(70, 1));
  SessionOptions options = own.options(1);
  options.most_shared = 0;
  fake.scheduler->join(options, own);
  run_all(*fake.scheduler);
  EXPECT_EQ(own.result.shared_tokens, 0U);
  FakeClient rows(some_text(70, 1));
  options = rows.options(2);
  options.prompt_rows = true;
  fake.scheduler->join(options, rows);
  run_all(*fake.scheduler);
  expect_text(rows, 2);
  ASSERT_EQ(rows.rows.size(), 70U);
  for (std::size_t i = 0; i < 70; ++i) {
    EXPECT_EQ(rows.rows[i], test::token_after(std::span(rows.prompt()).first(i + 1)));
  }
}

class StatesClient final : public FakeClient {
 public:
  using FakeClient::FakeClient;
  void prompt_begun(std::size_t begun_with) noexcept override { shared = begun_with; }
  void prompt_state(std::size_t index, std::span<const float> state) override {
    indices.push_back(index);
    states.push_back(state[0]);  // the device says each token's position
  }
  std::size_t shared = 99;
  std::vector<std::size_t> indices;
  std::vector<float> states;
};

TEST(Scheduler, ThePromptsLastStateIsToldAlsoWhereNothingIsGeneratedAndTheBeginningIsShared) {
  FakeModel fake({.batch = 32});
  for (const std::size_t shared : {0U, 69U}) {
    StatesClient client(some_text(70, 1));
    SessionOptions options = client.options(0);
    options.states = States::Last;
    ASSERT_TRUE(fake.scheduler->join(options, client));
    run_all(*fake.scheduler);
    EXPECT_EQ(client.shared, shared);
    EXPECT_EQ(client.indices, std::vector<std::size_t>{69});
    EXPECT_EQ(client.states, std::vector<float>{69});
    EXPECT_TRUE(client.text.empty());
  }
}

TEST(Scheduler, AllStatesOfAPromptAreToldInItsOrderWhateverElseRuns) {
  FakeModel fake({.batch = 32, .outputs = 5});
  FakeClient other(some_text(12, 2));
  fake.scheduler->join(other.options(20), other);
  for (int i = 0; i < 2; ++i) {
    StatesClient client(some_text(40, 1));
    SessionOptions options = client.options(0);
    options.states = States::All;
    ASSERT_TRUE(fake.scheduler->join(options, client));
    run_all(*fake.scheduler);
    EXPECT_EQ(client.shared, 0U);
    ASSERT_EQ(client.states.size(), 40U);
    for (std::size_t token = 0; token < 40; ++token) {
      EXPECT_EQ(client.indices[token], token);
      EXPECT_EQ(client.states[token], static_cast<float>(token));
    }
  }
  expect_text(other, 20);
}

TEST(Scheduler, ASessionGetsThePlaceThatItAsksFor) {
  FakeModel fake({.sequences = 3});
  FakeClient first(some_text(5, 1)), second(some_text(5, 2));
  SessionOptions options = first.options(3);
  options.place = 2;
  const auto id = fake.scheduler->join(options, first);
  ASSERT_TRUE(id);
  EXPECT_EQ(fake.scheduler->place_of(*id), 2U);
  EXPECT_FALSE(fake.scheduler->is_free(2));
  EXPECT_FALSE(fake.scheduler->join(options, second));
  options.place = 3;
  EXPECT_THROW(fake.scheduler->join(options, second), Error);
  run_all(*fake.scheduler);
  EXPECT_TRUE(fake.scheduler->is_free(2));
}

TEST(Scheduler, AFollowerGoesOnWhenTheOneItWaitedForIsCancelled) {
  FakeModel fake({.context = 32 * kPage, .sequences = 2, .batch = 32});
  FakeClient leader(some_text(300, 1));
  FakeClient follower(some_text(300, 1));
  const auto id = fake.scheduler->join(leader.options(5), leader);
  fake.scheduler->join(follower.options(5), follower);
  fake.scheduler->step();
  fake.scheduler->step();
  EXPECT_EQ(follower.read[0], 0U);
  fake.scheduler->cancel(*id);
  run_all(*fake.scheduler);
  expect_text(follower, 5);
  EXPECT_EQ(follower.result.shared_tokens, 64U);
}

// --- A full pool.

TEST(Scheduler, APromptWaitsUntilItsCellsAreFree) {
  FakeModel fake({.context = 4 * kPage, .sequences = 3, .batch = 64});
  FakeClient one(some_text(2 * kPage, 1));
  FakeClient two(some_text(3 * kPage - 12, 2));
  FakeClient three(some_text(kPage - 12, 3));  // would fit, and came later
  fake.scheduler->join(one.options(10), one);
  fake.scheduler->join(two.options(10), two);
  fake.scheduler->join(three.options(10), three);
  while (one.endings == 0) {
    fake.scheduler->step();
    if (one.endings == 0) {
      EXPECT_EQ(two.read[0] + three.read[0], 0U);
    }
  }
  run_all(*fake.scheduler);
  for (const FakeClient* client : {&one, &two, &three}) {
    EXPECT_EQ(client->result.ending, Ending::Length);
    expect_text(*client, 10);
  }
}

TEST(Scheduler, OneThatFindsNoPageWaitsUntilAnotherEnds) {
  FakeModel fake({.context = 4 * kPage, .sequences = 2});
  FakeClient grows(some_text(2 * kPage, 1));
  FakeClient ends(some_text(2 * kPage - 10, 2));
  fake.scheduler->join(grows.options(kPage), grows);
  fake.scheduler->join(ends.options(5), ends);
  run_all(*fake.scheduler);
  EXPECT_EQ(grows.result.ending, Ending::Length);
  expect_text(grows, kPage);
  expect_text(ends, 5);
}

TEST(Scheduler, WhereAllFindNoPageTheOneThatJoinedLastEndsAndTheOthersGoOn) {
  FakeModel fake({.context = 4 * kPage, .sequences = 2});
  FakeClient first(some_text(2 * kPage - 3, 1));
  FakeClient last(some_text(2 * kPage - 3, 2));
  fake.scheduler->join(first.options(2 * kPage), first);
  fake.scheduler->join(last.options(2 * kPage), last);
  run_all(*fake.scheduler);
  EXPECT_EQ(last.result.ending, Ending::ContextFull);
  expect_text(last, 4);
  EXPECT_EQ(first.result.ending, Ending::Length);
  expect_text(first, 2 * kPage);
}

TEST(Scheduler, NoPromptIsBegunWhileOneThatGeneratesWaitsForAPage) {
  FakeModel fake({.context = 4 * kPage, .sequences = 3});
  FakeClient first(some_text(2 * kPage - 3, 1));
  FakeClient second(some_text(2 * kPage - 3, 2));
  FakeClient third(some_text(5, 3));
  fake.scheduler->join(first.options(20), first);
  fake.scheduler->join(second.options(20), second);
  for (int i = 0; i < 4; ++i) fake.scheduler->step();
  fake.scheduler->join(third.options(5), third);
  run_all(*fake.scheduler);
  expect_text(first, 20);
  EXPECT_EQ(first.result.ending, Ending::Length);
  EXPECT_EQ(third.result.ending, Ending::Length);
}

TEST(Scheduler, ASessionTakesNoMoreCellsThanItsOptionsSay) {
  FakeModel fake;
  FakeClient client(some_text(20, 1));
  SessionOptions options = client.options();
  options.most_cells = 40;
  fake.scheduler->join(options, client);
  run_all(*fake.scheduler);
  EXPECT_EQ(client.result.ending, Ending::ContextFull);
  expect_text(client, 21);
}

// --- Guessing.

}  // namespace
}  // namespace loadline::exec

// The scheduler over caches that do not keep every position: the fake device sees that what a token sees of its window
// is there, and computes from states alone.
#include <gtest/gtest.h>

#include "exec/fake_device.h"
#include "exec/scheduler.h"
#include "speculate/ngram_drafter.h"

namespace loadline::exec {
namespace {

using test::expect_text;
using test::FakeClient;
using test::FakeModel;
using test::FakeShape;
using test::kPage;
using test::Oracle;
using test::run_all;
using test::some_text;

std::vector<Token> joined(std::vector<Token> text, const std::vector<Token>& more) {
  text.insert(text.end(), more.begin(), more.end());
  return text;
}

// Both kinds, one of them, and a window that is no multiple of anything.
class OtherCachesOf : public testing::TestWithParam<FakeShape> {
 protected:
  static FakeShape shape(std::uint32_t context, std::uint32_t sequences, std::uint32_t batch) {
    FakeShape shape = GetParam();
    shape.context = context;
    shape.sequences = sequences;
    shape.batch = batch;
    return shape;
  }
};
INSTANTIATE_TEST_SUITE_P(Kinds, OtherCachesOf,
                         testing::Values(FakeShape{.window = 45}, FakeShape{.window = 7}, FakeShape{.states = true},
                                         FakeShape{.window = 45, .states = true}),
                         [](const auto& shape) {
                           return "window_" + std::to_string(shape.param.window) +
                                  (shape.param.states ? "_and_states" : "");
                         });

TEST_P(OtherCachesOf, SessionsPastTheirWindowsGetTheTextTheyGetAlone) {
  FakeModel fake(shape(64 * kPage, 4, 64));
  std::vector<std::unique_ptr<FakeClient>> clients;
  for (const std::size_t length : {300U, 5U, 64U, 150U, 90U, 31U, 33U, 200U}) {
    clients.push_back(std::make_unique<FakeClient>(some_text(length, static_cast<std::uint32_t>(clients.size()))));
  }
  std::size_t next = 0;
  for (int step = 0; step < 2000; ++step) {
    while (next < clients.size() && fake.scheduler->join(clients[next]->options(150), *clients[next])) ++next;
    if (!fake.scheduler->step()) break;
  }
  for (const auto& client : clients) expect_text(*client, 150);
}

TEST_P(OtherCachesOf, AConversationGoesOnWhereItEnded) {
  FakeModel fake(shape(32 * kPage, 2, 64));
  FakeClient first(some_text(250, 1));
  fake.scheduler->join(first.options(90), first);
  run_all(*fake.scheduler);
  FakeClient second(joined(joined(first.prompt(), first.text), some_text(12, 2)));
  fake.scheduler->join(second.options(5), second);
  run_all(*fake.scheduler);
  expect_text(second, 5);
  EXPECT_EQ(second.result.shared_tokens, 339U) << "the last token that was generated has no cell";
}

// As when an answer is tried again, or comes back without its reasoning.
TEST_P(OtherCachesOf, AnotherAnswerToThePromptIsRight) {
  FakeModel fake(shape(32 * kPage, 2, 64));
  FakeClient first(some_text(250, 1));
  fake.scheduler->join(first.options(20), first);
  run_all(*fake.scheduler);
  FakeClient second(joined(first.prompt(), some_text(12, 2)));
  fake.scheduler->join(second.options(100), second);
  run_all(*fake.scheduler);
  expect_text(second, 100);
  EXPECT_GE(second.result.shared_tokens, 250U);
}

TEST_P(OtherCachesOf, ABeginningThatIsGoneIsComputedAgain) {
  FakeModel fake(shape(32 * kPage, 1, 32));
  FakeClient first(some_text(500, 1));
  fake.scheduler->join(first.options(90), first);
  run_all(*fake.scheduler);
  FakeClient second(joined({first.prompt().begin(), first.prompt().begin() + 200}, some_text(40, 2)));
  fake.scheduler->join(second.options(50), second);
  run_all(*fake.scheduler);
  expect_text(second, 50);
  EXPECT_EQ(second.result.shared_tokens, 0U);
}

TEST_P(OtherCachesOf, GuessesChangeHowManyPassesATextTakesAndNothingElse) {
  for (const std::size_t wrong : {1U, 2U, 5U, 12U, 100U}) {
    FakeShape wide = shape(32 * kPage, 2, 64);
    wide.outputs = 9;
    FakeModel fake(wide);
    FakeClient client(some_text(120, 1));
    FakeClient other(some_text(40, 2));
    Oracle oracle(wrong);
    SessionOptions options = client.options(150);
    options.drafter = &oracle;
    fake.scheduler->join(options, client);
    fake.scheduler->join(other.options(100), other);
    run_all(*fake.scheduler);
    expect_text(client, 150);
    expect_text(other, 100);
    EXPECT_EQ(client.result.accepted_tokens, oracle.judged);
    if (wrong > 1) {
      EXPECT_GT(client.result.accepted_tokens, 0U);
    }
    if (wrong == 100) {
      EXPECT_LT(client.result.passes, 40U);
    }
  }
}

TEST_P(OtherCachesOf, GuessesEndWithTheContextAndAStoppedPassIsRunAgain) {
  FakeShape narrow = shape(4 * kPage, 1, 32);
  narrow.outputs = 9;
  FakeModel fake(narrow);
  FakeClient client(some_text(60, 1));
  Oracle oracle(3);
  SessionOptions options = client.options();
  options.drafter = &oracle;
  fake.scheduler->join(options, client);
  for (int step = 0; step < 1000; ++step) {
    const StopFlag stopped{step % 3 == 1};
    if (!fake.scheduler->step(&stopped)) break;
  }
  EXPECT_EQ(client.result.ending, Ending::ContextFull);
  expect_text(client, 4 * kPage - 60 + 1);
}

TEST_P(OtherCachesOf, ABeginningThatSeveralHaveIsRightForAllOfThem) {
  FakeModel fake(shape(128 * kPage, 8, 64));
  std::vector<std::unique_ptr<FakeClient>> clients;
  const std::vector<Token> common = some_text(300, 99);
  for (std::uint32_t i = 0; i < 8; ++i) {
    std::vector<Token> own = some_text(10 + 9 * i, i);
    own.front() = static_cast<Token>(i);  // here they part
    clients.push_back(std::make_unique<FakeClient>(joined(common, own)));
    fake.scheduler->join(clients.back()->options(60), *clients.back());
  }
  run_all(*fake.scheduler);
  for (const auto& client : clients) expect_text(*client, 60);
  if (!GetParam().states) {
    EXPECT_EQ(fake.scheduler->activity().shared_tokens, 7U * 300);
  }
}

}  // namespace
}  // namespace loadline::exec

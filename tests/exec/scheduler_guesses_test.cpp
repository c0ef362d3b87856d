// Sessions whose next tokens are guessed, over a device without kernels: the text is the same.
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
using test::Oracle;
using test::run_all;
using test::some_text;
using test::text_after;

TEST(Scheduler, GuessesChangeHowManyPassesATextTakesAndNothingElse) {
  for (const std::size_t wrong : {1U, 2U, 5U, 100U}) {
    FakeModel fake({.context = 8 * kPage, .sequences = 2, .batch = 64, .outputs = 9});
    FakeClient client(some_text(20, 1));
    Oracle oracle(wrong);
    SessionOptions options = client.options(60);
    options.drafter = &oracle;
    fake.scheduler->join(options, client);
    run_all(*fake.scheduler);
    expect_text(client, 60);
    EXPECT_EQ(client.result.passes + client.result.accepted_tokens, 59U);
    EXPECT_EQ(client.result.accepted_tokens, oracle.judged);
    if (wrong == 100) {
      EXPECT_EQ(client.result.passes, (59U + 8) / 9);
    }
    EXPECT_EQ(fake.device().passes.back().rounding, Rounding::AsAlone);
  }
}

TEST(Scheduler, GuessesThatArePendingAtTheEndOfTheContextEndItWhereItEndsWithoutThem) {
  for (std::size_t length = 40; length < 64; ++length) {
    FakeModel fake({.context = 2 * kPage, .sequences = 1, .batch = 64, .outputs = 9});
    FakeClient client(some_text(length, 1));
    Oracle oracle(100);
    SessionOptions options = client.options();
    options.drafter = &oracle;
    fake.scheduler->join(options, client);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.result.ending, Ending::ContextFull);
    expect_text(client, 2 * kPage - length + 1);
  }
}

// Fewer than the cache has, and no whole pages: only their number stops the guesses.
TEST(Scheduler, GuessesStopAtTheCellsThatASessionMayHave) {
  for (std::size_t length = 20; length < 40; ++length) {
    FakeModel fake({.context = 8 * kPage, .sequences = 1, .batch = 64, .outputs = 9});
    FakeClient client(some_text(length, 1));
    Oracle oracle(100);
    SessionOptions options = client.options();
    options.drafter = &oracle;
    options.most_cells = 50;
    fake.scheduler->join(options, client);
    run_all(*fake.scheduler);
    EXPECT_EQ(client.result.ending, Ending::ContextFull);
    expect_text(client, 50 - length + 1);
    for (const auto& pass : fake.device().passes) {
      for (const auto& run : pass.runs) EXPECT_LE(run.position + run.count, 50U);
    }
  }
}

TEST(Scheduler, GuessesEndAtTheLimitAtAnEndTokenAndWhenTheClientHasEnough) {
  for (std::size_t at = 1; at < 20; ++at) {
    FakeModel fake({.sequences = 1, .outputs = 9});
    const std::vector<Token> text = text_after(some_text(20, 1), 30);
    for (const int kind : {0, 1, 2}) {
      FakeClient client(some_text(20, 1));
      Oracle oracle(100);
      SessionOptions options = client.options(kind == 0 ? static_cast<std::int64_t>(at) : -1);
      options.drafter = &oracle;
      if (kind == 1) client.end_token = text[at];
      if (kind == 2) client.enough = at;
      fake.scheduler->join(options, client);
      run_all(*fake.scheduler);
      const auto first = static_cast<std::size_t>(std::ranges::find(text, text[at]) - text.begin());
      expect_text(client, kind == 1 ? first : at);
    }
  }
}

TEST(Scheduler, SessionsWithAndWithoutGuessesShareAPassAndItsRows) {
  FakeModel fake({.context = 32 * kPage, .sequences = 4, .batch = 32, .outputs = 10});
  std::vector<std::unique_ptr<FakeClient>> clients;
  Oracle good(100);
  Oracle bad(2);
  for (std::uint32_t i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<FakeClient>(some_text(10, i)));
    SessionOptions options = clients.back()->options(40);
    if (i == 1) options.drafter = &good;
    if (i == 3) options.drafter = &bad;
    fake.scheduler->join(options, *clients.back());
  }
  run_all(*fake.scheduler);
  for (const auto& client : clients) expect_text(*client, 40);
  EXPECT_LT(clients[1]->result.passes, 30U);
  for (const auto& pass : fake.device().passes) EXPECT_LE(pass.outputs, 10U);
}

}  // namespace
}  // namespace loadline::exec

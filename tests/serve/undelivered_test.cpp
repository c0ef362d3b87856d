// An answer that nobody takes waits, and no more of it is made than there is room for. With the demo model.
#include "serve/undelivered.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <thread>

#include "engine/loaded.h"
#include "serve/service.h"
#include "serve/token_reports.h"
#include "support/test_data.h"

namespace loadline::serve {
namespace {

// What a network's thread would be told.
class Told final : public Listener {
 public:
  void piece(const Piece& piece) override {
    tokens += piece.tokens.size();
    if (undelivered != nullptr) least = std::min(least, undelivered->held());
  }
  void finished(const Outcome& outcome) override {
    finish = outcome.finish;
    generated = outcome.figures.generated_tokens;
  }
  std::size_t tokens = 0, generated = 0;
  std::optional<Finish> finish;
  const Undelivered* undelivered = nullptr;
  Bytes least{UINT64_MAX};  // that was counted while it was told something
};

struct Serving {
  const std::filesystem::path file = test::source_dir() / "models/demo.gguf";
  const gguf::Model model = gguf::open_model(file);
  Serving() {
    plan::Options options;
    options.context = 2048;
    options.threads = 1;
    auto tokenizer = tokenizer::Tokenizer::from_metadata(model.metadata);
    ServiceOptions how;
    how.basis = std::make_shared<const Basis>();
    service.emplace(test::load(file, options), std::move(tokenizer), std::move(how));
  }
  // An answer of which each token takes much.
  std::shared_ptr<Told> ask() {
    Generation generation;
    generation.prompt = {1, 2, 3};
    generation.ignore_end = true;
    generation.most_tokens = 2000;
    generation.log_probabilities = {1000, false};
    generation.tells_reports = true;
    auto told = std::make_shared<Told>();
    EXPECT_TRUE(service->submit(std::move(generation), told));
    return told;
  }
  std::optional<Service> service;
};

TEST(Undelivered, TheEngineWaitsUntilWhatItMadeIsTaken) {
  Serving serving;
  Service& service = *serving.service;
  const auto told = serving.ask();
  std::size_t waited = 0;
  while (!told->finish) {
    if (service.undelivered().waits()) {
      ++waited;
    } else if (service.load().generations == 0) {
      continue;  // it neither waits nor has ended
    }
    service.deliver();
  }
  EXPECT_EQ(told->finish, Finish::Length);
  EXPECT_EQ(told->tokens, told->generated);
  EXPECT_GT(waited, 2U);
  const Bytes pass = told_bytes(1000) + Bytes(std::uint64_t{64} << 10);
  EXPECT_LE(service.undelivered().largest().value, (kMostUndelivered + pass).value);
}

// Telling it takes memory too, which was counted for it.
TEST(Undelivered, WhatIsBeingToldIsNotTakenYet) {
  Serving serving;
  const auto told = serving.ask();
  told->undelivered = &serving.service->undelivered();
  while (!told->finish) serving.service->deliver();
  EXPECT_GE(told->least, told_bytes(1000));
  EXPECT_EQ(told->undelivered->held(), Bytes());
}

TEST(Undelivered, AServiceEndsWhileItWaits) {
  Serving serving;
  const auto told = serving.ask();
  while (!serving.service->undelivered().waits()) {
  }
  serving.service.reset();
  EXPECT_FALSE(told->finish);
}

TEST(Undelivered, WhatIsCancelledWaitsForNobody) {
  Serving serving;
  const auto told = serving.ask();
  while (!serving.service->undelivered().waits()) {
  }
  serving.service->cancel(1);
  while (!told->finish) serving.service->deliver();
  EXPECT_EQ(told->finish, Finish::Cancelled);
}

}  // namespace
}  // namespace loadline::serve

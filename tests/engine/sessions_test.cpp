// A loaded model holds itself to its plan, and runs sessions side by side. With the demo model, which is always there.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "engine/backends.h"
#include "engine/interruption.h"
#include "engine/loaded.h"
#include "engine/streamed_model.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

using test::Listener;
using test::Wanted;

struct Parts {
  gguf::Model model;
  model::Program program;
  plan::Plan plan;
};

// `streamed`: most weights come from disk for every pass.
Parts demo(std::uint32_t sequences = 1, std::uint32_t context = 256, bool streamed = false) {
  const std::filesystem::path file = test::source_dir() / "models/demo.gguf";
  plan::Options options;
  options.context = context;
  options.sequences = sequences;
  options.threads = 2;
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  if (streamed) {
    const plan::Plan all = plan::make_plan(model, program, hardware::probe(file), options, engine::backends());
    options.disk = true;
    options.ram_budget =
        plan::tier_total(all, plan::kCpu) - plan::tier_total(all, plan::kCpu, plan::Purpose::Weights) / 4;
  }
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), options, engine::backends());
  return {std::move(model), std::move(program), std::move(plan)};
}

std::unique_ptr<Engine> load(Parts parts, Engine::Options options) {
  return Engine::load(std::move(parts.model), std::move(parts.program), std::move(parts.plan), {}, test::kNeverStop,
                      std::move(options));
}

// The sentence of the Error that it throws; empty where it throws none.
template <class Function>
std::string refusal(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Internal);
    return error.what();
  }
  return {};
}

TEST(Verification, AfterLoadingAProcessThatHoldsMoreThanPlannedIsRefusedWithTheRowAndBothNumbers) {
  Parts parts = demo();
  const Bytes planned = plan::tier_total(parts.plan, plan::kCpu);
  Engine::Options options;
  options.held_memory = [&] { return planned + Bytes(1); };
  const std::string sentence = refusal([&] { load(std::move(parts), options); });
  EXPECT_NE(sentence.find(std::to_string(planned.value)), std::string::npos) << sentence;
  EXPECT_NE(sentence.find(std::to_string(planned.value + 1)), std::string::npos) << sentence;
  EXPECT_NE(sentence.find("runtime"), std::string::npos) << sentence;
}

TEST(Verification, AfterTheLastPassItIsComparedAgain) {
  Parts parts = demo();
  const Bytes planned = plan::tier_total(parts.plan, plan::kCpu);
  Bytes held = planned;
  Engine::Options options;
  options.held_memory = [&] { return held; };
  const auto engine = load(std::move(parts), options);
  Listener listener({.most = 2});
  const std::vector<Token> prompt = {1, 2, 3};
  exec::SessionOptions session;
  session.prompt = prompt;
  session.most_tokens = 2;
  ASSERT_TRUE(engine->scheduler().join(session, listener));
  listener.wanted.on_token = [&](Token) { held = planned + Bytes(4096); };
  EXPECT_NE(refusal([&] { engine->run(test::kNeverStop); }), "");
  EXPECT_EQ(listener.tokens.size(), 2U);
}

// Also where the process as a whole is left out.
TEST(Verification, ADeviceThatHoldsAnotherSizeThanPlannedIsRefusedWithBothNumbers) {
  for (const std::int64_t off : {-4096, 1}) {
    Bytes held;
    Engine::Options options = test::not_alone();
    options.allocated = [&](const backend::Device& device) { return held = Bytes(device.allocated().value + off); };
    const std::string sentence = refusal([&] { load(demo(), options); });
    EXPECT_NE(sentence.find(std::to_string(held.value)), std::string::npos) << sentence;
    EXPECT_NE(sentence.find(std::to_string(held.value - off)), std::string::npos) << sentence;
  }
}

TEST(Verification, WhatTheCallerHoldsIsItsOwnAffairAndSoIsAProcessOfSeveralModels) {
  Parts parts = demo();
  const Bytes planned = plan::tier_total(parts.plan, plan::kCpu);
  Engine::Options options;
  options.held_memory = [&] { return planned + Bytes(1000); };
  options.of_caller = Bytes(1000);
  EXPECT_NE(load(std::move(parts), options), nullptr);
  options.of_caller = Bytes(999);
  EXPECT_NE(refusal([&] { load(demo(), options); }), "");
  options.alone = false;
  EXPECT_NE(load(demo(), options), nullptr);
}

// Sessions that only generate compute each token as if it were alone.
TEST(Sessions, ThatGenerateTogetherGetTheTextEachGetsAlone) {
  const std::vector<std::vector<Token>> prompts = {
      {1, 40, 41, 42, 43, 44}, {1, 90, 91, 92, 93, 94, 95, 96}, {1, 200, 201, 202, 203}};
  std::vector<std::vector<Token>> alone;
  for (const auto& prompt : prompts) {
    const auto engine = load(demo(1), test::not_alone());
    alone.push_back(test::generate(*engine, prompt, {.most = 40}).tokens);
  }
  const auto engine = load(demo(3, 512), test::not_alone());
  std::vector<std::unique_ptr<Listener>> listeners;
  for (const auto& prompt : prompts) {
    listeners.push_back(std::make_unique<Listener>(Wanted{.most = 40}));
    exec::SessionOptions session;
    session.prompt = prompt;
    session.most_tokens = 40;
    ASSERT_TRUE(engine->scheduler().join(session, *listeners.back()));
  }
  engine->run(test::kNeverStop);
  for (std::size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(listeners[i]->tokens, alone[i]) << i;
}

TEST(Sessions, ThatBeginAlikeShareTheCellsOfTheRealCache) {
  std::vector<Token> prompt = {1};
  for (Token token = 0; token < 70; ++token) prompt.push_back(10 + token * 7 % 300);
  const auto engine = load(demo(2, 512), test::not_alone());
  const std::vector<Token> first = test::generate(*engine, prompt, {.most = 30}).tokens;
  Listener again({.most = 30});
  exec::SessionOptions session;
  session.prompt = prompt;
  session.most_tokens = 30;
  ASSERT_TRUE(engine->scheduler().join(session, again));
  engine->run(test::kNeverStop);
  EXPECT_EQ(again.result.shared_tokens, 70U) << "a partly filled page is copied";
  EXPECT_EQ(again.tokens, first);
}

// Only the last row of a prompt goes on after the last attention.
TEST(Sessions, APromptOfAnyLengthIsFollowedByItsLastRow) {
  const auto engine = load(demo(), test::not_alone());
  const std::vector<Token> text = {1, 40, 90, 41, 200, 42, 91, 43, 201, 44};
  const std::vector<float> rows = test::score(*engine, text);
  const std::size_t width = rows.size() / text.size();
  for (std::size_t length = 1; length <= text.size(); ++length) {
    double apart = 1e9;
    const auto draw = [&](std::span<const float> logits) {
      apart = 0;
      for (std::size_t i = 0; i < width; ++i) {
        apart = std::max(apart, std::fabs(static_cast<double>(logits[i]) - rows[(length - 1) * width + i]));
      }
      return test::greedy(logits);
    };
    static_cast<void>(test::generate(*engine, {text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length)},
                                     {.most = 1, .draw = draw}));
    EXPECT_LT(apart, 0.2) << "a prompt of " << length << " tokens";
  }
}

TEST(Sessions, TwoModelsInOneProcessDoNotKnowOfEachOther) {
  const auto one = load(demo(), test::not_alone());
  const std::vector<Token> prompt = {1, 40, 41, 42, 43, 44};
  const std::vector<Token> text = test::generate(*one, prompt, {.most = 10}).tokens;
  {
    const auto two = load(demo(), test::not_alone());
    EXPECT_EQ(test::generate(*two, prompt, {.most = 10}).tokens, text);
  }
  EXPECT_EQ(test::generate(*one, prompt, {.most = 10}).tokens, text);
}

// On the CPU to the letter: the model goes on by a plan that reads most of its weights from disk, and back.
TEST(Replan, TextsGoOnToTheLetterUnderAnotherPlan) {
  const std::vector<Token> prompt = {1, 40, 41, 42, 43, 44, 90, 91, 200};
  constexpr std::int64_t kMost = 60;
  const auto alone = load(demo(), test::not_alone());
  const std::vector<Token> expected = test::generate(*alone, prompt, {.most = kMost}).tokens;
  ASSERT_EQ(expected.size(), static_cast<std::size_t>(kMost));

  const auto engine = load(demo(), test::not_alone());
  const Bytes resident = plan::tier_total(engine->plan(), plan::kCpu);
  plan::Plan less = demo(1, 256, true).plan;
  ASSERT_LT(plan::tier_total(less, plan::kCpu), resident);
  Listener listener({.most = kMost});
  exec::SessionOptions session;
  session.prompt = prompt;
  session.most_tokens = kMost;
  ASSERT_TRUE(engine->scheduler().join(session, listener));
  const auto until = [&](std::size_t tokens) {
    while (listener.tokens.size() < tokens && engine->scheduler().step()) {
    }
  };
  until(20);
  ASSERT_TRUE(engine->replan(less, {}, test::kNeverStop));
  EXPECT_EQ(plan::tier_total(engine->plan(), plan::kCpu), plan::tier_total(less, plan::kCpu));
  EXPECT_EQ(engine->tokens_again(), 0U);  // caches stay
  until(30);
  ASSERT_TRUE(engine->replan(demo(1, 512, true).plan, {}, test::kNeverStop));
  EXPECT_EQ(engine->tokens_again(), prompt.size() + listener.tokens.size() - 1);  // but not of another context
  until(40);
  ASSERT_TRUE(engine->replan(demo().plan, {}, test::kNeverStop));
  EXPECT_EQ(plan::tier_total(engine->plan(), plan::kCpu), resident);
  engine->run(test::kNeverStop);
  EXPECT_EQ(listener.tokens, expected);
}

// What is in RAM by both plans is moved to its new place and not read again.
TEST(Replan, WeightsThatStayAreNotReadAgain) {
  const test::TemporaryFolder folder;
  const std::filesystem::path file = test::write_streamed_model(folder.path());
  const auto plan_of = [&](unsigned percent) { return test::planned(file, test::streamed_options(), percent).plan; };
  const std::vector<Token> prompt = {1, 40, 41, 42, 43, 44, 90, 91, 200};
  constexpr std::int64_t kMost = 80;
  const auto alone = test::load(test::planned(file, test::streamed_options()));
  const std::vector<Token> expected = test::generate(*alone, prompt, {.most = kMost}).tokens;

  const auto engine = test::load(test::planned(file, test::streamed_options()));
  Listener listener({.most = kMost});
  exec::SessionOptions session;
  session.prompt = prompt;
  session.most_tokens = kMost;
  ASSERT_TRUE(engine->scheduler().join(session, listener));
  const Bytes file_size(std::filesystem::file_size(file));
  std::size_t until = 0;
  for (const unsigned percent : {80U, 55U, 90U, 100U}) {
    until += 15;
    while (listener.tokens.size() < until && engine->scheduler().step()) {
    }
    const plan::Plan next = plan_of(percent);
    const Interruption predicted = predict_interruption(*engine, next, hardware::probe(file));
    EXPECT_EQ(predicted.tokens, 0U);
    EXPECT_EQ(predicted.kept_tokens, prompt.size() + listener.tokens.size() - 1);
    EXPECT_EQ(predicted.caches, plan::tier_total(next, plan::kCpu, plan::Purpose::KvCache));
    EXPECT_LE(predicted.least, predicted.seconds);
    EXPECT_LE(predicted.seconds, predicted.most);
    ASSERT_TRUE(engine->replan(next, {}, test::kNeverStop));
    const Engine::LoadFigures& figures = engine->load_figures();
    EXPECT_GT(figures.kept, file_size / 8) << percent;
    EXPECT_EQ(figures.kept, predicted.kept);
    EXPECT_EQ(figures.weights, predicted.weights);
    EXPECT_EQ(figures.caches, predicted.caches);
    EXPECT_EQ(engine->tokens_again(), 0U);
    Bytes weights;
    for (const plan::Region& region : next.regions) {
      if (region.purpose == plan::Purpose::Weights) weights += region.size;
    }
    EXPECT_EQ(figures.kept + figures.weights, weights) << percent;
  }
  engine->run(test::kNeverStop);
  EXPECT_EQ(listener.tokens, expected);
}

TEST(Replan, WhatIsStoppedOrCannotBeLoadedLeavesTheSessionsToAnother) {
  const auto engine = load(demo(), test::not_alone());
  const std::vector<Token> prompt = {1, 40, 41, 42};
  Listener listener({.most = 10});
  exec::SessionOptions session;
  session.prompt = prompt;
  session.most_tokens = 10;
  ASSERT_TRUE(engine->scheduler().join(session, listener));
  while (listener.tokens.size() < 4) engine->scheduler().step();
  const std::atomic<bool> stop{true};
  EXPECT_FALSE(engine->replan(demo().plan, {}, stop));
  EXPECT_TRUE(engine->replan(demo().plan, {}, test::kNeverStop));
  engine->run(test::kNeverStop);
  const auto alone = load(demo(), test::not_alone());
  EXPECT_EQ(listener.tokens, test::generate(*alone, prompt, {.most = 10}).tokens);
}

}  // namespace
}  // namespace loadline::engine

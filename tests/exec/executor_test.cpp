// The executor over devices without kernels: what it hands them, and what is left when one of them fails.
#include "exec/executor.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "exec/fake_device.h"

namespace loadline::exec {
namespace {

using test::FakeModel;
using test::kPage;
using test::kVocabulary;
using test::some_text;
using test::token_after;

const StopFlag kNeverStop{false};

Token likeliest(std::span<const float> row) { return static_cast<Token>(std::ranges::max_element(row) - row.begin()); }

// What an Error's code and sentence are; Internal where it is a wrong caller's.
template <class Function>
ErrorCode code_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_STRNE(error.what(), "");
    return error.code();
  }
  ADD_FAILURE() << "nothing was refused";
  return ErrorCode::Interrupted;
}

TEST(Executor, SeveralUnevenSequencesInAPassSeeTheirOwnCellsEach) {
  FakeModel fake({.context = 8 * kPage, .sequences = 4, .batch = 128, .outputs = 8});
  std::vector<std::vector<Token>> texts(4);
  const std::size_t counts[3][4] = {{1, 40, 7, 33}, {5, 1, 31, 2}, {1, 1, 1, 1}};
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<std::vector<Token>> parts;
    std::vector<Input> inputs;
    for (const std::uint32_t s : {2U, 0U, 3U, 1U}) {
      parts.push_back(some_text(counts[pass][s], 10 * static_cast<std::uint32_t>(pass) + s));
      inputs.push_back({s, parts.back(), Want::Last});
      texts[s].insert(texts[s].end(), parts.back().begin(), parts.back().end());
    }
    ASSERT_TRUE(fake.executor->forward(inputs, kNeverStop));
    ASSERT_EQ(fake.executor->logits_rows(), 4U);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(likeliest(fake.executor->logits(i)), token_after(texts[inputs[i].sequence])) << pass << ", " << i;
    }
  }
}

TEST(Executor, RowsComeInTheOrderOfTheInputs) {
  FakeModel fake({.batch = 64, .outputs = 6});
  const std::vector<Token> one = some_text(4, 1);
  const std::vector<Token> two = some_text(9, 2);
  const std::vector<Token> three = some_text(3, 3);
  const std::vector<Input> inputs = {{1, one, Want::All}, {0, two, Want::None}, {2, three, Want::Last}};
  ASSERT_TRUE(fake.executor->forward(inputs, kNeverStop));
  ASSERT_EQ(fake.executor->logits_rows(), 5U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(likeliest(fake.executor->logits(i)), token_after(std::span(one).first(i + 1)));
  }
  EXPECT_EQ(likeliest(fake.executor->logits(4)), token_after(three));
}

TEST(Executor, WhatIsNoPassOfThePlanIsRefusedBeforeAnythingHasChanged) {
  FakeModel fake({.context = 8 * kPage, .sequences = 2, .batch = 16, .outputs = 2});
  const std::vector<Token> long_text = some_text(17, 1);
  const std::vector<Token> text = some_text(3, 1);
  const std::vector<Token> unknown = {1, static_cast<Token>(kVocabulary)};
  const std::vector<Token> negative = {-1};
  const auto pass = [&](std::vector<Input> inputs) {
    return code_of([&] { fake.executor->forward(inputs, kNeverStop); });
  };
  EXPECT_EQ(pass({{0, long_text, Want::Last}}), ErrorCode::Internal) << "more tokens than a pass has";
  EXPECT_EQ(pass({{0, text, Want::All}}), ErrorCode::Internal) << "more rows than a pass has";
  EXPECT_EQ(pass({{2, text, Want::Last}}), ErrorCode::Internal) << "a sequence that is not there";
  EXPECT_EQ(pass({{0, text, Want::Last}, {0, text, Want::Last}}), ErrorCode::Internal) << "one twice";
  EXPECT_EQ(pass({{0, text, Want::Last}, {1, unknown, Want::Last}}), ErrorCode::BadInput);
  EXPECT_EQ(pass({{0, negative, Want::Last}}), ErrorCode::BadInput);
  EXPECT_EQ(fake.device().runs, 0U);
  EXPECT_EQ(fake.executor->cache().length(0), 0U);
  EXPECT_EQ(fake.executor->cache().available_pages(), 8U);
  EXPECT_EQ(code_of([&] { static_cast<void>(fake.executor->logits(0)); }), ErrorCode::Internal);
}

TEST(Executor, EarlierInputsKeepTheirCellsWhenALaterOneDoesNotFit) {
  FakeModel fake({.context = 4 * kPage, .sequences = 3, .batch = 128, .outputs = 3});
  const std::vector<Token> first = some_text(kPage - 2, 1);
  const std::vector<Token> second = some_text(2 * kPage, 2);
  const std::vector<Input> fit = {{0, first, Want::None}, {1, second, Want::None}};
  ASSERT_TRUE(fake.executor->forward(fit, kNeverStop));
  const std::vector<Token> more = some_text(5, 3);
  const std::vector<Token> most = some_text(kPage, 4);
  const std::vector<Input> too_much = {{0, more, Want::Last}, {2, most, Want::Last}};
  EXPECT_EQ(code_of([&] { fake.executor->forward(too_much, kNeverStop); }), ErrorCode::BadInput);
  EXPECT_EQ(fake.executor->cache().length(0), kPage - 2);
  EXPECT_EQ(fake.executor->cache().length(1), 2 * kPage);
  EXPECT_EQ(fake.executor->cache().length(2), 0U);
  EXPECT_EQ(fake.executor->cache().available_pages(), 1U);
  const Input alone{0, more, Want::Last};
  ASSERT_TRUE(fake.executor->forward({&alone, 1}, kNeverStop));
  std::vector<Token> all = first;
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_EQ(likeliest(fake.executor->logits(0)), token_after(all));
}

class Halves : public testing::Test {
 protected:
  FakeModel fake_{
      {.context = 8 * kPage, .sequences = 2, .batch = 4 * kPage, .outputs = 2, .devices = 2}, {}, 2 * kPage};
};

TEST_F(Halves, TheFirstHalfKeepsNoCellsWhenTheSecondDoesNotFit) {
  const std::vector<Token> text = some_text(4 * kPage, 1);
  const std::vector<Token> other = some_text(3 * kPage, 2);
  const Input held{1, other, Want::None};
  ASSERT_TRUE(fake_.executor->forward({&held, 1}, kNeverStop));
  const Input first{0, text, Want::None};
  ASSERT_TRUE(fake_.executor->forward({&first, 1}, kNeverStop));
  ASSERT_EQ(fake_.executor->overlapped_passes(), 2U);
  const std::vector<Token> more = some_text(2 * kPage, 3);
  const Input too_much{0, more, Want::Last};
  EXPECT_EQ(code_of([&] { fake_.executor->forward({&too_much, 1}, kNeverStop); }), ErrorCode::BadInput);
  EXPECT_EQ(fake_.executor->cache().length(0), 4 * kPage);
  EXPECT_EQ(fake_.executor->cache().available_pages(), 1U);
}

TEST_F(Halves, ADeviceThatThrowsInEitherHalfLeavesTheSequenceAsItWas) {
  const std::vector<Token> text = some_text(4 * kPage, 1);
  const Input input{0, text, Want::Last};
  for (const int device : {0, 1}) {
    for (const std::size_t at : {1U, 2U}) {
      const std::size_t before = fake_.devices[device]->runs;
      fake_.devices[device]->during = [&] {
        if (fake_.devices[device]->runs == before + at) throw Error(ErrorCode::DeviceFailure, "lost");
      };
      EXPECT_EQ(code_of([&] { fake_.executor->forward({&input, 1}, kNeverStop); }), ErrorCode::DeviceFailure);
      fake_.devices[device]->during = nullptr;
      EXPECT_EQ(fake_.executor->cache().length(0), 0U);
      EXPECT_EQ(fake_.executor->cache().available_pages(), 8U);
      EXPECT_EQ(fake_.executor->logits_rows(), 0U);
    }
  }
  ASSERT_TRUE(fake_.executor->forward({&input, 1}, kNeverStop));
  EXPECT_EQ(fake_.executor->overlapped_passes(), 1U);
  EXPECT_EQ(likeliest(fake_.executor->logits(0)), token_after(text));
}

TEST(Executor, ADeviceThatThrowsMidPassLeavesEverySequenceAsItWas) {
  FakeModel fake;
  std::vector<Token> first = some_text(20, 1);
  const std::vector<Token> second = some_text(10, 2);
  const Input begun{0, first, Want::Last};
  ASSERT_TRUE(fake.executor->forward({&begun, 1}, kNeverStop));
  const std::vector<Token> more = some_text(15, 3);
  const std::vector<Input> inputs = {{0, more, Want::Last}, {1, second, Want::Last}};
  fake.device().during = [] { throw std::runtime_error("the device is gone"); };
  EXPECT_THROW(fake.executor->forward(inputs, kNeverStop), std::runtime_error);
  fake.device().during = nullptr;
  EXPECT_EQ(fake.executor->cache().length(0), 20U);
  EXPECT_EQ(fake.executor->cache().length(1), 0U);
  ASSERT_TRUE(fake.executor->forward(inputs, kNeverStop));
  first.insert(first.end(), more.begin(), more.end());
  EXPECT_EQ(likeliest(fake.executor->logits(0)), token_after(first));
  EXPECT_EQ(likeliest(fake.executor->logits(1)), token_after(second));
}

TEST(Executor, AStoppedPassLeavesEverySequenceAsItWasAndAPassThatNobodyStoppedIsAnError) {
  FakeModel fake;
  const std::vector<Token> text = some_text(40, 1);
  const Input input{0, text, Want::Last};
  const StopFlag stop{true};
  EXPECT_FALSE(fake.executor->forward({&input, 1}, stop));
  EXPECT_EQ(fake.executor->cache().length(0), 0U);
  fake.device().unfinished = true;
  EXPECT_EQ(code_of([&] { fake.executor->forward({&input, 1}, kNeverStop); }), ErrorCode::DeviceFailure);
  EXPECT_EQ(fake.executor->cache().available_pages(), 8U);
}

// Brings no weights, as a file that cannot be read any more.
class BrokenGate final : public backend::WeightGate {
 public:
  void begin_pass() override {
    ++passes;
    if (broken) throw Error(ErrorCode::DeviceFailure, "the file changed");
  }
  void rethrow() override {
    if (failed) throw Error(ErrorCode::DeviceFailure, "a read failed");
  }
  bool acquire(std::uint32_t, const StopFlag&) noexcept override { return true; }
  void release(std::uint32_t) noexcept override {}
  int passes = 0;
  bool broken = false, failed = false;
};

TEST(Executor, AsksTheGateBeforeAPassAndSaysWhyItFailed) {
  FakeModel fake;
  BrokenGate gate;
  Executor executor(fake.program, fake.plan, {&fake.device()}, {}, &gate);
  const std::vector<Token> text = some_text(3, 1);
  const Input input{0, text, Want::Last};
  ASSERT_TRUE(executor.forward({&input, 1}, kNeverStop));
  EXPECT_EQ(gate.passes, 1);
  gate.failed = fake.device().unfinished = true;
  try {
    executor.forward({&input, 1}, kNeverStop);
    FAIL() << "a failed read went unnoticed";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a read failed");
  }
  gate.broken = true;
  EXPECT_THROW(executor.forward({&input, 1}, kNeverStop), Error);
  EXPECT_EQ(executor.cache().length(0), 3U);
}

}  // namespace
}  // namespace loadline::exec

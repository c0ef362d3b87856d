// A generation driven as the scheduler drives it, with logits that ask for a text of the test's.
#include "talk/generation.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "grammar/languages.h"
#include "tokenizer/synthetic.h"

namespace loadline::talk {
namespace {

class GenerationTest : public testing::Test {
 protected:
  GenerationTest() : metadata_(test::byte_pair_metadata("gpt-2", {"s h", "f i", "n a"}, {{"<|im_end|>", 3}})) {
    test::set_id(metadata_, "tokenizer.ggml.eos_token_id",
                 static_cast<std::uint32_t>(test::token_of(metadata_, "<|im_end|>")));
    tokenizer_ = tokenizer::Tokenizer::from_metadata(metadata_);
    options_.prompt = tokens("Q");
    options_.sampling.temperature = 0;
  }

  [[nodiscard]] std::vector<Token> tokens(const std::string& text) const {
    return tokenizer_->encode(text, {.add_special = false, .parse_special = true});
  }
  void begin() {
    Listener listener;
    listener.event = [this](const chat::OutputEvent& event) {
      (event.kind == chat::OutputEvent::Kind::Reasoning ? reasoning_ : shown_) += event.text;
    };
    listener.token = [this](const TokenReport& report) { reports_.push_back(report); };
    generation_ = std::make_unique<Generation>(options_, *tokenizer_,
                                               static_cast<std::uint32_t>(tokenizer_->vocabulary_size()), listener);
    (void)generation_->session();
  }
  // Draws a token; the model wants `text` most, its first token above all.
  bool step(const std::string& text) {
    std::vector<float> logits(static_cast<std::size_t>(tokenizer_->vocabulary_size()), 0.0F);
    float wish = 10;
    for (const Token token : tokens(text)) logits[static_cast<std::size_t>(token)] = wish--;
    const Token token = generation_->draw(logits);
    if (generation_->is_end(token)) {
      end(exec::Ending::EndOfGeneration);
      return false;
    }
    return generation_->take(token) || end(exec::Ending::Enough);
  }
  // Whether it goes on in another session.
  bool end(exec::Ending ending) {
    exec::SessionResult result;
    result.ending = ending;
    generation_->ended(result);
    const bool goes_on = generation_->goes_on();
    if (goes_on) session_ = generation_->session();
    return goes_on;
  }
  void write(const std::string& text) {
    for (const char c : text) ASSERT_TRUE(step(std::string(1, c))) << shown_;
  }
  void constrain(grammar::Grammar grammar) {
    index_ = std::make_unique<grammar::TokenIndex>(grammar::TokenIndex::of(*tokenizer_));
    options_.constraint = Constraint{std::make_shared<const grammar::Grammar>(std::move(grammar)), index_.get(), {}};
  }

  gguf::Metadata metadata_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  std::unique_ptr<grammar::TokenIndex> index_;
  GenerationOptions options_;
  std::unique_ptr<Generation> generation_;
  exec::SessionOptions session_;
  std::string shown_, reasoning_;
  std::vector<TokenReport> reports_;
};

TEST_F(GenerationTest, StopStringsEndItAndAreNotShown) {
  options_.stops = {"STOP"};
  begin();
  write("a STO");
  EXPECT_EQ(shown_, "a ");
  EXPECT_FALSE(step("P"));
  EXPECT_EQ(shown_, "a ");
  EXPECT_EQ(generation_->outcome().finish, Finish::StopString);
  EXPECT_EQ(generation_->outcome().stop, "STOP");
}

TEST_F(GenerationTest, PenaltiesSeeThePrompt) {
  options_.sampling.repeat_penalty = 1000;
  begin();
  ASSERT_TRUE(step("QZ"));  // the prompt is "Q"
  EXPECT_EQ(shown_, "Z");
}

TEST_F(GenerationTest, ABannedPhraseIsTakenBackAndAnotherWayTaken) {
  options_.banned = {"fish"};
  options_.log_probabilities = LogProbabilityOptions{};
  begin();
  write("I eat Fis");
  EXPECT_EQ(shown_, "I eat ");
  EXPECT_EQ(reports_.size(), 6U);
  ASSERT_TRUE(step("h"));  // another session goes on from before it
  const std::vector<Token> kept(session_.prompt.begin(), session_.prompt.end());
  EXPECT_EQ(tokenizer_->decode(kept, true), "QI eat ");
  ASSERT_TRUE(step("F."));  // the second choice
  write("x");
  EXPECT_FALSE(step("<|im_end|>"));
  EXPECT_EQ(shown_, "I eat .x");
  EXPECT_EQ(generation_->outcome().answer.content, "I eat .x");
  EXPECT_EQ(generation_->outcome().figures.generated_tokens, 8U);
  EXPECT_EQ(reports_.size(), 8U);
}

TEST_F(GenerationTest, WhatIsHeldBackIsShownAtTheEnd) {
  options_.banned = {"fish"};
  begin();
  write("no fi");
  EXPECT_EQ(shown_, "no ");
  EXPECT_FALSE(step("<|im_end|>"));
  EXPECT_EQ(shown_, "no fi");
}

TEST_F(GenerationTest, AGrammarHoldsForTheMessageThatIsTheAnswer) {
  options_.format = chat::OutputFormat::Harmony;
  options_.prompt_end = "<|start|>assistant";
  constrain(grammar::compile_json_schema(R"({"enum": ["yes", "no"]})"));
  begin();
  write("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>");
  while (step("nx")) {
  }
  EXPECT_EQ(reasoning_, "hm");
  EXPECT_EQ(shown_, "\"no\"");
}

TEST_F(GenerationTest, KeepsToItsGrammarAndEndsWithIt) {
  constrain(grammar::compile_json_schema(R"({"enum": ["yes", "no"]})"));
  begin();
  while (step("nx")) {
  }
  EXPECT_EQ(shown_, "\"no\"");
  EXPECT_EQ(generation_->outcome().finish, Finish::End);
}

TEST_F(GenerationTest, TheGrammarBeginsBehindReasoning) {
  constrain(grammar::compile_json_schema(R"({"enum": ["no"]})"));
  options_.format = chat::OutputFormat::Hermes;
  options_.prompt_end = "<think>\n";
  begin();
  write("hmm</think>");
  while (step("x")) {
  }
  EXPECT_EQ(reasoning_, "hmm");
  EXPECT_EQ(shown_, "\"no\"");
}

TEST_F(GenerationTest, ReasoningIsEndedWhenItsBudgetIsSpent) {
  options_.format = chat::OutputFormat::Hermes;
  options_.prompt_end = "<think>\n";
  options_.reasoning_budget = 3;
  begin();
  for (int i = 0; i < 40 && shown_.empty(); ++i) ASSERT_TRUE(step("m"));
  EXPECT_EQ(reasoning_, "mmm");
  EXPECT_EQ(shown_, "m");
}

TEST_F(GenerationTest, AGrammarGuessesWhatItLeavesNoChoiceIn) {
  constrain(grammar::compile_json_schema(
      R"({"type": "object", "properties": {"name": {"type": "integer"}}, "required": ["name"],
          "additionalProperties": false})"));
  begin();
  speculate::Drafter* drafter = generation_->session().drafter;
  ASSERT_NE(drafter, nullptr);
  const auto guess = drafter->draft(20);
  const std::string text = tokenizer_->decode(guess, true);
  EXPECT_GE(text.size(), 5U);
  EXPECT_TRUE(std::string("{\"name\":").starts_with(text)) << text;
  EXPECT_EQ(drafter->draft(2).size(), 2U);
}

TEST_F(GenerationTest, GuessesAreCutWhereTheGrammarForbidsThem) {
  class Says final : public speculate::Drafter {
   public:
    void append(std::span<const Token>) noexcept override {}
    std::span<const Token> draft(std::size_t) noexcept override { return said; }
    void judge(std::size_t) noexcept override {}
    void reset() noexcept override {}
    std::vector<Token> said;
  } says;
  says.said = tokens("12x4");
  constrain(grammar::compile_regex("[0-9]+"));
  options_.drafter = &says;
  begin();
  EXPECT_EQ(generation_->session().drafter->draft(4).size(), 2U);
}

TEST_F(GenerationTest, TellsLogProbabilitiesBeforeAndAfterTheSteps) {
  options_.log_probabilities = LogProbabilityOptions{.top = 2};
  begin();
  write("a");
  ASSERT_EQ(reports_.size(), 1U);
  EXPECT_EQ(reports_[0].token, tokens("a")[0]);
  ASSERT_EQ(reports_[0].top.size(), 2U);
  EXPECT_NEAR(reports_[0].log_probability, reports_[0].top[0].value, 1e-12);
  EXPECT_LT(reports_[0].log_probability, 0);
  options_.log_probabilities->after_steps = true;
  begin();
  write("b");
  ASSERT_EQ(reports_.size(), 2U);
  EXPECT_EQ(reports_[1].log_probability, 0);  // greedy leaves one
  EXPECT_EQ(reports_[1].top.size(), 1U);
}

}  // namespace
}  // namespace loadline::talk

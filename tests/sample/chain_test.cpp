// The steps that chat users set, each against its plain definition, and their order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "sample/banned_phrases.h"
#include "sample/exponential.h"
#include "sample/log_probabilities.h"
#include "sample/sampler.h"
#include "support/allocations.h"

namespace loadline::sample {
namespace {

// Everything off, the logits as they are.
Options plain() {
  Options options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  options.seed = 1;
  return options;
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::map<Token, double> drawn_from(const Options& options, const std::vector<float>& logits) {
  Sampler sampler(options, static_cast<std::uint32_t>(logits.size()));
  sampler.sample(logits);
  std::map<Token, double> result;
  for (const Candidate& candidate : sampler.candidates()) result[candidate.token] = candidate.probability;
  return result;
}

TEST(Chain, TopNSigmaKeepsLogitsWithinDeviationsOfTheLargest) {
  Options options = plain();
  options.top_n_sigma = 1.0F;
  const std::vector<float> logits = {0, 1, 2, 3, 4};  // mean 2, deviation sqrt(2)
  const auto kept = drawn_from(options, logits);
  EXPECT_EQ(kept.size(), 2U);  // 4 and 3; 2 is below 4 - 1.414
  EXPECT_TRUE(kept.contains(4) && kept.contains(3));
}

TEST(Chain, XtcLeavesTheLeastLikelyOfTheTopChoices) {
  Options options = plain();
  options.xtc_probability = 1.0F;
  options.xtc_threshold = 0.1F;
  const auto kept = drawn_from(options, logits_of({0.5, 0.3, 0.15, 0.05}));
  EXPECT_EQ(kept.size(), 2U);
  EXPECT_NEAR(kept.at(2), 0.75, 1e-6);
  EXPECT_NEAR(kept.at(3), 0.25, 1e-6);
  // One choice alone is never left out.
  EXPECT_EQ(drawn_from(options, logits_of({0.9, 0.05, 0.05})).size(), 3U);
  options.xtc_threshold = 0.51F;
  EXPECT_EQ(drawn_from(options, logits_of({0.5, 0.3, 0.15, 0.05})).size(), 4U);
}

TEST(Chain, DynamicTemperatureFollowsTheEntropy) {
  Options options = plain();
  options.dynatemp_range = 0.5F;
  const std::vector<double> p = {0.6, 0.3, 0.1};
  double entropy = 0;
  for (const double one : p) entropy -= one * std::log(one);
  const double temperature = 0.5 + 1.0 * (entropy / std::log(3.0));
  double total = 0;
  for (const double one : p) total += std::pow(one, 1 / temperature);
  const auto drawn = drawn_from(options, logits_of(p));
  for (std::size_t i = 0; i < p.size(); ++i) {
    EXPECT_NEAR(drawn.at(static_cast<Token>(i)), std::pow(p[i], 1 / temperature) / total, 1e-6);
  }
}

TEST(Chain, SmoothingBendsTheLogitsBelowTheLargest) {
  Options options = plain();
  options.smoothing_factor = 0.5F;
  options.smoothing_curve = 2.0F;
  const std::vector<float> logits = {3, 2, 0};
  std::vector<double> weights;
  for (const float logit : logits) {
    const double d = logit - 3.0;
    weights.push_back(std::exp(-0.25 * d * d + 0.25 * d * d * d));  // k = s = 0.5, times the factor
  }
  const double total = weights[0] + weights[1] + weights[2];
  const auto drawn = drawn_from(options, logits);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(drawn.at(static_cast<Token>(i)), weights[i] / total, 1e-6);
}

TEST(Chain, StepsWorkInTheOrderAskedFor) {
  // With a high temperature first, more tokens are needed for the share that top-p asks for.
  Options options = plain();
  options.temperature = 3;
  options.top_p = 0.7F;
  const auto logits = logits_of({0.7, 0.2, 0.06, 0.04});
  options.steps = {Step::TopP, Step::Temperature};
  EXPECT_EQ(drawn_from(options, logits).size(), 1U);
  options.steps = {Step::Temperature, Step::TopP};
  EXPECT_EQ(drawn_from(options, logits).size(), 3U);
  options.steps = {};  // nothing at all: the model's own probabilities
  const auto all = drawn_from(options, logits);
  EXPECT_EQ(all.size(), 4U);
  EXPECT_NEAR(all.at(0), 0.7, 1e-6);
}

TEST(Chain, PenaltiesBehindATruncationChangeOnlyWhatIsLeft) {
  Options options = plain();
  options.presence_penalty = 10;
  options.top_k = 2;
  options.steps = {Step::TopK, Step::Penalties};
  Sampler sampler(options, 3);
  sampler.accept(0);
  sampler.sample(logits_of({0.5, 0.3, 0.2}));
  ASSERT_EQ(sampler.candidates().size(), 2U);
  for (const Candidate& candidate : sampler.candidates()) {
    EXPECT_NE(candidate.token, 2);
    if (candidate.token == 0) {
      EXPECT_LT(candidate.probability, 0.001);
    }
  }
}

TEST(Chain, DryPenalisesWhatContinuesARepetition) {
  Options options = plain();
  options.dry_multiplier = 1.0F;
  options.dry_base = 2.0F;
  options.dry_penalty_last_n = -1;
  Sampler sampler(options, 6);
  for (const Token token : {1, 2, 3, 4, 1, 2, 3}) sampler.accept(token);
  const std::vector<float> logits(6, 0.0F);
  sampler.sample(logits);
  // 4 would continue a repetition of three tokens: 1 * 2^(3 - 2).
  for (const Candidate& candidate : sampler.candidates()) {
    EXPECT_EQ(candidate.logit, candidate.token == 4 ? -2.0F : 0.0F) << candidate.token;
  }
  // The same wherever in the order it is.
  options.steps = {Step::Temperature, Step::Dry};
  Sampler late(options, 6);
  for (const Token token : {1, 2, 3, 4, 1, 2, 3}) late.accept(token);
  for (int i = 0; i < 2; ++i) {
    late.sample(logits);
    for (const Candidate& candidate : late.candidates())
      EXPECT_EQ(candidate.logit, candidate.token == 4 ? -2.0F : 0.0F);
  }
}

TEST(Chain, DryDoesNotReachAcrossASequenceBreaker) {
  Options options = plain();
  options.dry_multiplier = 1.0F;
  options.dry_breakers = {{2}};
  Sampler sampler(options, 6);
  for (const Token token : {1, 2, 3, 4, 1, 2, 3}) sampler.accept(token);
  sampler.sample(std::vector<float>(6, 0.0F));
  for (const Candidate& candidate : sampler.candidates()) EXPECT_EQ(candidate.logit, 0.0F);
  options.dry_breakers = {{1, 2}, {5}};
  Sampler several(options, 6);
  for (const Token token : {1, 2, 3, 4, 1, 2, 3}) several.accept(token);
  several.sample(std::vector<float>(6, 0.0F));
  for (const Candidate& candidate : several.candidates()) EXPECT_EQ(candidate.logit, 0.0F);
}

// Every repetition, looked for in the plainest way.
std::map<Token, std::size_t> repetitions(const std::vector<Token>& text, std::size_t allowed) {
  std::map<Token, std::size_t> result;
  for (std::size_t end = 1; end < text.size(); ++end) {  // text[end] followed
    std::size_t length = 0;
    while (length < end && text[end - 1 - length] == text[text.size() - 1 - length]) ++length;
    if (length >= allowed) result[text[end]] = std::max(result[text[end]], length);
  }
  return result;
}

TEST(Chain, DryFindsEveryRepetition) {
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    Options options = plain();
    options.dry_multiplier = 0.5F;
    options.dry_penalty_last_n = 40;
    Repeats repeats(options, 4);
    std::vector<Token> text;
    const std::uint64_t length = random.next() % 90;
    for (std::uint64_t i = 0; i < length; ++i) {
      text.push_back(static_cast<Token>(random.next() % 3));
      repeats.accept(text.back());
    }
    const std::size_t first = text.size() > 40 ? text.size() - 40 : 0;
    const auto expected = repetitions({text.begin() + static_cast<std::ptrdiff_t>(first), text.end()}, 2);
    std::map<Token, std::size_t> found;
    for (const auto& one : repeats.find()) {
      found[one.token] = 2 + static_cast<std::size_t>(std::lround(std::log(one.penalty / 0.5) / std::log(1.75)));
    }
    EXPECT_EQ(found, expected);
  }
}

TEST(Chain, MirostatKeepsTheSurpriseNearItsTarget) {
  std::vector<float> logits(1000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(-1.2 * std::log(i + 1.0));
  const std::vector<double> p = [&] {
    std::vector<double> list;
    double total = 0;
    for (const float logit : logits) total += std::exp(logit);
    for (const float logit : logits) list.push_back(std::exp(logit) / total);
    return list;
  }();
  for (const int version : {1, 2}) {
    Options options = plain();
    options.mirostat = version;
    options.mirostat_tau = 3;
    Sampler sampler(options, 1000);
    double surprise = 0;
    for (int i = 0; i < 3000; ++i) {
      const Token token = sampler.sample(logits);
      double kept = 0;
      for (const Candidate& candidate : sampler.candidates()) kept += p[static_cast<std::size_t>(candidate.token)];
      if (i >= 1000) surprise -= std::log2(p[static_cast<std::size_t>(token)] / kept);
    }
    EXPECT_NEAR(surprise / 2000, 3.0, 0.25) << version;
  }
}

TEST(Chain, AdaptivePDrawsNearItsTarget) {
  Options options = plain();
  options.adaptive_target = 0.25F;
  const auto logits = logits_of({0.5, 0.25, 0.15, 0.06, 0.04});
  const std::vector<double> p = {0.5, 0.25, 0.15, 0.06, 0.04};
  Sampler sampler(options, 5);
  double sum = 0;
  for (int i = 0; i < 4000; ++i) sum += p[static_cast<std::size_t>(sampler.sample(logits))];
  EXPECT_NEAR(sum / 4000, 0.25, 0.03);
}

TEST(Chain, OnlyWhatAMaskAllowsIsDrawn) {
  for (const bool greedy : {true, false}) {
    Options options = plain();
    options.temperature = greedy ? 0.0F : 1.0F;
    options.logit_bias = {{0, 5.0F}};
    options.presence_penalty = 1;
    Sampler sampler(options, 70);
    sampler.accept(1);
    std::vector<float> logits(70, 0.0F);
    logits[3] = 9;
    const std::vector<std::uint64_t> mask = {1U << 5, 1U << 2};  // 5 and 66
    for (int i = 0; i < 20; ++i) {
      const Token token = sampler.sample(logits, mask);
      EXPECT_TRUE(token == 5 || token == 66) << token;
    }
    const std::vector<std::uint64_t> none = {0, 0};
    EXPECT_THROW(sampler.sample(logits, none), Error);
  }
}

TEST(Chain, NothingIsAllocatedWhileDrawing) {
  Options options = plain();
  options.dry_multiplier = 1;
  options.dry_breakers = {{7}, {8, 9}};
  options.xtc_probability = 0.5F;
  options.top_n_sigma = 2;
  options.dynatemp_range = 0.3F;
  options.smoothing_factor = 0.2F;
  options.adaptive_target = 0.3F;
  options.presence_penalty = 0.5F;
  options.top_k = 40;
  std::vector<float> logits(500);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 37) * 0.1F;
  const loadline::test::AllocationWatch before;
  Sampler sampler(options, 500);
  constexpr std::uint64_t kListsOfTheOptions = 512;  // and their copies on the way in
  EXPECT_GE(Sampler::memory_bytes(options, 500).value + kListsOfTheOptions, before.peak().value);
  const loadline::test::AllocationWatch watch;
  for (int i = 0; i < 300; ++i) sampler.accept(sampler.sample(logits));
  EXPECT_EQ(watch.count(), 0U);
}

TEST(Chain, AResetSamplerDrawsTheSameAgain) {
  Options options = plain();
  options.mirostat = 2;
  options.dry_multiplier = 1;
  std::vector<float> logits(50);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
  Sampler sampler(options, 50);
  std::vector<Token> first;
  for (int i = 0; i < 50; ++i) sampler.accept(first.emplace_back(sampler.sample(logits)));
  sampler.reset();
  for (const Token token : first) {
    ASSERT_EQ(sampler.sample(logits), token);
    sampler.accept(token);
  }
}

TEST(StepNames, AreLlamaCpps) {
  for (const Step step : Options::default_steps()) EXPECT_EQ(step_named(name_of(step)), step);
  EXPECT_EQ(step_named("top-k"), Step::TopK);
  EXPECT_EQ(step_named("nonsense"), std::nullopt);
  std::vector<Step> steps;
  for (const char letter : std::string("edskypmxt")) steps.push_back(*step_of_letter(letter));
  EXPECT_EQ(steps, Options::default_steps());
}

TEST(Logarithm, IsThatOfTheCLibrary) {
  Random random(3);
  for (int i = 0; i < 10000; ++i) {
    const double x = std::exp((random.uniform() - 0.5) * 200);
    EXPECT_NEAR(logarithm(x), std::log(x), 4e-16 * std::max(1.0, std::abs(std::log(x)))) << x;
  }
}

TEST(LogProbabilities, AreThoseOfTheModel) {
  const auto logits = logits_of({0.1, 0.4, 0.2, 0.3});
  std::vector<LogProbability> top(3);
  ASSERT_EQ(top_log_probabilities(logits, top), 3U);
  EXPECT_EQ(top[0].token, 1);
  EXPECT_EQ(top[1].token, 3);
  EXPECT_EQ(top[2].token, 2);
  EXPECT_NEAR(top[0].value, std::log(0.4), 1e-6);
  EXPECT_NEAR(log_probability(logits, 0), std::log(0.1), 1e-6);
}

TEST(BannedPhrases, AreHeldBackAndTakenBack) {
  BannedPhrases phrases({"barely above a whisper", "bar none"});
  EXPECT_EQ(phrases.push(1, "Her voice, ").release, 11U);
  EXPECT_EQ(phrases.push(2, "BAR").release, 0U);
  EXPECT_EQ(phrases.push(3, "ely").release, 0U);
  const auto verdict = phrases.push(4, " above a whisper");
  EXPECT_EQ(verdict.rewind, 3U);
  EXPECT_EQ(verdict.release, 0U);
  EXPECT_EQ(std::vector(phrases.banned().begin(), phrases.banned().end()), std::vector<Token>{2});
  EXPECT_EQ(phrases.held_back(), "");
  // Another token at that place, which again begins a phrase: both are banned then.
  EXPECT_EQ(phrases.push(5, "bar ").release, 0U);
  EXPECT_TRUE(phrases.banned().empty());
  EXPECT_EQ(phrases.push(6, "none").rewind, 2U);
  EXPECT_EQ(phrases.banned().size(), 2U);
  EXPECT_EQ(phrases.push(7, "clear").release, 5U);
  EXPECT_TRUE(phrases.banned().empty());
}

}  // namespace
}  // namespace loadline::sample

#include "sample/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "support/allocations.h"
#include "support/refusal.h"

namespace loadline::sample {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

// Everything off: the plain softmax.
Options plain() {
  Options options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  options.seed = 1;
  return options;
}

std::uint32_t size_of(const std::vector<float>& logits) { return static_cast<std::uint32_t>(logits.size()); }

// Logits with these probabilities.
std::vector<float> logits_for(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<Token> tokens(const Sampler& sampler) {
  std::vector<Token> result;
  for (const Candidate& candidate : sampler.candidates()) result.push_back(candidate.token);
  return result;
}

// The tokens that can be drawn under `options`.
std::vector<Token> survivors(const Options& options, const std::vector<float>& logits) {
  Sampler sampler(options, size_of(logits));
  sampler.sample(logits);
  return tokens(sampler);
}

// A token's logit after bias and penalties, where `history` came before.
float adjusted(const Options& options, float logit, const std::vector<Token>& history, Token token = 0) {
  std::vector<float> logits(10, 0.0F);
  logits[static_cast<std::size_t>(token)] = logit;
  Sampler sampler(options, size_of(logits));
  for (const Token past : history) sampler.accept(past);
  sampler.sample(logits);
  for (const Candidate& candidate : sampler.candidates()) {
    if (candidate.token == token) return candidate.logit;
  }
  return NAN;
}

// ---- greedy

TEST(Greedy, TakesTheLikeliestAndTheFirstOfEquals) {
  Options options = plain();
  options.temperature = 0;
  EXPECT_THAT(survivors(options, {1, 5, 3}), ElementsAre(1));
  EXPECT_THAT(survivors(options, {1, 3, -2, 3}), ElementsAre(1));
  EXPECT_THAT(survivors(options, {-0.0F, 0.0F}), ElementsAre(0));
}

TEST(Greedy, ObeysBiasAndPenaltiesAndIgnoresTheRest) {
  Options options;  // with top-k, top-p and min-p
  options.temperature = 0;
  options.logit_bias = {{0, -2.5F}};
  options.repeat_penalty = 2;
  Sampler sampler(options, 3);
  const std::vector<float> logits = {4, 3, 2};
  EXPECT_EQ(sampler.sample(logits), 1);
  EXPECT_THAT(sampler.candidates(), ElementsAre(testing::Field(&Candidate::probability, 1.0)));
  sampler.accept(1);
  EXPECT_EQ(sampler.sample(logits), 2);
}

TEST(Greedy, ABiasCanRaiseAnyTokenToTheTop) {
  Options options = plain();
  options.temperature = 0;
  options.logit_bias = {{900, 50}};
  std::vector<float> logits(1000);
  std::iota(logits.begin(), logits.end(), -1000.0F);
  logits[900] = -1000;
  EXPECT_THAT(survivors(options, logits), ElementsAre(999));
  options.logit_bias = {{900, 1000}};
  EXPECT_THAT(survivors(options, logits), ElementsAre(900));
}

// ---- each step

TEST(TopK, KeepsTheKLikeliestInOrder) {
  Options options = plain();
  options.top_k = 3;
  EXPECT_THAT(survivors(options, {1, 5, 3, 4, 2}), ElementsAre(1, 3, 2));
  EXPECT_THAT(survivors(options, {2, 2, 2, 2, 2}), ElementsAre(0, 1, 2));
}

TEST(TopP, KeepsTheFewestThatReachP) {
  Options options = plain();
  const std::vector<float> logits = logits_for({0.1, 0.5, 0.15, 0.25});
  options.top_p = 0.74F;
  EXPECT_THAT(survivors(options, logits), ElementsAre(1, 3));
  options.top_p = 0.76F;
  EXPECT_THAT(survivors(options, logits), ElementsAre(1, 3, 2));
  options.top_p = 0;
  EXPECT_THAT(survivors(options, logits), ElementsAre(1));
}

TEST(MinP, KeepsThoseLikelyEnoughComparedWithTheLikeliest) {
  Options options = plain();
  const std::vector<float> logits = logits_for({0.1, 0.5, 0.15, 0.25});
  options.min_p = 0.29F;  // of 0.5: 0.145
  EXPECT_THAT(survivors(options, logits), UnorderedElementsAre(1, 2, 3));
  options.min_p = 0.31F;
  EXPECT_THAT(survivors(options, logits), UnorderedElementsAre(1, 3));
  options.min_p = 1;
  EXPECT_THAT(survivors(options, logits), UnorderedElementsAre(1));
}

TEST(Typical, KeepsThoseWhoseSurpriseIsNearestToTheExpected) {
  // Surprises: 0.51, 1.61, 2.30, 2.30; expected (the entropy): 1.09. Nearest to it: 0.2 (0.52 away), then 0.6 (0.58).
  Options options = plain();
  const std::vector<float> logits = logits_for({0.6, 0.2, 0.1, 0.1});
  options.typical_p = 0.15F;
  EXPECT_THAT(survivors(options, logits), ElementsAre(1));
  options.typical_p = 0.5F;
  EXPECT_THAT(survivors(options, logits), UnorderedElementsAre(0, 1));
  options.typical_p = 0.85F;
  EXPECT_THAT(survivors(options, logits), UnorderedElementsAre(0, 1, 2));
}

TEST(Typical, GoesOnWhenExactlyAtPWhereTopPStops) {
  Options options = plain();
  options.typical_p = 0.5F;
  EXPECT_THAT(survivors(options, {2, 2}), UnorderedElementsAre(0, 1));
  options.typical_p = 1;
  options.top_p = 0.5F;
  EXPECT_THAT(survivors(options, {2, 2}), ElementsAre(0));
}

TEST(Temperature, DividesTheLogits) {
  Options options = plain();
  options.temperature = 0.5F;
  Sampler sampler(options, 2);
  sampler.sample(std::vector<float>{1.5F, 0.5F});
  const double odds = std::exp(2.0);
  EXPECT_NEAR(sampler.candidates()[0].probability, odds / (1 + odds), 1e-14);
  EXPECT_NEAR(sampler.candidates()[1].probability, 1 / (1 + odds), 1e-14);
}

TEST(Temperature, TinyAndHugeValuesAreTheLimits) {
  Options options = plain();
  options.temperature = 1e-30F;
  Sampler cold(options, 3);
  EXPECT_EQ(cold.sample(std::vector<float>{1, 1.001F, 0.999F}), 1);
  EXPECT_EQ(cold.candidates()[1].probability, 1.0);
  options.temperature = 1e30F;
  Sampler hot(options, 2);
  hot.sample(std::vector<float>{5, -5});
  EXPECT_NEAR(hot.candidates()[0].probability, 0.5, 1e-14);
}

TEST(LogitBias, IsAddedAndSeveralOfOneTokenAddUp) {
  Options options = plain();
  options.logit_bias = {{3, 1.5F}, {0, 2}, {3, 0.25F}};
  EXPECT_EQ(adjusted(options, 1, {}, 3), 2.75F);
  EXPECT_EQ(adjusted(options, 1, {}, 0), 3.0F);
  EXPECT_EQ(adjusted(options, 1, {}, 1), 1.0F);
}

TEST(LogitBias, MinusInfinityForbidsAToken) {
  Options options = plain();
  options.logit_bias = {{1, -INFINITY}};
  EXPECT_THAT(survivors(options, {1, 50, INFINITY}), UnorderedElementsAre(0, 2));
}

TEST(Penalties, RepeatDividesPositiveLogitsAndMultipliesOthers) {
  Options options = plain();
  options.repeat_penalty = 1.25F;
  EXPECT_EQ(adjusted(options, 2.5F, {0}), 2.0F);
  EXPECT_EQ(adjusted(options, -2, {0}), -2.5F);
  EXPECT_EQ(adjusted(options, 0, {0}), 0.0F);
  EXPECT_EQ(adjusted(options, 2.5F, {0, 0, 0}), 2.0F);  // once, however often it occurred
  EXPECT_EQ(adjusted(options, 2.5F, {1}), 2.5F);
}

TEST(Penalties, PresenceCountsOnceAndFrequencyEveryOccurrence) {
  Options options = plain();
  options.presence_penalty = 0.5F;
  EXPECT_EQ(adjusted(options, 3, {0, 1, 0}), 2.5F);
  options.frequency_penalty = 0.25F;
  EXPECT_EQ(adjusted(options, 3, {0, 1, 0}), 2.0F);
  options.repeat_penalty = 2;
  EXPECT_EQ(adjusted(options, 3, {0, 1, 0}), 0.5F);  // 3 / 2 - 2 * 0.25 - 0.5
}

TEST(Penalties, ComeAfterTheBias) {
  Options options = plain();
  options.repeat_penalty = 2;
  options.logit_bias = {{0, 3}};
  EXPECT_EQ(adjusted(options, 1, {0}), 2.0F);
}

TEST(Penalties, LookAtTheLastNTokensOnly) {
  Options options = plain();
  options.frequency_penalty = 1;
  options.repeat_last_n = 3;
  EXPECT_EQ(adjusted(options, 9, {0, 0, 0, 0, 0}), 6.0F);
  EXPECT_EQ(adjusted(options, 9, {0, 0, 0, 1, 2}), 8.0F);
  EXPECT_EQ(adjusted(options, 9, {0, 0, 0, 1, 2, 3}), 9.0F);
  options.repeat_last_n = 0;
  EXPECT_EQ(adjusted(options, 9, {0, 0, 0}), 9.0F);
  options.repeat_last_n = -1;
  EXPECT_EQ(adjusted(options, 999, std::vector<Token>(500, 0)), 499.0F);
}

// ---- the order of the steps

TEST(Order, PenaltiesComeBeforeTopK) {
  Options options = plain();
  options.top_k = 1;
  options.presence_penalty = 3;
  Sampler sampler(options, 3);
  sampler.accept(0);
  sampler.sample(std::vector<float>{5, 4, 3});
  EXPECT_THAT(tokens(sampler), ElementsAre(1));
}

TEST(Order, TopKComesBeforeTopP) {
  Options options = plain();
  options.top_k = 2;
  options.top_p = 0.6F;  // reached by 0.5 / 0.8 alone, but not by 0.5
  EXPECT_THAT(survivors(options, logits_for({0.5, 0.3, 0.1, 0.1})), ElementsAre(0));
}

TEST(Order, TypicalComesBeforeTopP) {
  Options options = plain();
  options.typical_p = 0.15F;  // leaves token 1 alone, see above
  options.top_p = 0.5F;       // would leave token 0 alone
  EXPECT_THAT(survivors(options, logits_for({0.6, 0.2, 0.1, 0.1})), ElementsAre(1));
}

TEST(Order, TopPComesBeforeMinP) {
  Options options = plain();
  options.top_p = 0.6F;  // needs tokens 0 and 1; after min-p, token 0 alone would do
  options.min_p = 0.3F;
  EXPECT_THAT(survivors(options, logits_for({0.5, 0.2, 0.1, 0.1, 0.1})), ElementsAre(0, 1));
}

TEST(Order, TheTemperatureComesLast) {
  Options options = plain();
  options.temperature = 100;  // would make all of them about equally likely
  options.min_p = 0.5F;
  EXPECT_THAT(survivors(options, logits_for({0.6, 0.35, 0.05})), UnorderedElementsAre(0, 1));
}

// ---- what is no number

TEST(BadLogits, NanAndMinusInfinityAreNeverCandidates) {
  for (const std::int32_t top_k : {0, -1, 3}) {
    Options options = plain();
    options.top_k = top_k;
    EXPECT_THAT(survivors(options, {NAN, 1, -INFINITY, -NAN, 2}), UnorderedElementsAre(1, 4)) << top_k;
  }
}

TEST(BadLogits, PlusInfinityCountsAsTheLargestFloat) {
  for (const std::int32_t top_k : {0, 2}) {
    Options options = plain();
    options.top_k = top_k;
    options.min_p = 0.1F;
    EXPECT_THAT(survivors(options, {1, INFINITY, 2, INFINITY}), UnorderedElementsAre(1, 3)) << top_k;
  }
}

TEST(BadLogits, PenaltiesOnExtremeLogitsStayInRange) {
  Options options = plain();
  options.repeat_penalty = 0.5F;
  EXPECT_EQ(adjusted(options, INFINITY, {0}), std::numeric_limits<float>::max());
  options.repeat_penalty = 2;
  options.min_p = 0.1F;  // -infinity after the penalty: not a candidate, rather than NaN
  EXPECT_TRUE(std::isnan(adjusted(options, -std::numeric_limits<float>::max(), {0})));
}

TEST(BadLogits, WithoutAnyNumberTheModelIsNamedAsTheLikelyCause) {
  for (const float temperature : {0.0F, 1.0F}) {
    Options options;
    options.temperature = temperature;
    Sampler sampler(options, 3);
    const auto refusal = test::refusal([&] { return sampler.sample(std::vector<float>{NAN, -INFINITY, NAN}); });
    EXPECT_THAT(refusal.sentence, testing::HasSubstr("no token can be chosen"));
    EXPECT_THAT(refusal.hint, testing::HasSubstr("damaged"));
  }
}

TEST(BadLogits, ForbiddingEveryTokenIsRefusedToo) {
  Options options = plain();
  options.logit_bias = {{0, -INFINITY}, {1, -INFINITY}};
  Sampler sampler(options, 2);
  test::expect_refused([&] { return sampler.sample(std::vector<float>{1, 2}); }, "no token can be chosen");
}

// ---- drawing

// Pearson's statistic of `draws` draws against the candidates' own probabilities.
double chi_square(Sampler& sampler, const std::vector<float>& logits, int draws) {
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler.sample(logits))];
  double statistic = 0;
  int drawn_candidates = 0;
  for (const Candidate& candidate : sampler.candidates()) {
    const double expected = candidate.probability * draws;
    const int count = counts[static_cast<std::size_t>(candidate.token)];
    statistic += (count - expected) * (count - expected) / expected;
    drawn_candidates += count;
  }
  EXPECT_EQ(drawn_candidates, draws) << "something else than the candidates was drawn";
  return statistic;
}

TEST(Draw, FrequenciesFollowTheProbabilities) {
  const std::vector<float> logits = logits_for({0.4, 0.02, 0.3, 0.08, 0.2});
  Options options = plain();
  Sampler all(options, 5);
  // 4 degrees of freedom: exceeded by chance once in a million seeds above 33.4.
  EXPECT_LT(chi_square(all, logits, 200'000), 33.4);

  options.temperature = 1.7F;
  options.top_k = 4;
  options.min_p = 0.1F;
  Sampler cut(options, 5);
  // 3 degrees of freedom.
  EXPECT_LT(chi_square(cut, logits, 200'000), 30.7);
  EXPECT_THAT(tokens(cut), ElementsAre(0, 2, 4, 3));
}

TEST(Draw, AnUnlikelyTokenIsDrawnAsOftenAsItShould) {
  // 1 of 1000: with 200 000 draws 200 are expected; five standard deviations.
  const std::vector<float> logits = logits_for({0.999, 0.001});
  Sampler sampler(plain(), 2);
  int rare = 0;
  for (int i = 0; i < 200'000; ++i) rare += sampler.sample(logits);
  EXPECT_NEAR(rare, 200, 5 * std::sqrt(200.0));
}

// ---- determinism

// Exact in float32, different at every step.
std::vector<float> made_up_logits(std::uint32_t step) {
  std::vector<float> logits(1000);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::uint32_t mixed = (i + 1) * 2654435761U + step * 40503U * 65537U;
    logits[i] = static_cast<float>(mixed >> 12) / 131072.0F - 4.0F;
  }
  return logits;
}

std::vector<Token> made_up_text(std::uint64_t seed) {
  Options options;
  options.repeat_penalty = 1.1F;
  options.repeat_last_n = 8;
  options.seed = seed;
  Sampler sampler(options, 1000);
  std::vector<Token> text;
  for (std::uint32_t step = 0; step < 24; ++step) {
    text.push_back(sampler.sample(made_up_logits(step)));
    sampler.accept(text.back());
  }
  return text;
}

TEST(Determinism, ASeedGivesTheTextThatItsDefinitionGives) {
  // Computed by a separate program (Python) from the definitions of the generator and of the steps.
  EXPECT_THAT(made_up_text(42), ElementsAre(75, 807, 128, 538, 681, 625, 514, 13, 279, 587, 243, 441, 762, 740, 938,
                                            238, 271, 359, 612, 90, 877, 808, 752, 840));
  EXPECT_THAT(made_up_text(43), ElementsAre(897, 629, 217, 360, 105, 193, 980, 280, 355, 45, 154, 708, 275, 363, 938,
                                            738, 504, 181, 955, 899, 788, 177, 519, 230));
}

TEST(Determinism, ResetStartsOver) {
  Options options;
  options.repeat_penalty = 1.5F;
  options.repeat_last_n = 4;
  options.seed = 7;
  Sampler sampler(options, 1000);
  const auto text = [&] {
    std::vector<Token> result;
    for (std::uint32_t step = 0; step < 20; ++step) {
      result.push_back(sampler.sample(made_up_logits(step % 2)));
      sampler.accept(result.back());
    }
    return result;
  };
  const std::vector<Token> first = text();
  EXPECT_NE(text(), first);
  sampler.reset();
  EXPECT_EQ(text(), first);
}

TEST(Determinism, WithoutASeedEachSamplerHasItsOwnAndTellsIt) {
  Options options;
  const Sampler first(options, 10);
  const Sampler second(options, 10);
  EXPECT_NE(first.seed(), second.seed());
  options.seed = 5;
  EXPECT_EQ(Sampler(options, 10).seed(), 5U);
}

// ---- memory

std::vector<Options> many_kinds_of_options() {
  std::vector<Options> all;
  for (const std::int32_t top_k : {0, 1, 40, 5'000, 100'000}) {
    for (const std::int32_t last_n : {-1, 0, 64}) {
      for (const std::size_t biases : {0U, 3U}) {
        Options options = plain();
        options.top_k = top_k;
        options.typical_p = 0.9F;
        options.top_p = 0.9F;
        options.min_p = 0.01F;
        options.temperature = 0.7F;
        options.frequency_penalty = 0.1F;
        options.repeat_last_n = last_n;
        for (std::size_t i = 0; i < biases; ++i) options.logit_bias.push_back({static_cast<Token>(i * 7), 1});
        all.push_back(options);
      }
    }
  }
  all.push_back(plain());
  all.push_back(Options());
  all.back().temperature = 0;
  return all;
}

TEST(Memory, NothingIsAllocatedAfterConstruction) {
  constexpr std::uint32_t kVocabulary = 10'000;
  Random random(3);
  std::vector<float> logits(kVocabulary);
  for (const Options& options : many_kinds_of_options()) {
    Sampler sampler(options, kVocabulary);
    const test::AllocationWatch watch;
    for (int step = 0; step < 30; ++step) {
      for (float& logit : logits) logit = static_cast<float>(random.uniform() * 10) + static_cast<float>(step);
      sampler.accept(sampler.sample(logits));
    }
    sampler.reset();
    EXPECT_EQ(watch.count(), 0U) << "top-k " << options.top_k << ", last n " << options.repeat_last_n;
  }
}

TEST(Memory, IsExactlyWhatIsAnnounced) {
  for (const Options& options : many_kinds_of_options()) {
    const test::AllocationWatch watch;
    const Sampler sampler(options, 10'000);
    const std::uint64_t held = watch.peak().value;
    const std::uint64_t announced = Sampler::memory_bytes(options, 10'000).value;
    SCOPED_TRACE(testing::Message() << "top-k " << options.top_k << ", last n " << options.repeat_last_n);
    EXPECT_GE(held, announced);
    EXPECT_LE(held, announced + 16 * watch.count());  // the heap rounds each request up
  }
}

TEST(Memory, OfTheDefaultsDoesNotGrowWithTheVocabulary) {
  EXPECT_EQ(Sampler::memory_bytes(Options(), 32'000), Sampler::memory_bytes(Options(), 256'000));
}

}  // namespace
}  // namespace loadline::sample

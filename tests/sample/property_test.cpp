// Sampler against the plain definition of every option, on random logits, options and histories.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <sstream>

#include "base/error.h"
#include "reference.h"
#include "sample/sampler.h"

namespace loadline::sample {
namespace {

using test::Distribution;
using test::reference_distribution;

// Real values, some of them equal, and now and then what is no number.
rc::Gen<float> any_logit() {
  return rc::gen::weightedOneOf<float>(
      {{20, rc::gen::map(rc::gen::inRange(-8'000'000, 8'000'000), [](int n) { return static_cast<float>(n) * 1e-6F; })},
       {4, rc::gen::map(rc::gen::inRange(-3, 4), [](int n) { return static_cast<float>(n); })},
       {1, rc::gen::element(NAN, INFINITY, -INFINITY, -0.0F, 1e30F, -1e30F)}});
}

rc::Gen<float> share() {
  return rc::gen::map(rc::gen::inRange(0, 1'000'000), [](int n) { return (static_cast<float>(n) + 0.3F) * 1e-6F; });
}

template <class Value>
rc::Gen<Value> off_or(Value off, rc::Gen<Value> on) {
  return rc::gen::oneOf(rc::gen::just(off), std::move(on));
}

rc::Gen<float> between(int low, int high) {
  return rc::gen::map(rc::gen::inRange(low * 1000, high * 1000), [](int n) { return static_cast<float>(n) * 1e-3F; });
}

Options any_options(std::uint32_t vocabulary) {
  const auto tokens = static_cast<int>(vocabulary);
  Options options;
  options.temperature = *rc::gen::oneOf(rc::gen::just(1.0F), between(0, 3));
  options.top_k = *off_or(0, rc::gen::inRange(1, 2 * tokens));
  options.top_p = *off_or(1.0F, share());
  options.min_p = *off_or(0.0F, share());
  options.typical_p = *off_or(1.0F, share());
  options.repeat_penalty = *off_or(1.0F, rc::gen::map(between(0, 2), [](float x) { return x + 0.1F; }));
  options.presence_penalty = *off_or(0.0F, between(-2, 2));
  options.frequency_penalty = *off_or(0.0F, between(-2, 2));
  options.repeat_last_n = *rc::gen::inRange(-1, 12);
  const auto biases = *rc::gen::container<std::vector<std::pair<int, float>>>(
      rc::gen::pair(rc::gen::inRange(0, tokens), rc::gen::oneOf(between(-9, 9), rc::gen::just(-INFINITY))));
  for (const auto& [token, bias] : biases) {
    if (options.logit_bias.size() < 5) options.logit_bias.push_back({token, bias});
  }
  options.seed = 1;
  return options;
}

std::string describe(const Sampler& sampler, const Distribution& expected) {
  std::ostringstream text;
  text << "sampler:";
  for (const Candidate& c : sampler.candidates()) text << ' ' << c.token << ':' << c.probability;
  text << "\nreference:";
  for (const auto& [token, p] : expected.probabilities) text << ' ' << token << ':' << p;
  return text.str();
}

void check(Sampler& sampler, const Options& options, std::span<const float> logits, std::span<const Token> history) {
  const Distribution expected = reference_distribution(options, logits, history);
  if (expected.probabilities.empty()) {
    RC_ASSERT_THROWS_AS(sampler.sample(logits), Error);
    return;
  }
  const Token drawn = sampler.sample(logits);
  if (expected.ambiguous) return;
  RC_LOG() << describe(sampler, expected) << '\n';
  RC_ASSERT(sampler.candidates().size() == expected.probabilities.size());
  double sum = 0;
  for (const Candidate& candidate : sampler.candidates()) {
    const auto found = expected.probabilities.find(candidate.token);
    RC_ASSERT(found != expected.probabilities.end());
    RC_ASSERT(std::abs(candidate.probability - found->second) <= 1e-12);
    sum += candidate.probability;
  }
  RC_ASSERT(std::abs(sum - 1.0) < 1e-9);
  RC_ASSERT(expected.probabilities.contains(drawn));
}

RC_GTEST_PROP(SamplerProperty, DrawsFromTheDistributionThatTheOptionsDefine, ()) {
  const auto vocabulary = *rc::gen::inRange<std::uint32_t>(1, 40);
  const Options options = any_options(vocabulary);
  Sampler sampler(options, vocabulary);
  std::vector<Token> history;
  for (int step = 0; step < 12; ++step) {
    const auto logits = *rc::gen::container<std::vector<float>>(static_cast<std::size_t>(vocabulary), any_logit());
    check(sampler, options, logits, history);
    // Few different tokens, so that some repeat and some leave the window.
    const Token next = *rc::gen::inRange<Token>(0, static_cast<Token>(std::min(vocabulary, 6U)));
    history.push_back(next);
    sampler.accept(next);
  }
}

// Vocabularies far larger than what is kept, where selection happens on the way.
RC_GTEST_PROP(SamplerProperty, SelectsTheSameFromALargeVocabulary, ()) {
  constexpr std::uint32_t kVocabulary = 5'000;
  Options options = any_options(kVocabulary);
  options.top_k = *rc::gen::element(0, 1, 7, 40, 700, 4'999);
  Sampler sampler(options, kVocabulary);
  Random random(*rc::gen::arbitrary<std::uint64_t>());
  const double slope = *rc::gen::element(0.0, 4e-3, -4e-3);  // rising and falling logits, the worst cases of selection
  const double step = *rc::gen::element(0.0, 0.5);           // in steps: many are equal
  std::vector<float> logits(kVocabulary);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    double value = 8 * random.uniform() + slope * static_cast<double>(i);
    if (step > 0) value = std::floor(value / step) * step;
    logits[i] = static_cast<float>(value);
  }
  check(sampler, options, logits, {});
  for (const Token token : {17, 4'999, 17}) sampler.accept(token);
  check(sampler, options, logits, std::vector<Token>{17, 4'999, 17});
}

}  // namespace
}  // namespace loadline::sample

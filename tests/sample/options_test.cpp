#include "sample/options.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/refusal.h"

namespace loadline::sample {
namespace {

constexpr std::uint32_t kVocabulary = 100;

template <class Change>
void expect_accepted(Change change) {
  Options options;
  change(options);
  EXPECT_NO_THROW(validate(options, kVocabulary));
}

template <class Change, class... Parts>
void expect_refused(Change change, const Parts&... parts) {
  Options options;
  change(options);
  test::expect_refused([&] { validate(options, kVocabulary); }, parts...);
}

TEST(SampleOptions, DefaultsAreThoseOfLlamaCpp) {
  const Options options;
  EXPECT_EQ(options.temperature, 0.8F);
  EXPECT_EQ(options.top_k, 40);
  EXPECT_EQ(options.top_p, 0.95F);
  EXPECT_EQ(options.min_p, 0.05F);
  EXPECT_EQ(options.typical_p, 1.0F);
  EXPECT_EQ(options.repeat_last_n, 64);
  EXPECT_FALSE(options.has_penalties());
  EXPECT_NO_THROW(validate(options, kVocabulary));
}

TEST(SampleOptions, AcceptsTheEndsOfEveryRange) {
  expect_accepted([](Options& o) { o.temperature = 0; });
  expect_accepted([](Options& o) { o.temperature = 100; });
  expect_accepted([](Options& o) { o.top_k = 0; });
  expect_accepted([](Options& o) { o.top_k = -1; });
  expect_accepted([](Options& o) { o.top_k = 2'000'000'000; });
  expect_accepted([](Options& o) { o.top_p = 0; });
  expect_accepted([](Options& o) { o.top_p = 1; });
  expect_accepted([](Options& o) { o.min_p = 0; });
  expect_accepted([](Options& o) { o.min_p = 1; });
  expect_accepted([](Options& o) { o.typical_p = 0; });
  expect_accepted([](Options& o) { o.repeat_last_n = -1; });
  expect_accepted([](Options& o) { o.repeat_last_n = 0; });
  expect_accepted([](Options& o) { o.presence_penalty = -2; });
  expect_accepted([](Options& o) { o.logit_bias = {{0, -INFINITY}, {99, 1e30F}}; });
}

TEST(SampleOptions, RefusesValuesOutsideNamingWhatItIsAndTheValue) {
  expect_refused([](Options& o) { o.temperature = -0.5F; }, "the temperature", "-0.5");
  expect_refused([](Options& o) { o.top_k = -2; }, "top-k", "-2", "0 or -1 for all");
  expect_refused([](Options& o) { o.top_p = 1.5F; }, "top-p", "1.5", "between 0 and 1");
  expect_refused([](Options& o) { o.top_p = -0.25F; }, "top-p");
  expect_refused([](Options& o) { o.min_p = 2; }, "min-p", "between 0 and 1");
  expect_refused([](Options& o) { o.typical_p = -1; }, "typical-p");
  expect_refused([](Options& o) { o.repeat_penalty = 0; }, "the repeat penalty");
  expect_refused([](Options& o) { o.repeat_last_n = -2; }, "window");
  expect_refused([](Options& o) { o.repeat_last_n = 2'000'000'000; }, "window");
  expect_refused([](Options& o) { o.logit_bias = {{1, INFINITY}}; }, "bias", "token 1");
}

TEST(SampleOptions, RefusesWhatIsNotANumber) {
  for (const float value : {NAN, INFINITY}) {
    expect_refused([&](Options& o) { o.temperature = value; }, "the temperature");
    expect_refused([&](Options& o) { o.top_p = value; }, "top-p");
    expect_refused([&](Options& o) { o.min_p = value; }, "min-p");
    expect_refused([&](Options& o) { o.typical_p = value; }, "typical-p");
    expect_refused([&](Options& o) { o.repeat_penalty = value; }, "the repeat penalty");
    expect_refused([&](Options& o) { o.presence_penalty = value; }, "the presence penalty");
    expect_refused([&](Options& o) { o.frequency_penalty = value; }, "the frequency penalty");
    expect_refused([&](Options& o) { o.logit_bias = {{1, value}}; }, "bias");
  }
}

TEST(SampleOptions, RefusesABiasForATokenThatTheModelDoesNotHave) {
  expect_refused([](Options& o) { o.logit_bias = {{100, 1}}; }, "token 100", "0 to 99");
  expect_refused([](Options& o) { o.logit_bias = {{-1, 1}}; }, "token -1");
}

}  // namespace
}  // namespace loadline::sample

// The sampling flags: that each reaches the option it names, and what is said to a wrong one.
#include "cli/sample_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <iterator>
#include <sstream>

#include "cli/help.h"
#include "cli/parse.h"
#include "support/refusal.h"

namespace loadline::cli {
namespace {

// The arguments are words with blanks between them.
sample::Options parsed(const std::string& arguments) {
  std::istringstream words(arguments);
  const std::vector<std::string> list{std::istream_iterator<std::string>(words), {}};
  Command command("test", "");
  SampleOptions options;
  options.add_to(command);
  parse(command, list);
  return options.options();
}

TEST(SampleFlags, WithoutAnyTheDefaultsOfLlamaCppHold) {
  const sample::Options options = parsed("");
  EXPECT_EQ(options.temperature, 0.8F);
  EXPECT_EQ(options.top_k, 40);
  EXPECT_EQ(options.repeat_last_n, 64);
  EXPECT_FALSE(options.has_penalties());
  EXPECT_FALSE(options.seed.has_value());
}

TEST(SampleFlags, EachReachesItsOption) {
  const sample::Options options = parsed(
      "--temp 0.5 --top-k 7 --top-p 0.25 --min-p 0.125 --typical 0.75 --repeat-penalty 1.5 --repeat-last-n -1 "
      "--presence-penalty 0.5 --frequency-penalty -0.25 --seed 42");
  EXPECT_EQ(options.temperature, 0.5F);
  EXPECT_EQ(options.top_k, 7);
  EXPECT_EQ(options.top_p, 0.25F);
  EXPECT_EQ(options.min_p, 0.125F);
  EXPECT_EQ(options.typical_p, 0.75F);
  EXPECT_EQ(options.repeat_penalty, 1.5F);
  EXPECT_EQ(options.repeat_last_n, -1);
  EXPECT_EQ(options.presence_penalty, 0.5F);
  EXPECT_EQ(options.frequency_penalty, -0.25F);
  EXPECT_EQ(options.seed, 42U);
}

// As other programs write it, too; the help says so.
TEST(SampleFlags, ATopKOfMinusOneIsOff) {
  EXPECT_EQ(parsed("--top-k -1").top_k, -1);
  EXPECT_THROW(parsed("--top-k -2"), Error);
  Command command("test", "");
  SampleOptions options;
  options.add_to(command);
  EXPECT_NE(help_text(command).find("(0 or -1: all)"), std::string::npos);
}

TEST(SampleFlags, ASeedOfMinusOneLeavesItOpen) {
  EXPECT_FALSE(parsed("-s -1").seed.has_value());
  EXPECT_EQ(parsed("-s 0").seed, 0U);
  EXPECT_EQ(parsed("-s 4294967295").seed, 4294967295U);
}

TEST(SampleFlags, ALogitBiasIsATokenASignAndANumber) {
  const sample::Options options = parsed("-l 15043+1.5 --logit-bias 2-inf -l 7-1e2");
  ASSERT_EQ(options.logit_bias.size(), 3U);
  EXPECT_EQ(options.logit_bias[0].token, 15043);
  EXPECT_EQ(options.logit_bias[0].bias, 1.5F);
  EXPECT_EQ(options.logit_bias[1].token, 2);
  EXPECT_EQ(options.logit_bias[1].bias, -INFINITY);
  EXPECT_EQ(options.logit_bias[2].bias, -100.0F);
}

TEST(SampleFlags, AWrongLogitBiasIsQuoted) {
  for (const char* text : {"15043", "+1", "5+", "5+-3", "5--3", "5+3x", "x+3", "99999999999+1"}) {
    test::expect_refused([&] { parsed("-l " + std::string(text)); }, "--logit-bias", text);
  }
}

TEST(SampleFlags, AValueOutOfRangeIsNamedBeforeAModelIsLoaded) {
  test::expect_refused([] { parsed("--temp -1"); }, "temperature", "-1");
  test::expect_refused([] { parsed("--top-p 1.5"); }, "top-p", "1.5");
  test::expect_refused([] { parsed("--min-p nan"); }, "min-p", "nan");
  test::expect_refused([] { parsed("-l 5+inf"); }, "the bias of token 5", "inf");
}

TEST(SampleFlags, WhatIsNotANumberIsRefusedByTheParser) {
  test::expect_refused([] { parsed("--temp warm"); }, "--temp", "warm");
  test::expect_refused([] { parsed("--top-k 1.5"); }, "--top-k", "1.5");
  test::expect_refused([] { parsed("--seed -2"); }, "--seed", "-2");
}

}  // namespace
}  // namespace loadline::cli

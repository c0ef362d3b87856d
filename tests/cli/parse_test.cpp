// How arguments are read: that values stay as they are, which of several wins, and what is said to flags nobody knows.
#include "cli/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "support/refusal.h"

namespace loadline::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// One option of each kind.
struct Values {
  std::string text, model, context;
  std::int64_t count = -1;
  std::uint32_t small = 7;
  float temperature = 0.8F;
  std::vector<std::string> biases, devices;
  std::vector<std::uint32_t> sequences = {1};
  bool quiet = false, escape = true;
  std::string position;
};

class Parse : public testing::Test {
 protected:
  Parse() : command_("test", "A command for tests") {
    command_.option("IN,-m,--model", &values_.model, "", {});
    command_.option("OUT", &values_.position, "", {});
    text_ = &command_.option("-p,--text", &values_.text, "", {.may_be_empty = true});
    command_.option("-c,--ctx-size", &values_.context, "");
    command_.option("-n,--predict", &values_.count, "", {.least = -1, .most = 100});
    command_.option("-np,--parallel", &values_.small, "");
    command_.option("--temp", &values_.temperature, "");
    command_.option("-l,--logit-bias", &values_.biases, "");
    command_.option("-dev,--device", &values_.devices, "", {.separator = ','});
    command_.option("-npl", &values_.sequences, "", {.least = 1, .separator = ','});
    command_.flag("-q,--quiet", values_.quiet, "");
    command_.flag("-e,--escape", values_.escape, "");
    command_.flag("--no-escape", values_.escape, "", {}, false);
    command_.option("-f,--file", &file_, "").excludes(*text_);
  }

  const Values& parsed(const std::vector<std::string>& arguments) {
    result_ = parse(command_, arguments);
    return values_;
  }
  void expect_refused(const std::vector<std::string>& arguments, const std::string& part,
                      const std::string& hint = "") {
    const test::Refusal refusal = test::refusal([&] { return parse(command_, arguments); });
    EXPECT_THAT(refusal.sentence, HasSubstr(part));
    EXPECT_THAT(refusal.hint, HasSubstr(hint));
  }

  Command command_;
  Option* text_ = nullptr;
  Values values_;
  std::string file_;
  Parsed result_;
};

TEST_F(Parse, AValueIsTakenAsItIsWhateverItLooksLike) {
  for (const char* value : {"-np", "--no-such-flag", "--", "-", "-1", "--help", "-m=x", "", "a\nb"}) {
    EXPECT_EQ(parsed({"--text", value}).text, value);
    EXPECT_EQ(parsed({"-p", value}).text, value);
    EXPECT_EQ(parsed({std::string("--text=") + value}).text, value);
  }
  EXPECT_FALSE(result_.help);
}

RC_GTEST_FIXTURE_PROP(Parse, AnyTextIsTheValueOfTheFlagBeforeIt, (const std::string& value)) {
  RC_ASSERT(parsed({"--text", value}).text == value);
  RC_ASSERT(parsed({"-l", value + "x"}).biases.back() == value + "x");
}

// Whatever comes in, the answer is values or a sentence.
RC_GTEST_FIXTURE_PROP(Parse, NoArgumentsCrashIt, (const std::vector<std::string>& arguments)) {
  try {
    parsed(arguments);
  } catch (const Error& error) {
    RC_ASSERT(error.code() == ErrorCode::BadInput);
  }
}

TEST_F(Parse, TheLastOfRepeatedOptionsWinsAndListsGrow) {
  EXPECT_EQ(parsed({"-n", "5", "--predict", "7", "-n=6"}).count, 6);
  EXPECT_EQ(parsed({"-m", "a", "--model", "b"}).model, "b");
  EXPECT_FALSE(parsed({"--escape", "--no-escape"}).escape);
  EXPECT_TRUE(parsed({"--no-escape", "-e"}).escape);
  EXPECT_TRUE(parsed({"-q", "-q"}).quiet);
  EXPECT_THAT(parsed({"-l", "1+1", "-l", "2+1"}).biases, ElementsAre("1+1", "2+1"));
}

TEST_F(Parse, AListsFirstValueReplacesItsDefault) {
  EXPECT_THAT(parsed({}).sequences, ElementsAre(1U));
  EXPECT_THAT(parsed({"-npl", "2,4", "-npl", "8"}).sequences, ElementsAre(2U, 4U, 8U));
}

TEST_F(Parse, FlagsOfSeveralLettersHaveOneDashOrTwo) {
  EXPECT_EQ(parsed({"-np", "3"}).small, 3U);
  EXPECT_EQ(parsed({"--np", "4"}).small, 4U);
  EXPECT_EQ(parsed({"-np=5"}).small, 5U);
  EXPECT_THAT(parsed({"-dev", "a,b"}).devices, ElementsAre("a", "b"));
}

TEST_F(Parse, ANumberMayStandRightBehindAFlagOfOneLetter) {
  EXPECT_EQ(parsed({"-c4096"}).context, "4096");
  EXPECT_EQ(parsed({"-n-1"}).count, -1);
}

TEST_F(Parse, PositionsAreFilledInOrderAndAfterTwoDashesWhateverTheyLookLike) {
  parsed({"-q", "a", "--", "-b"});
  EXPECT_EQ(values_.model, "a");
  EXPECT_EQ(values_.position, "-b");
  expect_refused({"a", "b", "c"}, "\"c\"");
}

TEST_F(Parse, AnUnknownFlagIsNamedWholeWithTheNearestKnownOne) {
  expect_refused({"-tq", "2"}, "test has no flag -tq");
  expect_refused({"-qe"}, "has no flag -qe");
  expect_refused({"--ctx-sise", "1"}, "has no flag --ctx-sise", "The nearest is --ctx-size.");
  expect_refused({"--predcit=4"}, "has no flag --predcit", "The nearest is --predict.");
  expect_refused({"--entirely-unlike"}, "--entirely-unlike", "See `loadline test --help`.");
}

TEST_F(Parse, FlagsOfLlamaCppThatCannotChangeTheResultAreIgnoredWithALine) {
  parsed({"-fa", "on", "-sm", "none", "-tb", "2", "--no-mmap", "-fa", "-no-cnv", "-n", "3"});
  EXPECT_EQ(values_.count, 3);
  EXPECT_THAT(result_.remarks, ElementsAre(StartsWith("-fa on is ignored: "), StartsWith("-sm none is ignored: "),
                                           StartsWith("-tb 2 is ignored: "), StartsWith("--no-mmap is ignored: "),
                                           StartsWith("-fa is ignored: "), StartsWith("-no-cnv is ignored: ")));
  parsed({"--flash-attn=off", "-q"});
  EXPECT_TRUE(values_.quiet);
  EXPECT_THAT(result_.remarks, ElementsAre(StartsWith("--flash-attn=off is ignored: ")));
}

TEST_F(Parse, FlagsOfLlamaCppThatChangeTheResultAreRefusedByName) {
  for (const char* flag : {"--lora", "--mmproj", "--control-vector", "-md", "--mirostat", "--rpc", "-cnv"}) {
    expect_refused({flag, "x"}, std::string(flag) + " is not supported yet");
  }
}

TEST_F(Parse, AnEmptyValueIsRefusedUnlessItIsText) {
  expect_refused({"-m", ""}, "-m was given an empty value");
  expect_refused({"--model="}, "--model was given an empty value");
  expect_refused({""}, "IN was given an empty value");
  expect_refused({"-n", ""}, "-n was given an empty value");
  EXPECT_EQ(parsed({"-p", ""}).text, "");
  EXPECT_TRUE(text_->given());
}

TEST_F(Parse, NumbersAreWholeInRangeAndNothingElse) {
  expect_refused({"-n", "five"}, "-n: \"five\" is not a whole number");
  expect_refused({"-n", "1.5"}, "\"1.5\" is not a whole number");
  expect_refused({"-n", "0x10"}, "\"0x10\" is not a whole number");
  expect_refused({"-n", "101"}, "-n: 101 is out of range; it can be -1 to 100");
  expect_refused({"-n", "99999999999999999999"}, "99999999999999999999 is out of range");
  expect_refused({"-np", "-1"}, "-1 is out of range; it can be 0 to 4294967295");
  expect_refused({"-np", "4294967296"}, "4294967296 is out of range");
  expect_refused({"--temp", "warm"}, "--temp: \"warm\" is not a number");
  expect_refused({"--temp", "1e99"}, "--temp: 1e99 is out of range");
  expect_refused({"-npl", "1,,2"}, "-npl was given an empty value");
  expect_refused({"-npl", "0"}, "0 is out of range");
}

TEST_F(Parse, WhatIsMissingOrContradictoryIsNamed) {
  expect_refused({"-n"}, "-n needs a value");
  expect_refused({"-q=1"}, "-q takes no value");
  expect_refused({"-f", "x", "-p", "y"}, "--file and --text cannot be given together");
  Command strict("strict", "");
  std::string model;
  strict.option("IN", &model, "", {.required = true});
  test::expect_refused([&] { return parse(strict, {}); }, "strict needs IN");
}

TEST_F(Parse, HelpIsAskedForByItsFlagAlone) {
  EXPECT_TRUE(parse(command_, std::vector<std::string>{"-q", "--help"}).help);
  EXPECT_TRUE(parse(command_, std::vector<std::string>{"-h", "--no-such-flag"}).help);
}

}  // namespace
}  // namespace loadline::cli

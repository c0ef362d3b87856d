// How each pre-tokeniser cuts text into words. The expected words were worked out by hand from the expressions.
#include "tokenizer/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace loadline::tokenizer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> words(const std::string& name, const std::string& text,
                               Matching matching = Matching::Compiled) {
  const PreTokenizer pretokenizer(name, matching);
  Splitter splitter(pretokenizer);
  std::vector<std::string> out;
  std::size_t begin = 0;
  for (const std::uint32_t length : splitter.split(text)) {
    out.push_back(text.substr(begin, length));
    begin += length;
  }
  EXPECT_EQ(begin, text.size());
  return out;
}

const std::vector<std::string> kNames = {
    "default",   "gpt-2",      "llama-bpe",  "qwen2",     "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon",
    "starcoder", "refact",     "mpt",        "smollm",    "tekken",       "gpt-4o",         "phi-2",       "minicpm5",
    "youtu",     "jais-2",     "qwen35",     "poro-chat", "viking",       "exaone-moe",     "chameleon",   "tiny_aya",
    "superbpe",  "bailingmoe", "seed-coder", "kimi-k2",   "afmoe",        "laguna",         "gemma4",      "sarvam-moe",
};

TEST(PreTokenizer, Gpt2KeepsABlankWithTheWordBehindIt) {
  EXPECT_THAT(words("gpt-2", "Hello  world's 123abc!? x"),
              ElementsAre("Hello", " ", " world", "'s", " 123", "abc", "!?", " x"));
}

TEST(PreTokenizer, Gpt2DoesNotKnowContractionsInCapitals) {
  EXPECT_THAT(words("gpt-2", "I'M"), ElementsAre("I", "'", "M"));
}

TEST(PreTokenizer, Gpt2SplitsARunOfBlanksBeforeItsLastOne) {
  EXPECT_THAT(words("gpt-2", "a   \n\n b\n"), ElementsAre("a", "   \n\n", " b", "\n"));
  EXPECT_THAT(words("gpt-2", "a\t\tb"), ElementsAre("a", "\t", "\t", "b"));
}

TEST(PreTokenizer, Llama3KnowsContractionsInCapitalsAndTakesDigitsByThree) {
  EXPECT_THAT(words("llama-bpe", "We'Ve 12345 (can't)\r\n\r\n  x"),
              ElementsAre("We", "'Ve", " ", "123", "45", " (", "can", "'t", ")\r\n\r\n", " ", " x"));
}

TEST(PreTokenizer, Llama3PutsOneOtherCharacterBeforeLetters) {
  EXPECT_THAT(words("llama-bpe", "_a -b \tc\u00E9\u4E2D"), ElementsAre("_a", " -", "b", " ", "\tc\u00E9\u4E2D"));
}

TEST(PreTokenizer, Qwen2TakesEveryDigitByItself) {
  EXPECT_THAT(words("qwen2", "x12 \u0663\u00BD"), ElementsAre("x", "1", "2", " ", "\u0663", "\u00BD"));
}

TEST(PreTokenizer, DefaultSeparatesPunctuationAndTakesDigitsByThree) {
  EXPECT_THAT(words("default", "a $1234.5, `b`"),
              ElementsAre("a", " ", "$", "123", "4", ".", "5", ",", " `", "b", "`"));
}

TEST(PreTokenizer, FalconSeparatesPunctuationFirst) {
  EXPECT_THAT(words("falcon", "don't `1234`"), ElementsAre("don", "'", "t", " ", "`", "123", "4", "`"));
}

TEST(PreTokenizer, StarcoderTakesDigitsOutFirst) {
  EXPECT_THAT(words("starcoder", "x = 42;"), ElementsAre("x", " =", " ", "4", "2", ";"));
  for (const char* same : {"refact", "smollm", "command-r"}) EXPECT_EQ(words(same, "a 42"), words("starcoder", "a 42"));
}

TEST(PreTokenizer, DeepSeekLlmSeparatesLinesLettersPunctuationAndIdeographs) {
  EXPECT_THAT(words("deepseek-llm", "Hi, \u4E2D\u6587\uFF01 12\r\n  x  "),
              ElementsAre("Hi", ",", " ", "\u4E2D\u6587", "\uFF01", " ", "1", "2", "\r", "\n", " ", " x", "  "));
}

TEST(PreTokenizer, DeepSeekLlmKeepsOtherScriptsApartFromLatin) {
  // Hangul syllables and Hebrew are in the ranges of the ideographs' expression, not among its letters.
  EXPECT_THAT(words("deepseek-llm", "a\uD55C\uAE00b \u05D0c"), ElementsAre("a", "\uD55C\uAE00", "b", " \u05D0", "c"));
}

TEST(PreTokenizer, DeepSeekCoderTakesALetterRunWithItsBlank) {
  EXPECT_THAT(words("deepseek-coder", "int x1=\t(y);\n"), ElementsAre("int", " x", "1", "=", "\t(", "y", ");", "\n"));
}

TEST(PreTokenizer, DeepSeekV3JoinsPunctuationWithLatinLettersBehindIt) {
  EXPECT_THAT(words("deepseek-v3", "a.bc 1234\u4E2D\u304B ;x\n\n"),
              ElementsAre("a", ".bc", " ", "123", "4", "\u4E2D\u304B", " ;", "x", "\n\n"));
}

TEST(PreTokenizer, TekkenBreaksBeforeACapitalBehindSmallLetters) {
  EXPECT_THAT(words("tekken", "camelCase HTTPServer it's 12 a/b\n/"),
              ElementsAre("camel", "Case", " HTTPServer", " it", "'s", " ", "1", "2", " a", "/b", "\n", "/"));
}

TEST(PreTokenizer, TekkenKeepsMarksWithTheirLetters) {
  EXPECT_THAT(words("tekken", "e\u0301t\u0939\u093F x"), ElementsAre("e\u0301t\u0939\u093F", " x"));
}

TEST(PreTokenizer, Gpt4oKeepsContractionsWithTheWord) {
  EXPECT_THAT(words("gpt-4o", "It's WE'LL 1234 x//\n"), ElementsAre("It's", " WE'LL", " ", "123", "4", " x", "//\n"));
}

TEST(PreTokenizer, WhiteSpaceIsWhatUnicodeSaysItIs) {
  // U+0085, U+00A0, U+2003, U+2028 and U+3000 are white space; U+180E, U+200B and U+FEFF are not.
  for (const char* blank : {"\u0085", "\u00A0", "\u2003", "\u2028", "\u3000"}) {
    EXPECT_THAT(words("gpt-2", std::string("!") + blank + blank + "!"), ElementsAre("!", blank, blank, "!"));
  }
  for (const char* other : {"\u180E", "\u200B", "\uFEFF"}) {
    EXPECT_THAT(words("gpt-2", std::string("!") + other + other + "!"),
                ElementsAre(std::string("!") + other + other + "!"));
  }
}

TEST(PreTokenizer, FlagsFollowTheFamily) {
  EXPECT_TRUE(PreTokenizer("llama-bpe").ignore_merges());
  EXPECT_TRUE(PreTokenizer("llama-bpe").adds_bos());
  EXPECT_TRUE(PreTokenizer("tekken").ignore_merges());
  EXPECT_FALSE(PreTokenizer("qwen2").ignore_merges());
  EXPECT_FALSE(PreTokenizer("qwen2").adds_bos());
}

TEST(PreTokenizer, AliasesMeanTheSame) {
  const std::string text = "I'LL have 12345  things_like.this\n\n\u00C4pfel";
  for (const char* alias : {"llama3", "llama-v3", "falcon3", "pixtral"}) {
    EXPECT_EQ(words(alias, text), words("llama-bpe", text)) << alias;
    EXPECT_TRUE(PreTokenizer(alias).ignore_merges()) << alias;
  }
  for (const char* alias : {"deepseek-r1-qwen", "megrez", "stablelm2"})
    EXPECT_EQ(words(alias, text), words("qwen2", text));
  for (const char* alias : {"phi-2", "mpt", "olmo"}) EXPECT_EQ(words(alias, text), words("gpt-2", text));
}

TEST(PreTokenizer, AnUnknownNameIsRefusedByName) {
  for (const char* name : {"quantum-bpe", "", " ", "gpt", "gpt-2 ", "gpt-2 phi-2"}) {
    try {
      PreTokenizer pretokenizer(name);
      FAIL() << '"' << name << "\" was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::BadInput);
      EXPECT_THAT(error.what(), HasSubstr("tokenizer.ggml.pre"));
      EXPECT_THAT(error.what(), HasSubstr('"' + std::string(name) + '"'));
    }
  }
}

// Of alphabets in which the expressions' alternatives meet often.
std::string mixed_text() {
  const auto parts = *rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>(
      "a", "Z", "'", "s", "'LL", " ", "  ", "\n", "\r", "\t", "1", "\u0663", "!", "$", "`", "/", "\u00E9", "\u0301",
      "\u4E2D", "\u304B", "\uAC00", "\uFF01", "\u3000", "\u0085", "\u01C5", "\U0001F999", std::string(1, '\0')));
  return std::accumulate(parts.begin(), parts.end(), std::string());
}

RC_GTEST_PROP(PreTokenizer, WordsAreNeverEmptyNeverCutCharactersAndSumUpToTheText, ()) {
  const auto name = *rc::gen::elementOf(kNames);
  const std::string text = mixed_text();
  std::string joined;
  for (const std::string& word : words(name, text)) {
    RC_ASSERT(!word.empty());
    RC_ASSERT(valid_utf8_prefix(word) == word.size());
    joined += word;
  }
  RC_ASSERT(joined == text);
}

RC_GTEST_PROP(PreTokenizer, InterpretedExpressionsGiveTheSameWords, ()) {
  const auto name = *rc::gen::elementOf(kNames);
  const std::string text = mixed_text();
  RC_ASSERT(words(name, text, Matching::Interpreted) == words(name, text));
}

// What makes careless expressions take the square of the length.
TEST(PreTokenizer, StepsGrowWithTheLengthOfAnyRun) {
  const std::size_t size = 4096;
  const auto run = [&](const std::string& part) {
    std::string text;
    while (text.size() < size) text += part;
    return text;
  };
  const std::vector<std::string> texts = {
      run(" ") + "1",
      run(" ") + "x",
      run(" ") + "!",
      run("\n"),
      run(" \n"),
      run("\u3000") + "\u00BD",
      run("a"),
      run("A"),
      run("Aa"),
      run("\u4E2D"),
      run("\u0301"),
      run("1"),
      run("!"),
      run("'"),
      run("'s"),
      run("\u01C5"),
      run("a1"),
      run(" \u0301"),
      run("A") + "\u0301",
      run("\u00A0") + "1",
      run(std::string(1, '\0')),
  };
  for (const std::string& name : kNames) {
    const PreTokenizer pretokenizer(name, Matching::Counted);
    for (const std::string& text : texts) {
      Splitter splitter(pretokenizer);
      EXPECT_FALSE(splitter.split(text).empty());
      EXPECT_GT(splitter.steps(), 0U);
      EXPECT_LT(splitter.steps(), 40 * text.size()) << name << ": " << text.substr(0, 6) << "...";
    }
  }
}

// Runs as long as prompts may be stay within the library's limits on one match.
TEST(PreTokenizer, LongRunsAreNoError) {
  for (const Matching matching : {Matching::Compiled, Matching::Interpreted}) {
    for (const std::string& name : kNames) {
      for (const char* part : {" ", "\n", "a", "A", "1", "\u0301"}) {
        std::string text;
        while (text.size() < (std::size_t{1} << 18)) text += part;
        EXPECT_FALSE(words(name, text + "1", matching).empty());
      }
    }
  }
}

}  // namespace
}  // namespace loadline::tokenizer

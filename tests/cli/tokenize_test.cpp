// `loadline tokenize` as a user runs it, on a vocabulary written for the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "gguf/writer.h"
#include "support/process.h"
#include "support/test_data.h"
#include "tokenizer/synthetic.h"

namespace loadline::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class Tokenize : public testing::Test {
 protected:
  Tokenize() : model_((scratch_.path() / "model.gguf").string()) {
    auto metadata = sentence_piece_metadata(
        {{"\u2581", 1, -9}, {"h", 1, -9}, {"i", 1, -9}, {"hi", 1, -1}, {"\u2581hi", 1, -2}, {"<|end|>", 3}});
    set_string(metadata, "general.architecture", "llama");
    gguf::Writer writer(model_, metadata, {});
    writer.finish();
  }

  ProcessResult tokenize(std::vector<std::string> arguments, const std::string& input = "") const {
    arguments.insert(arguments.begin(), {"tokenize", model_});
    ProcessOptions options;
    options.input = input;
    return run_loadline(arguments, options);
  }

  std::string write(const std::string& name, const std::string& text) const {
    const auto path = scratch_.path() / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  TemporaryFolder scratch_;
  std::string model_;
};

// Ids: 1 <s>, 2 </s>, 3 + byte, then 259 blank, 260 h, 261 i, 262 hi, 263 " hi", 264 <|end|>.

TEST_F(Tokenize, ShowsEveryTokenWithItsText) {
  const ProcessResult result = tokenize({"--text", "hi\n\x1b"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "       1  \"<s>\"\n"
            "     263  \" hi\"\n"
            "      13  \"\\x0a\"\n"
            "      30  \"\\x1b\"\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(Tokenize, ReadsTextFromAnOptionAFileOrStandardInput) {
  const std::string expected = "1,263,263\n";
  EXPECT_EQ(tokenize({"--ids", "--text", "hi hi"}).out, expected);
  EXPECT_EQ(tokenize({"--ids", "--file", write("text", "hi hi")}).out, expected);
  EXPECT_EQ(tokenize({"--ids", "--file", "-"}, "hi hi").out, expected);
  EXPECT_EQ(tokenize({"--ids"}, "hi hi").out, expected);
  EXPECT_EQ(tokenize({"--ids", "--text", ""}, "hi").out, "1\n");
}

TEST_F(Tokenize, LeavesOutBosAndReadsControlTokensWhenAsked) {
  EXPECT_EQ(tokenize({"--ids", "--no-bos", "--text", "hi"}).out, "263\n");
  EXPECT_EQ(tokenize({"--ids", "--no-bos", "--special", "--text", "hi<|end|>"}).out, "263,264\n");
  EXPECT_THAT(tokenize({"--ids", "--no-bos", "--text", "<|end|>"}).out, StartsWith("259,63,"));
}

TEST_F(Tokenize, DecodesIdsToTheExactBytes) {
  EXPECT_EQ(tokenize({"--decode", "1,263, 263 ,264"}).out, "hi hi");
  EXPECT_EQ(tokenize({"--decode", "263,264", "--special"}).out, "hi<|end|>");
  EXPECT_EQ(tokenize({"--decode", "258,3"}).out, std::string("\xFF\0", 2));
  EXPECT_EQ(tokenize({"--decode", ""}).out, "");
}

TEST_F(Tokenize, PrintsJson) {
  EXPECT_EQ(json::parse(tokenize({"--json", "--text", "hi"}).out),
            json::parse(R"([{"id":1,"piece":"<s>"},{"id":263,"piece":" hi"}])"));
  EXPECT_EQ(json::parse(tokenize({"--json", "--ids", "--text", "hi"}).out), json::parse("[1,263]"));
  EXPECT_EQ(json::parse(tokenize({"--json", "--decode", "263,258"}).out), json({{"text", "hi\uFFFD"}}));
  EXPECT_EQ(json::parse(tokenize({"--json", "--text", "\xFF"}).out).back(), json({{"id", 258}, {"piece", "\uFFFD"}}));
}

TEST_F(Tokenize, WhatItPrintsItTakesBack) {
  const std::string text = "hi \u4E2D\u6587\n\t\xC3 end  ";
  std::string ids = tokenize({"--ids"}, text).out;
  ids.pop_back();
  EXPECT_EQ(tokenize({"--decode", ids}).out, text);
}

TEST_F(Tokenize, BadUseIsOneSentence) {
  const auto expect_refused = [](const ProcessResult& result, const std::string& part) {
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(StartsWith("loadline: "), HasSubstr(part)));
  };
  expect_refused(tokenize({"--decode", "1,x"}), "\"x\" is not a token id");
  expect_refused(tokenize({"--decode", "1,,2"}), "\"\" is not a token id");
  expect_refused(tokenize({"--decode", "99999999999"}), "99999999999");
  expect_refused(tokenize({"--decode", "265"}), "265 is not a token");
  expect_refused(tokenize({"--decode", "-1"}), "-1 is not a token");
  expect_refused(tokenize({"--text", "a", "--file", "b"}), "--file");
  expect_refused(tokenize({"--text", "a", "--decode", "1"}), "--decode");
  expect_refused(tokenize({"--file", (scratch_.path() / "missing").string()}), "missing");
  expect_refused(tokenize({"--file", scratch_.path().string()}), scratch_.path().string());
  expect_refused(tokenize({"--no-such-flag"}), "--no-such-flag");
  expect_refused(run_loadline({"tokenize"}), "model");
  expect_refused(run_loadline({"tokenize", (scratch_.path() / "missing.gguf").string()}), "missing.gguf");
  expect_refused(run_loadline({"tokenize", write("text.gguf", "this is no model")}), "text.gguf");
}

TEST_F(Tokenize, AModelWithoutATokenizerIsRefusedByTheKey) {
  gguf::Metadata metadata;
  set_string(metadata, "general.architecture", "llama");
  const std::string path = (scratch_.path() / "bare.gguf").string();
  gguf::Writer writer(path, metadata, {});
  writer.finish();
  const ProcessResult result = run_loadline({"tokenize", path, "--text", "hi"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("tokenizer.ggml.model"));
}

}  // namespace
}  // namespace loadline::test

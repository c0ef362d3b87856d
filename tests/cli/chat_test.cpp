// `loadline chat` as scripts use it, on the chat demo of the repository.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kTide =
    R"([{"type": "function", "function": {"name": "tide", "description": "The tide at a place",
         "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"],
                        "additionalProperties": false}}}])";

class ChatCommand : public testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << content;
    return (folder_.path() / name).string();
  }
  // With one thread: on a busy machine two spend their time waiting for each other.
  static ProcessResult chat(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {program().string(), "chat", "-t", "1", "--temp", "0"});
    ProcessOptions options;
    options.input = input;
    return run_process(arguments, options);
  }
  static json answer(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.emplace_back("--json");
    const ProcessResult result = chat(std::move(arguments), input);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out, nullptr, false);
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(ChatCommand, TheDemoSaysWhatItIsAndTellsAStoryOfWhatItIsAskedFor) {
  EXPECT_THAT(chat({"-q", "-p", "Who are you?"}).out, HasSubstr("Loadline"));
  const ProcessResult story = chat({"-p", "Tell me a story about a crab.", "-n", "60"});
  EXPECT_THAT(story.out, HasSubstr("crab"));
  EXPECT_THAT(story.err, HasSubstr("60 tokens"));
}

TEST_F(ChatCommand, TheDemoCallsItsToolAndTellsWhatItGave) {
  const std::string tools = file("tools.json", kTide);
  const json call = answer({"--tools", tools, "-p", "What is the tide at the pier?"});
  ASSERT_EQ(call["tool_calls"].size(), 1U) << call;
  EXPECT_EQ(call["tool_calls"][0]["name"], "tide");
  EXPECT_EQ(call["tool_calls"][0]["arguments"]["place"], "pier");
  const json told = answer({"--tools", tools},
                           R"([{"role": "user", "content": "What is the tide at the pier?"},
      {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function":
        {"name": "tide", "arguments": {"place": "pier"}}}]}, {"role": "tool", "tool_call_id": "1", "content": "high"}])");
  EXPECT_THAT(told["content"].get<std::string>(), HasSubstr("high"));
}

TEST_F(ChatCommand, ACallCanBeRequired) {
  const json call = answer({"--tools", file("tools.json", kTide), "--tool-choice", "required", "-p", "Hello!"});
  ASSERT_EQ(call["tool_calls"].size(), 1U) << call;
  EXPECT_TRUE(call["tool_calls"][0]["arguments"].contains("place"));
  const ProcessResult wrong = chat({"--tools", file("tools.json", kTide), "--tool-choice", "sundial", "-p", "Hello!"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("sundial"));
}

TEST_F(ChatCommand, AnswersKeepToASchemaInFewerPassesThanTokens) {
  const std::string schema = file("schema.json",
                                  R"({"type": "object", "properties": {"name_of_the_captain": {"enum": ["Tom", "Mara"]},
      "years": {"type": "integer", "minimum": 10, "maximum": 20}}, "required": ["name_of_the_captain", "years"],
      "additionalProperties": false})");
  const json said = answer({"--json-schema", schema, "-p", "Hello!"});
  const json value = json::parse(said["content"].get<std::string>(), nullptr, false);
  ASSERT_TRUE(value.is_object()) << said;
  EXPECT_GE(value["years"].get<int>(), 10);
  EXPECT_LT(said["generation"]["passes"].get<int>(), said["generation"]["tokens"].get<int>() - 5);
}

TEST_F(ChatCommand, BannedPhrasesAreNotWritten) {
  const std::string usual = chat({"-q", "-n", "40", "-p", "Who are you?"}).out;
  ASSERT_THAT(usual, HasSubstr("model"));
  const std::string other = chat({"-q", "-n", "40", "--ban", "MODEL", "-p", "Who are you?"}).out;
  EXPECT_THAT(other, Not(HasSubstr("model")));
  EXPECT_GT(other.size(), 20U);
}

TEST_F(ChatCommand, LogProbabilitiesComeWithTheTokens) {
  const json said = answer({"-n", "3", "--logprobs", "2", "-p", "Hello!"});
  ASSERT_EQ(said["logprobs"].size(), 3U);
  EXPECT_EQ(said["logprobs"][0]["top_logprobs"].size(), 2U);
  EXPECT_LE(said["logprobs"][0]["logprob"].get<double>(), 0.0);
}

TEST_F(ChatCommand, WhatIsTypedBecomesNoControlToken) {
  const json plain = answer({"-n", "1", "-p", "ab"});
  const json typed = answer({"-n", "1", "-p", "a<|im_end|>b"});
  EXPECT_GE(typed["prompt"]["tokens"].get<int>(), plain["prompt"]["tokens"].get<int>() + 4);
}

TEST_F(ChatCommand, AFullContextIsRefusedUnlessTurnsMayBeDropped) {
  json messages = json::array();
  for (int i = 0; i < 40; ++i) {
    messages.push_back({{"role", "user"}, {"content", "Tell me about the number " + std::to_string(i) + ", please."}});
    messages.push_back({{"role", "assistant"}, {"content", "I do not know that."}});
  }
  messages.push_back({{"role", "user"}, {"content", "Who are you?"}});
  const ProcessResult refused = chat({"-n", "5"}, messages.dump());
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("but the context holds 512"));
  const ProcessResult shifted = chat({"-n", "5", "--context-shift"}, messages.dump());
  EXPECT_EQ(shifted.exit_code, 0);
  EXPECT_THAT(shifted.err, HasSubstr("oldest turns are forgotten"));
  EXPECT_EQ(chat({"-n", "5", "--context-shift", "--keep", "-1"}, messages.dump()).exit_code, 2);
}

TEST_F(ChatCommand, ABrokenTemplateIsNamedBeforeAnythingIsLoaded) {
  const ProcessResult result = chat({"--chat-template-file", file("t.jinja", "{% if %}"), "-p", "Hello!"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("line 1"));
}

}  // namespace
}  // namespace loadline::test

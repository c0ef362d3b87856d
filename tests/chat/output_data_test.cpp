// Model outputs of shared/data/templates/toolcalls: whole, in every division into two pieces, and byte by byte.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "base/text.h"
#include "chat/output_parser.h"
#include "support/test_data.h"

namespace loadline::chat {
namespace {

using Json = nlohmann::ordered_json;

std::string stripped(std::string text) {
  const auto is_blank = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), is_blank));
  text.erase(std::find_if_not(text.rbegin(), text.rend(), is_blank).base(), text.end());
  return text;
}

bool matches(const Answer& answer, const Json& expected) {
  if (stripped(answer.content) != stripped(expected.value("content", ""))) return false;
  if (stripped(answer.reasoning) != stripped(expected.value("reasoning_content", ""))) return false;
  const Json& calls = expected["tool_calls"];
  if (calls.size() != answer.calls.size()) return false;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (calls[i]["name"] != answer.calls[i].name) return false;
    const auto arguments = nlohmann::json::parse(answer.calls[i].arguments, nullptr, false);
    if (arguments != nlohmann::json::parse(calls[i]["arguments"].dump())) return false;
    if (calls[i].contains("id") && calls[i]["id"] != answer.calls[i].id) return false;
  }
  return true;
}

bool is_acceptable(const Answer& answer, const Json& record) {
  if (matches(answer, record["expect"])) return true;
  if (!record.contains("accept")) return false;
  return std::any_of(record["accept"].begin(), record["accept"].end(),
                     [&](const Json& other) { return matches(answer, other); });
}

std::string shown(const Answer& answer) {
  std::string out = "content \"" + answer.content + "\" reasoning \"" + answer.reasoning + "\"";
  for (const ToolCall& call : answer.calls) out += " call " + call.name + " " + call.arguments + " id " + call.id;
  return out;
}

// What the events add up to must be what answer() says.
void expect_events_agree(const std::vector<OutputEvent>& events, const Answer& answer, const std::string& where) {
  std::string content;
  std::string reasoning;
  std::vector<ToolCall> calls;
  for (const OutputEvent& event : events) {
    switch (event.kind) {
      case OutputEvent::Kind::Content: content += event.text; break;
      case OutputEvent::Kind::Reasoning: reasoning += event.text; break;
      case OutputEvent::Kind::CallBegins:
        EXPECT_EQ(event.call, calls.size()) << where;
        calls.push_back({event.text, "", ""});
        break;
      case OutputEvent::Kind::CallArguments: calls.at(event.call).arguments += event.text; break;
      case OutputEvent::Kind::CallEnds: calls.at(event.call).id = event.text; break;
      case OutputEvent::Kind::CallDropped: calls.resize(event.call); break;
    }
  }
  EXPECT_EQ(content, answer.content) << where;
  EXPECT_EQ(reasoning, answer.reasoning) << where;
  ASSERT_EQ(calls.size(), answer.calls.size()) << where;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(calls[i].name, answer.calls[i].name) << where;
    EXPECT_EQ(calls[i].arguments, answer.calls[i].arguments) << where;
  }
}

Answer parsed(const Json& record, const Tools& tools, const std::vector<std::string_view>& pieces) {
  OutputParser parser(output_format_named(record["format"].get<std::string>()), tools,
                      record.value("prompt_end", std::string()));
  std::vector<OutputEvent> events;
  for (const std::string_view piece : pieces) parser.push(piece, events);
  if (record["partial"] == false) {
    parser.finish(events);
    expect_events_agree(events, parser.answer(), record["id"].get<std::string>());
  }
  return parser.answer();
}

TEST(output_data, every_output_is_taken_apart_as_expected_whole_and_in_pieces) {
  LOADLINE_REQUIRE_SHARED(folder, "templates/toolcalls");
  const Json definitions = Json::parse(std::ifstream(folder / "tools.json"));
  std::ifstream file(folder / "toolcalls.jsonl");
  std::string line;
  std::size_t records = 0;
  while (std::getline(file, line)) {
    const Json record = Json::parse(line);
    Json offered = Json::array();
    for (const Json& name : record["tools"]) offered.push_back(definitions[name.get<std::string>()]);
    const Tools tools(offered.dump());
    const std::string output = record["output"];
    const Answer whole = parsed(record, tools, {output});
    EXPECT_TRUE(is_acceptable(whole, record)) << record["id"] << "\n  output " << output << "\n  gave " << shown(whole)
                                              << "\n  expected " << record["expect"];
    std::vector<std::string_view> characters;
    for (std::size_t at = 0; at < output.size();) {
      const std::size_t length = std::max<std::size_t>(1, utf8_length(std::string_view(output).substr(at)));
      characters.push_back(std::string_view(output).substr(at, length));
      at += length;
      const Answer divided =
          parsed(record, tools, {std::string_view(output).substr(0, at), std::string_view(output).substr(at)});
      EXPECT_EQ(shown(divided), shown(whole)) << record["id"] << " divided at " << at;
    }
    EXPECT_EQ(shown(parsed(record, tools, characters)), shown(whole)) << record["id"] << " by characters";
    ++records;
  }
  EXPECT_GT(records, 100U);
}

}  // namespace
}  // namespace loadline::chat

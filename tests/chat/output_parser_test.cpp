// Answers taken apart: small cases of our own, what streams when, and properties that hold for any text.
#include "chat/output_parser.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "chat/stop_strings.h"

namespace loadline::chat {
namespace {

const Tools& tools() {
  static const Tools kTools(R"([{"type": "function", "function": {"name": "look", "parameters": {"type": "object",
      "properties": {"at": {"type": "string"}, "n": {"type": "integer"}}}}}, "now"])");
  return kTools;
}

std::string shown(const Answer& answer) {
  std::string out = answer.reasoning.empty() ? answer.content : "(" + answer.reasoning + ")" + answer.content;
  for (const ToolCall& call : answer.calls) out += " " + call.name + call.arguments;
  return out;
}

Answer parsed(OutputFormat format, const std::vector<std::string>& pieces, std::string_view prompt_end = {}) {
  OutputParser parser(format, tools(), prompt_end);
  std::vector<OutputEvent> events;
  for (const std::string& piece : pieces) parser.push(piece, events);
  parser.finish(events);
  return parser.answer();
}

TEST(output_parser, tells_reasoning_from_the_answer) {
  EXPECT_EQ(shown(parsed(OutputFormat::Hermes, {"<think>\nwhy\n</think>\n\nbecause"})), "(why)because");
  EXPECT_EQ(shown(parsed(OutputFormat::Hermes, {"why</think>because"}, "<|im_start|>assistant\n<think>\n")),
            "(why)because");
  EXPECT_EQ(shown(parsed(OutputFormat::Mistral, {"[THINK]why[/THINK]because"})), "(why)because");
  EXPECT_EQ(shown(parsed(OutputFormat::Hermes, {"say <think> aloud"})), "say <think> aloud");
  EXPECT_EQ(
      shown(parsed(
          OutputFormat::Harmony,
          {"<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>because<|return|>"})),
      "(why)because");
}

TEST(output_parser, calls_come_with_the_name_first_and_arguments_in_pieces) {
  OutputParser parser(OutputFormat::Hermes, tools());
  std::vector<OutputEvent> events;
  parser.push("<tool_call>\n{\"name\": \"look\", \"arg", events);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, OutputEvent::Kind::CallBegins);
  EXPECT_EQ(events[0].text, "look");
  parser.push("uments\": {\"at\": \"O", events);
  parser.push("slo\"}}\n</tool_call>", events);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[1].text, "{\"at\": \"Oslo\"}");
  EXPECT_EQ(events[2].kind, OutputEvent::Kind::CallEnds);
}

TEST(output_parser, what_is_no_call_after_all_is_taken_back_and_stays_text) {
  OutputParser parser(OutputFormat::Hermes, tools());
  std::vector<OutputEvent> events;
  parser.push("<tool_call>{\"name\": \"look\", \"arguments\": {", events);
  EXPECT_EQ(events.front().kind, OutputEvent::Kind::CallBegins);
  events.clear();
  parser.push("oops}}</tool_call>", events);
  parser.finish(events);
  EXPECT_EQ(events.front().kind, OutputEvent::Kind::CallDropped);
  EXPECT_EQ(parser.answer().content, "<tool_call>{\"name\": \"look\", \"arguments\": {oops}}</tool_call>");
  EXPECT_TRUE(parser.answer().calls.empty());
}

TEST(output_parser, calls_may_stand_in_an_object_that_says_so) {
  const auto call = [](const std::string& text) { return shown(parsed(OutputFormat::GenericJson, {text})); };
  EXPECT_EQ(call(R"({"tool_call": {"name": "look", "arguments": {"n": 1}}})"), R"( look{"n": 1})");
  EXPECT_EQ(call(R"({"tool_calls": [{"name": "now", "arguments": {}}, {"name": "look", "arguments": {}}]})"),
            " now{} look{}");
  const std::string other = R"({"tool_call": {"name": "other", "arguments": {}}})";
  EXPECT_EQ(call(other), other);
  EXPECT_EQ(call(R"({"tool_call": 1})"), R"({"tool_call": 1})");
}

TEST(output_parser, a_name_may_stand_right_before_its_arguments) {
  EXPECT_EQ(shown(parsed(OutputFormat::Mistral, {"[TOOL_CALLS]look{\"at\": \"[x]\"}"})), " look{\"at\": \"[x]\"}");
}

TEST(output_parser, a_string_may_hold_the_end_of_its_call) {
  const std::string text = "<|tool_call>call:look{at:<|\"|>a<tool_call|>b<|\"|>}<tool_call|>";
  EXPECT_EQ(shown(parsed(OutputFormat::Gemma4, {text})), " look{\"at\": \"a<tool_call|>b\"}");
  EXPECT_EQ(shown(parsed(OutputFormat::Gemma4, {text.substr(0, 45), text.substr(45)})),
            " look{\"at\": \"a<tool_call|>b\"}");
}

TEST(output_parser, parameters_in_tags_are_typed_by_the_schema) {
  const auto call = [](const std::string& at, const std::string& n) {
    return shown(
        parsed(OutputFormat::QwenCoder, {"<tool_call><function=look><parameter=at>\n" + at +
                                         "\n</parameter><parameter=n>" + n + "</parameter></function></tool_call>"}));
  };
  EXPECT_EQ(call("42", "42"), " look{\"at\": \"42\", \"n\": 42}");
  EXPECT_EQ(call("true", "x"), " look{\"at\": \"true\", \"n\": \"x\"}");
}

TEST(output_parser, several_calls_may_stand_between_the_same_marks) {
  const auto call = [](const std::string& text) { return shown(parsed(OutputFormat::Hermes, {text})); };
  EXPECT_EQ(call("<tool_call>{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"look\"}</tool_call>b"),
            "b now{} look{}");
  EXPECT_EQ(call("<tool_call>{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"lo"), "{\"name\": \"lo now{}");
}

TEST(output_parser, code_may_print_what_a_call_gives) {
  const auto call = [](const std::string& text) { return shown(parsed(OutputFormat::Gemma3, {text})); };
  EXPECT_EQ(call("```tool_code\nprint(look(at='x'))\nnow()\n```"), " look{\"at\": \"x\"} now{}");
  EXPECT_EQ(call("```tool_code\nprint('x')\n```"), "```tool_code\nprint('x')\n```");
  EXPECT_EQ(call("```tool_code\nprint(now()\n```"), "```tool_code\nprint(now()\n```");
  EXPECT_EQ(call("[look(at=\"x\")]"), " look{\"at\": \"x\"}");
}

TEST(output_parser, lists_of_calls_may_be_of_json) {
  const auto call = [](const std::string& text) { return shown(parsed(OutputFormat::Pythonic, {text})); };
  EXPECT_EQ(call("<|tool_call_start|>[{\"name\": \"now\", \"arguments\": {}}]<|tool_call_end|>ok"), "ok now{}");
  EXPECT_EQ(call("<|tool_call_start|>[now()]<|tool_call_end|>ok"), "ok now{}");
}

TEST(output_parser, a_call_that_only_lacks_its_last_mark_is_one) {
  const std::string text = "<tool_call>look<arg_key>at</arg_key><arg_value>x</arg_value>";
  EXPECT_EQ(shown(parsed(OutputFormat::Glm, {text})), " look{\"at\": \"x\"}");
  EXPECT_EQ(shown(parsed(OutputFormat::Glm, {text + "<arg_key>n"})), text + "<arg_key>n");
}

TEST(output_parser, a_message_may_begin_in_the_prompt) {
  const auto answer = [](const std::string& text, const std::string& prompt_end) {
    return shown(parsed(OutputFormat::Harmony, {text}, prompt_end));
  };
  EXPECT_EQ(answer("analysis<|message|>why<|end|>", "<|end|><|start|>assistant<|channel|>"), "(why)");
  EXPECT_EQ(answer("because<|return|>", "<|start|>assistant<|channel|>final<|message|>It is so, "), "because");
  EXPECT_EQ(answer("{}<|call|>", "<|start|>assistant<|channel|>commentary to=functions.now<|message|>"), " now{}");
  const auto recipient = [](const std::string& text, const std::string& prompt_end) {
    return shown(parsed(OutputFormat::FunctionaryRecipients, {text}, prompt_end));
  };
  EXPECT_EQ(recipient("look\n{\"at\": 1}", ">>>"), " look{\"at\": 1}");
  EXPECT_EQ(recipient(">>>all\nso>>>now\n{}", ""), "so now{}");
  EXPECT_EQ(recipient("look\n{\"at\": ", ">>>"), "look\n{\"at\": ");
  EXPECT_EQ(recipient("all\nso>>>look\n{\"at\": ", ">>>"), "so>>>look\n{\"at\": ");
}

TEST(output_parser, end_marks_are_no_text) {
  EXPECT_EQ(shown(parsed(OutputFormat::Hermes, {"done<|im_", "end|>"})), "done");
}

TEST(output_format, is_found_in_the_template) {
  EXPECT_EQ(output_format_of("...[TOOL_CALLS]..."), OutputFormat::Mistral);
  EXPECT_EQ(output_format_of("<tool_call>\\n<function=x>\\n<parameter=y>"), OutputFormat::QwenCoder);
  EXPECT_EQ(output_format_of("<tool_call>\\n{\"name\""), OutputFormat::Hermes);
  EXPECT_EQ(output_format_of("plain"), OutputFormat::GenericJson);
  EXPECT_THROW(output_format_named("no such"), Error);
}

// Pieces that mean something to some format, so that random texts come near calls.
const std::vector<std::string>& pieces() {
  static const std::vector<std::string> kPieces = {"<tool_call>",
                                                   "</tool_call>",
                                                   "{\"name\": \"look\", ",
                                                   "\"arguments\": {\"at\": \"x\"}}",
                                                   "{",
                                                   "}",
                                                   "[",
                                                   "]",
                                                   "\"",
                                                   "<think>",
                                                   "</think>",
                                                   "[TOOL_CALLS]",
                                                   "look",
                                                   "[ARGS]",
                                                   "<function=look>",
                                                   "<parameter=at>",
                                                   "</parameter>",
                                                   "</function>",
                                                   "<|channel|>",
                                                   "final",
                                                   "analysis",
                                                   "<|message|>",
                                                   "<|start|>assistant",
                                                   " to=functions.look",
                                                   "<|call|>",
                                                   "<|end|>",
                                                   ">>>",
                                                   "all\n",
                                                   "look\n",
                                                   "look(at=\"x\", n=1)",
                                                   "[look(at='y')]",
                                                   "<|python_tag|>",
                                                   "<|tool_call>call:look{at:<|\"|>z<|\"|>}",
                                                   "<tool_call|>",
                                                   "<arg_key>at</arg_key>",
                                                   "<arg_value>1</arg_value>",
                                                   "<|tool_call_begin|>functions.look:0",
                                                   "<|tool_call_argument_begin|>",
                                                   "<|tool_call_end|>",
                                                   "<｜tool▁calls▁begin｜>",
                                                   "<｜tool▁call▁begin｜>look<｜tool▁sep｜>{}",
                                                   "<｜tool▁call▁end｜>",
                                                   "Action: ```json\n",
                                                   "```",
                                                   "\n",
                                                   " ",
                                                   "text",
                                                   "<|im_end|>",
                                                   ",",
                                                   ":",
                                                   "é",
                                                   "functools[",
                                                   "<invoke name=\"look\">",
                                                   "</invoke>",
                                                   "<minimax:tool_call>"};
  return kPieces;
}

const std::vector<OutputFormat>& formats() {
  static const std::vector<OutputFormat> kFormats = [] {
    std::vector<OutputFormat> all;
    for (int i = 0; i <= static_cast<int>(OutputFormat::XmlInvoke); ++i) all.push_back(static_cast<OutputFormat>(i));
    return all;
  }();
  return kFormats;
}

RC_GTEST_PROP(output_parser, gives_the_same_however_the_text_is_cut, ()) {
  const auto words = *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(pieces()));
  const OutputFormat format = *rc::gen::elementOf(formats());
  std::string text;
  for (const std::string& word : words) text += word;
  const std::size_t cut = *rc::gen::inRange<std::size_t>(0, text.size() + 1);
  const std::string whole = shown(parsed(format, {text}));
  RC_ASSERT(shown(parsed(format, {text.substr(0, cut), text.substr(cut)})) == whole);
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  RC_ASSERT(shown(parsed(format, bytes)) == whole);
}

TEST(stop_strings, are_found_over_any_border_and_never_shown) {
  const std::string text = "one two STOP three";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    StopStrings stops({"STOP", "", "nowhere"});
    std::string out = stops.push(text.substr(0, cut));
    out += stops.push(text.substr(cut));
    out += stops.finish();
    EXPECT_EQ(out, "one two ") << cut;
    EXPECT_EQ(stops.found(), "STOP");
  }
  StopStrings none({"STOP"});
  EXPECT_EQ(none.push("ab ST"), "ab ");
  EXPECT_EQ(none.push("O"), "");
  EXPECT_EQ(none.finish(), "STO");
  StopStrings two({"abcdef", "cd"});
  EXPECT_EQ(two.push("xabc"), "x");
  EXPECT_EQ(two.push("d"), "ab");
  EXPECT_EQ(two.found(), "cd");
}

}  // namespace
}  // namespace loadline::chat

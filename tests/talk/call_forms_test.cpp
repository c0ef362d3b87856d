// What a grammar of calls allows is read back as that call, in every way for which there is a form.
#include "talk/call_forms.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "chat/output_parser.h"
#include "grammar/languages.h"
#include "grammar/session.h"

namespace loadline::talk {
namespace {

using chat::OutputFormat;
using grammar::Json;

grammar::TokenIndex bytes_index() {
  std::vector<grammar::TokenIndex::Entry> entries(257);
  for (int byte = 0; byte < 256; ++byte)
    entries[static_cast<std::size_t>(byte)].text = std::string(1, static_cast<char>(byte));
  entries[256].ends = true;
  return grammar::TokenIndex(entries);
}

bool keeps_to(const grammar::Grammar& grammar, const std::string& text) {
  static const grammar::TokenIndex kIndex = bytes_index();
  grammar::Session session(grammar, kIndex);
  return session.accept_text(text) && session.is_complete();
}

// JSON as it was read, or as it is written without blanks and needless escapes.
bool satisfies(const std::string& json, const grammar::Grammar& schema) {
  if (keeps_to(schema, json)) return true;
  const Json value = Json::parse(json, nullptr, false);
  return !value.is_discarded() && keeps_to(schema, value.dump());
}

// A way of writing calls, as a template shows it.
struct Way {
  OutputFormat format;
  std::string source;
};

std::vector<Way> ways() {
  std::vector<Way> out;
  for (int i = 0; i <= static_cast<int>(OutputFormat::XmlInvoke); ++i) {
    if (call_form(static_cast<OutputFormat>(i))) out.push_back({static_cast<OutputFormat>(i), ""});
  }
  out.push_back({OutputFormat::Mistral, "[TOOL_CALLS] [ARGS]"});
  out.push_back({OutputFormat::JsonList, "<|tools_prefix|>"});
  out.push_back({OutputFormat::Phi4, "<|tool_call|>"});
  out.push_back({OutputFormat::CommandR, "Action:"});
  out.push_back({OutputFormat::QwenCoder, "<seed:tool_call>"});
  out.push_back({OutputFormat::XmlInvoke, "<function_calls>"});
  out.push_back({OutputFormat::DeepSeek, "```json"});
  out.push_back({OutputFormat::DeepSeekDsml, "function_calls"});
  return out;
}

std::string_view prompt_end_of(OutputFormat format) {
  return format == OutputFormat::FunctionaryRecipients ? ">>>"
         : format == OutputFormat::Harmony             ? "<|start|>assistant"
                                                       : "";
}

chat::Answer read(OutputFormat format, const chat::Tools& tools, const std::vector<std::string_view>& pieces) {
  chat::OutputParser parser(format, tools, prompt_end_of(format));
  std::vector<chat::OutputEvent> events;
  for (const std::string_view piece : pieces) parser.push(piece, events);
  parser.finish(events);
  return parser.answer();
}

std::string shown(const chat::Answer& answer) {
  std::string out = "(" + answer.reasoning + ")" + answer.content;
  for (const chat::ToolCall& call : answer.calls) out += " " + call.name + call.arguments + "#" + call.id;
  return out;
}

constexpr const char* kWeather =
    R"([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties":
       {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"],
       "additionalProperties": false}}}, {"name": "clock"}])";

TEST(CallForms, CallsLookAsModelsWriteThem) {
  const auto allows = [](OutputFormat format, const std::string& text, std::string_view source = {}) {
    return keeps_to(tool_grammar(kWeather, "required", true, format, source)->grammar, text);
  };
  EXPECT_TRUE(allows(OutputFormat::Harmony,
                     "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
                     R"({"city":"Oslo","days":3})"));
  EXPECT_TRUE(allows(OutputFormat::Harmony,
                     "<|channel|>analysis<|message|>Well.<|end|><|start|>assistant"
                     "<|channel|>commentary to=functions.clock <|constrain|>json<|message|>{}"));
  EXPECT_FALSE(allows(OutputFormat::Harmony, "<|channel|>final<|message|>No."));
  EXPECT_TRUE(allows(OutputFormat::Kimi,
                     "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>"
                     R"({"city": "Oslo", "days": 3}<|tool_call_end|>)"
                     "<|tool_call_begin|>functions.clock:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
                     "<|tool_calls_section_end|>"));
  EXPECT_TRUE(allows(OutputFormat::Gemma4, "<|tool_call>call:weather{city:<|\"|>Oslo \"N\"<|\"|>,days:3}<tool_call|>"));
  EXPECT_FALSE(allows(OutputFormat::Gemma4, "<|tool_call>call:weather{city:Oslo,days:3}<tool_call|>"));
  EXPECT_TRUE(allows(OutputFormat::Gemma3, "```tool_code\nweather(city=\"Oslo\", days=3)\nclock()\n```"));
  EXPECT_TRUE(allows(OutputFormat::Llama4Pythonic, "[weather(city=\"Oslo\", days=3), clock()]"));
  EXPECT_TRUE(allows(OutputFormat::FunctionaryRecipients, "weather\n{\"city\": \"Oslo\", \"days\": 3}>>>clock\n{}"));
  EXPECT_TRUE(allows(OutputFormat::Mistral, R"([TOOL_CALLS]weather[ARGS]{"city": "Oslo", "days": 3})", "[ARGS]"));
  EXPECT_FALSE(
      allows(OutputFormat::Hermes, "<tool_call>\n{\"name\": \"clock\", \"arguments\": {\"a\":1}}\n</tool_call>"));
}

// ---- a property: what a grammar of calls allows is read as calls that the schemas allow

Json random_schema(std::mt19937& random, int depth) {
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  switch (pick(depth > 1 ? 9 : 12)) {
    case 0: return {{"type", "string"}};
    case 1: return {{"type", "integer"}};
    case 2: return {{"type", "boolean"}};
    case 3: return {{"enum", {"red", "12", "null", "a \"b\"", "<x>"}}};
    case 4: return {{"type", {"string", "null"}}};
    case 5: return {{"anyOf", {{{"type", "number"}}, {{"type", "string"}}}}};
    case 6: return {{"type", "string"}, {"pattern", "^[a-c\\n]+$"}};
    case 7: return {{"type", "string"}, {"minLength", 1}, {"maxLength", 3}};
    case 8: return {{"const", {{"a", {1, true, nullptr, "x"}}}}};
    case 9: return {{"type", "array"}, {"items", random_schema(random, depth + 1)}, {"maxItems", 2}};
    case 10:
      return {{"type", "object"},
              {"properties", {{"in", random_schema(random, depth + 1)}, {"a b", random_schema(random, depth + 1)}}},
              {"required", {"in"}}};
    default: return Json::object();
  }
}

Json random_tools(std::mt19937& random) {
  Json tools = Json::array();
  for (const char* name : {"look", "fetch_it"}) {
    Json parameters{{"type", "object"}, {"properties", Json::object()}};
    for (const char* property : {"at", "max-size", "x.y"}) {
      if (random() % 3 == 0) continue;
      parameters["properties"][property] = random_schema(random, 0);
      if (random() % 2 == 0) parameters["required"].push_back(property);
    }
    if (random() % 2 == 0)
      parameters["additionalProperties"] = random() % 2 == 0 ? Json(false) : Json{{"type", "integer"}};
    tools.push_back({{"type", "function"}, {"function", {{"name", name}, {"parameters", parameters}}}});
  }
  return tools;
}

// Bytes that the grammar allows, up to an end; nullopt where none comes soon.
std::optional<std::string> random_text(const grammar::Grammar& grammar, std::mt19937& random) {
  static const grammar::TokenIndex kIndex = bytes_index();
  grammar::Session session(grammar, kIndex);
  constexpr std::string_view kOften = "\"}])<|>\n,:;=1[{\\";  // what structure is made of, and what could pass for it
  std::string text;
  while (text.size() < 1500) {
    const auto mask = session.mask();
    std::vector<grammar::Token> all;
    std::vector<grammar::Token> often;
    for (grammar::Token token = 0; token < 257; ++token) {
      if ((mask[static_cast<std::size_t>(token) / 64] >> (token & 63) & 1) == 0) continue;
      all.push_back(token);
      if (token < 128 && kOften.find(static_cast<char>(token)) != std::string_view::npos) often.push_back(token);
      if (token == 256 && random() % 3 == 0) return text;
    }
    const auto& from = !often.empty() && random() % 3 != 0 ? often : all;
    const grammar::Token token = from[random() % from.size()];
    if (token == 256) return text;
    if (!session.accept(token)) return std::nullopt;
    text += static_cast<char>(token);
  }
  return std::nullopt;
}

RC_GTEST_PROP(CallForms, WhatTheGrammarAllowsIsReadAsThatCall, (unsigned seed)) {
  std::mt19937 random(seed);
  const std::vector<Way> all = ways();
  const Way& way = all[random() % all.size()];
  const Json offered = random_tools(random);
  const chat::Tools tools(offered.dump());
  std::optional<grammar::ToolGrammar> required;
  try {
    required = tool_grammar(offered.dump(), "required", true, way.format, way.source);
  } catch (const Error& error) {  // a name that this way cannot write
    RC_ASSERT(std::string_view(error.what()).contains("cannot be"));
    return;
  }
  for (int i = 0; i < 4; ++i) {
    const auto text = random_text(required->grammar, random);
    if (!text) continue;
    const std::string told = std::string(chat::name_of(way.format)) + ": " + *text + "\n" + offered.dump();
    const chat::Answer answer = read(way.format, tools, {*text});
    RC_LOG(told);
    RC_ASSERT(!answer.calls.empty());
    RC_ASSERT(answer.content == "");
    for (const chat::ToolCall& call : answer.calls) {
      const auto tool =
          std::ranges::find_if(offered, [&](const Json& one) { return one["function"]["name"] == call.name; });
      RC_ASSERT(tool != offered.end());
      const Json& schema = (*tool)["function"]["parameters"];
      if (!satisfies(call.arguments, grammar::compile_json_schema(schema.dump()))) {
        RC_FAIL(told + "\nread as " + call.arguments);
      }
    }
    std::size_t cut = text->empty() ? 0 : random() % text->size();
    while (cut > 0 && (static_cast<unsigned char>((*text)[cut]) & 0xC0) == 0x80) --cut;
    const std::string_view view = *text;
    RC_ASSERT(shown(read(way.format, tools, {view.substr(0, cut), view.substr(cut)})) == shown(answer));
  }
}

TEST(CallForms, WhatCannotBeWrittenIsRefused) {
  const auto why = [](OutputFormat format, const std::string& parameters, const std::string& name = "f") {
    try {
      (void)tool_grammar(R"([{"name": ")" + name + R"(", "parameters": )" + parameters + "}]", "required", true,
                         format);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string blank = R"({"properties": {"a b": {}}})";
  EXPECT_NE(why(OutputFormat::Llama4Pythonic, blank).find("\"a b\" cannot be written"), std::string::npos);
  EXPECT_EQ(why(OutputFormat::Gemma4, blank), "accepted");
  EXPECT_EQ(why(OutputFormat::QwenCoder, blank), "accepted");
  EXPECT_NE(why(OutputFormat::QwenCoder, R"({"properties": {"a>b": {}}})").find("cannot be written"),
            std::string::npos);
  EXPECT_NE(why(OutputFormat::Hermes, "{}", "a b").find("cannot be written"), std::string::npos);
  EXPECT_NE(why(OutputFormat::Pythonic, "{}", "1st").find("cannot be written"), std::string::npos);
}

TEST(CallForms, TheChoiceIsKeptTo) {
  const auto hermes = OutputFormat::Hermes;
  EXPECT_FALSE(tool_grammar(kWeather, "none", true, hermes));
  EXPECT_FALSE(tool_grammar("", "auto", true, hermes));
  EXPECT_EQ(tool_grammar(kWeather, "auto", true, hermes)->triggers, std::vector<std::string>{"<tool_call>\n"});
  const auto named = tool_grammar(kWeather, "clock", true, hermes);
  EXPECT_FALSE(
      keeps_to(named->grammar,
               "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\":\"Oslo\",\"days\":3}}\n</tool_call>"));
  EXPECT_TRUE(keeps_to(named->grammar, "<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>"));
  EXPECT_THROW((void)tool_grammar(kWeather, "sundial", true, hermes), Error);
  // Nothing marks such a call, so that a grammar could only require it.
  EXPECT_FALSE(tool_grammar(kWeather, "auto", true, OutputFormat::Llama3));
  EXPECT_TRUE(tool_grammar(kWeather, "required", true, OutputFormat::Llama3));
  EXPECT_EQ(tool_grammar(kWeather, "auto", true, OutputFormat::Harmony)->triggers,
            std::vector<std::string>{"<|channel|>commentary to=functions."});
  EXPECT_THROW((void)tool_grammar(kWeather, "required", true, OutputFormat::ReasoningOnly), Error);
}

}  // namespace
}  // namespace loadline::talk

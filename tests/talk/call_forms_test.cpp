// What a grammar of calls allows is read back as that call, in every way for which there is a form.
#include "talk/call_forms.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "chat/output_parser.h"
#include "grammar/session.h"

namespace loadline::talk {
namespace {

constexpr const char* kTools =
    R"([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties":
       {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"],
       "additionalProperties": false}}}, {"name": "clock"}])";

std::string call_text(const grammar::ToolCallForm& form) {
  const std::string arguments = form.tagged ? form.before_key + "city" + form.after_key + "Oslo" + form.after_value +
                                                  form.before_key + "days" + form.after_key + "3" + form.after_value
                                            : R"({"city":"Oslo","days":3})";
  return form.before_name + "weather" + form.after_name + arguments + form.after_arguments;
}

grammar::TokenIndex bytes_index() {
  std::vector<grammar::TokenIndex::Entry> entries(257);
  for (int byte = 0; byte < 256; ++byte)
    entries[static_cast<std::size_t>(byte)].text = std::string(1, static_cast<char>(byte));
  entries[256].ends = true;
  return grammar::TokenIndex(entries);
}

bool keeps_to(const grammar::Grammar& grammar, const std::string& text) {
  const grammar::TokenIndex index = bytes_index();
  grammar::Session session(grammar, index);
  return session.accept_text(text) && session.is_complete();
}

std::vector<chat::OutputFormat> formats_with_forms() {
  std::vector<chat::OutputFormat> out;
  for (int i = 0; i <= static_cast<int>(chat::OutputFormat::XmlInvoke); ++i) {
    if (call_form(static_cast<chat::OutputFormat>(i))) out.push_back(static_cast<chat::OutputFormat>(i));
  }
  return out;
}

TEST(CallForms, WhatTheGrammarAllowsIsReadAsThatCall) {
  ASSERT_GE(formats_with_forms().size(), 13U);
  const chat::Tools tools(kTools);
  for (const chat::OutputFormat format : formats_with_forms()) {
    SCOPED_TRACE(chat::name_of(format));
    const grammar::ToolCallForm form = *call_form(format);
    const auto required = tool_grammar(kTools, "required", true, format);
    ASSERT_TRUE(required);
    const std::size_t most = form.between.empty() ? 1 : 2;
    for (std::size_t calls = 1; calls <= most; ++calls) {
      const std::string text =
          form.begin + call_text(form) + (calls == 2 ? form.between + call_text(form) : "") + form.end;
      EXPECT_TRUE(keeps_to(required->grammar, text)) << text;
      chat::OutputParser parser(format, tools);
      std::vector<chat::OutputEvent> events;
      parser.push(text, events);
      parser.finish(events);
      const chat::Answer answer = parser.answer();
      ASSERT_EQ(answer.calls.size(), calls) << text;
      EXPECT_EQ(answer.content, "");
      EXPECT_EQ(answer.calls.back().name, "weather");
      EXPECT_EQ(grammar::parse_json(answer.calls.back().arguments, "arguments").dump(), R"({"city":"Oslo","days":3})");
    }
  }
}

TEST(CallForms, TheChoiceIsKeptTo) {
  const auto hermes = chat::OutputFormat::Hermes;
  EXPECT_FALSE(tool_grammar(kTools, "none", true, hermes));
  EXPECT_FALSE(tool_grammar("", "auto", true, hermes));
  EXPECT_EQ(tool_grammar(kTools, "auto", true, hermes)->triggers, std::vector<std::string>{"<tool_call>\n"});
  const auto named = tool_grammar(kTools, "clock", true, hermes);
  EXPECT_FALSE(
      keeps_to(named->grammar, call_form(hermes)->begin + call_text(*call_form(hermes)) + call_form(hermes)->end));
  EXPECT_THROW((void)tool_grammar(kTools, "sundial", true, hermes), Error);
  // Nothing marks such a call, so that a grammar could only require it.
  EXPECT_FALSE(tool_grammar(kTools, "auto", true, chat::OutputFormat::Llama3));
  EXPECT_TRUE(tool_grammar(kTools, "required", true, chat::OutputFormat::Llama3));
  EXPECT_FALSE(tool_grammar(kTools, "auto", true, chat::OutputFormat::Harmony));
  EXPECT_THROW((void)tool_grammar(kTools, "required", true, chat::OutputFormat::Harmony), Error);
}

}  // namespace
}  // namespace loadline::talk

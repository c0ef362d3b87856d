// Any text as a model's answer, in every format: the result does not depend on how the text is cut, and what the events
// add up to is the answer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "chat/output_parser.h"

namespace {

using namespace loadline;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string shown(const chat::Answer& answer) {
  std::string out = answer.content + "\n--\n" + answer.reasoning;
  for (const chat::ToolCall& call : answer.calls) out += "\n--\n" + call.name + call.arguments + call.id;
  return out;
}

// What the prompt may have ended with.
constexpr std::string_view kPromptEnds[] = {
    "", "<think>\n", ">>>", "<|start|>assistant", "<|start|>assistant<|channel|>analysis<|message|>", "[THINK]"};

std::string parsed(chat::OutputFormat format, const chat::Tools& tools, std::string_view prompt_end,
                   std::string_view text, std::size_t piece) {
  chat::OutputParser parser(format, tools, prompt_end);
  std::vector<chat::OutputEvent> events;
  for (std::size_t at = 0; at < text.size(); at += piece) parser.push(text.substr(at, piece), events);
  parser.finish(events);
  std::string content;
  for (const chat::OutputEvent& event : events) {
    if (event.kind == chat::OutputEvent::Kind::Content) content += event.text;
  }
  require(content == parser.answer().content);
  return shown(parser.answer());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const chat::Tools kTools(
      R"([{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}, "g"])");
  if (size < 2) return 0;
  const int formats = static_cast<int>(chat::OutputFormat::XmlInvoke) + 1;
  const auto format = static_cast<chat::OutputFormat>(data[0] % formats);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string_view prompt_end = kPromptEnds[data[1] / 32 % std::size(kPromptEnds)];
  const std::string whole = parsed(format, kTools, prompt_end, text, text.size() + 1);
  require(parsed(format, kTools, prompt_end, text, 1) == whole);
  require(parsed(format, kTools, prompt_end, text, 1 + data[1] % 32) == whole);
  return 0;
}

// In which way a model writes reasoning and tool calls: a name for each way, found from the template.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace loadline::chat {

enum class OutputFormat : std::uint8_t {
  ReasoningOnly,  // no calls
  GenericJson,    // a bare object or array
  CommandR,
  DeepSeek,      // V3 to V3.1
  DeepSeekDsml,  // V3.2 and later
  FunctionTag,   // <function=name>{...}: functionary 3.1
  FunctionaryRecipients,
  Gemma3,
  Gemma4,
  Glm,
  Harmony,
  Granite,
  Hermes,
  JsonList,
  Kimi,
  Llama3,
  Llama4Pythonic,
  Mistral,
  Olmo,
  Phi4,
  Pythonic,
  QwenCoder,
  Solar,
  XmlInvoke,
};

// "hermes", "gpt-oss", ... A name may stand for a way that others have too.
std::string_view name_of(OutputFormat format);
// Throws Error(BadInput) with the names there are.
OutputFormat output_format_named(std::string_view name);
// By the marks that a template writes, where it knows tools; GenericJson where it shows none, as models that are told
// of tools answer in JSON.
OutputFormat output_format_of(std::string_view template_source);

// Where reasoning begins and ends.
struct ReasoningMarks {
  std::string_view open;
  std::string_view close;
};
// All that are known.
const std::vector<ReasoningMarks>& reasoning_marks();

}  // namespace loadline::chat

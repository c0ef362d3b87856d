#include "chat/output_format.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace loadline::chat {
namespace {

constexpr std::array<std::pair<std::string_view, OutputFormat>, 28> kNames = {{
    {"reasoning-only", OutputFormat::ReasoningOnly},
    {"generic-json", OutputFormat::GenericJson},
    {"command-r", OutputFormat::CommandR},
    {"deepseek-v3", OutputFormat::DeepSeek},
    {"deepseek-v3.1", OutputFormat::DeepSeek},
    {"deepseek-v3.2", OutputFormat::DeepSeekDsml},
    {"functionary-v3.1", OutputFormat::FunctionTag},
    {"functionary-v3.2", OutputFormat::FunctionaryRecipients},
    {"gemma-3-pythonic", OutputFormat::Gemma3},
    {"gemma-4", OutputFormat::Gemma4},
    {"glm-4.5", OutputFormat::Glm},
    {"gpt-oss", OutputFormat::Harmony},
    {"granite", OutputFormat::Granite},
    {"hermes", OutputFormat::Hermes},
    {"json-list", OutputFormat::JsonList},
    {"kimi-k2", OutputFormat::Kimi},
    {"llama-3.1", OutputFormat::Llama3},
    {"llama-4-pythonic", OutputFormat::Llama4Pythonic},
    {"mistral", OutputFormat::Mistral},
    {"olmo-3", OutputFormat::Olmo},
    {"phi-4", OutputFormat::Phi4},
    {"pythonic", OutputFormat::Pythonic},
    {"qwen3-coder", OutputFormat::QwenCoder},
    {"solar", OutputFormat::Solar},
    {"xml-invoke", OutputFormat::XmlInvoke},
    {"none", OutputFormat::ReasoningOnly},
    {"harmony", OutputFormat::Harmony},
    {"qwen2.5", OutputFormat::Hermes},
}};

}  // namespace

std::string_view name_of(OutputFormat format) {
  for (const auto& [name, known] : kNames) {
    if (known == format) return name;
  }
  return "generic-json";
}

OutputFormat output_format_named(std::string_view name) {
  std::string names;
  for (const auto& [known, format] : kNames) {
    if (known == name) return format;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", known);
  }
  throw bad_input(fmt::format("there is no format of tool calls \"{}\"", printable(name)),
                  fmt::format("There are: {}.", names));
}

OutputFormat output_format_of(std::string_view source) {
  const auto has = [&](std::string_view mark) { return source.find(mark) != std::string_view::npos; };
  if (has("<|channel|>") && has("<|message|>")) return OutputFormat::Harmony;
  if (has("｜DSML｜")) return OutputFormat::DeepSeekDsml;
  if (has("<｜tool▁calls▁begin｜>") || has("<｜tool▁call▁begin｜>")) return OutputFormat::DeepSeek;
  if (has("<|tool_calls_section_begin|>")) return OutputFormat::Kimi;
  if (has("<|tool_call:begin|>")) return OutputFormat::Solar;
  if (has("<arg_key>")) return OutputFormat::Glm;
  if (has("<invoke name=")) return OutputFormat::XmlInvoke;
  if (has("<function=") && has("<parameter=")) return OutputFormat::QwenCoder;
  if (has(">>>all") || has(">>>' +") || has("recipient = \"all\"") || has("'>>>'")) {
    return OutputFormat::FunctionaryRecipients;
  }
  if (has("<function=")) return OutputFormat::FunctionTag;
  if (has("[TOOL_CALLS]")) return OutputFormat::Mistral;
  if (has("<|tool_call_start|>")) return OutputFormat::Pythonic;
  if (has("<|tool_call>")) return OutputFormat::Gemma4;
  if (has("<|START_ACTION|>") || has("Action:")) return OutputFormat::CommandR;
  if (has("<TOOLCALL>") || has("<|tools_prefix|>")) return OutputFormat::JsonList;
  if (has("functools")) return OutputFormat::Phi4;
  if (has("<|tool_call|>")) return OutputFormat::Granite;
  if (has("<function_calls>")) return OutputFormat::Olmo;
  if (has("<tool_call>")) return OutputFormat::Hermes;
  if (has("<|python_start|>") || has("[func_name1(")) return OutputFormat::Llama4Pythonic;
  if (has("<|python_tag|>") || has("\"parameters\": dictionary")) return OutputFormat::Llama3;
  if (has("tool_code")) return OutputFormat::Gemma3;
  return OutputFormat::GenericJson;
}

const std::vector<ReasoningMarks>& reasoning_marks() {
  static const std::vector<ReasoningMarks> kMarks = {
      {"<think>", "</think>"},
      {"<thinking>", "</thinking>"},
      {"<thought>", "</thought>"},
      {"<reasoning>", "</reasoning>"},
      {"<seed:think>", "</seed:think>"},
      {"<mm:think>", "</mm:think>"},
      {"[THINK]", "[/THINK]"},
      {"<|START_THINKING|>", "<|END_THINKING|>"},
      {"<|inner_prefix|>", "<|inner_suffix|>"},
      {"<|begin_of_thought|>", "<|end_of_thought|>"},
      {"<|channel>thought", "<channel|>"},
      {"<|think|>", "<|end|>"},
      {"<unused94>thought", "<unused95>"},
  };
  return kMarks;
}

}  // namespace loadline::chat

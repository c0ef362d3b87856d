#include "talk/call_forms.h"

#include <fmt/format.h>

#include <vector>

#include "base/error.h"

namespace loadline::talk {
namespace {

using chat::OutputFormat;
using grammar::ToolCallForm;

constexpr std::string_view kNameKey = "{\"name\": \"";
constexpr std::string_view kArgumentsKey = "\", \"arguments\": ";

// {"name": ..., "arguments": ...} between marks, one call after the other.
ToolCallForm json_form(std::string begin, std::string between, std::string end,
                       std::string_view arguments = kArgumentsKey) {
  ToolCallForm form;
  form.begin = std::move(begin);
  form.before_name = kNameKey;
  form.after_name = arguments;
  form.after_arguments = "}";
  form.between = std::move(between);
  form.end = std::move(end);
  return form;
}

}  // namespace

std::optional<ToolCallForm> call_form(OutputFormat format) {
  switch (format) {
    case OutputFormat::Hermes: return json_form("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>");
    case OutputFormat::GenericJson: return json_form("", "", "");
    case OutputFormat::Llama3: return json_form("", "", "", "\", \"parameters\": ");
    case OutputFormat::Mistral: return json_form("[TOOL_CALLS][", ", ", "]");
    case OutputFormat::Granite: return json_form("<|tool_call|>[", ", ", "]");
    case OutputFormat::JsonList: return json_form("<TOOLCALL>[", ", ", "]</TOOLCALL>");
    case OutputFormat::Phi4: return json_form("functools[", ", ", "]");
    case OutputFormat::CommandR:
      return ToolCallForm{.begin = "<|START_ACTION|>[",
                          .before_name = "{\"tool_name\": \"",
                          .after_name = "\", \"parameters\": ",
                          .after_arguments = "}",
                          .between = ", ",
                          .end = "]<|END_ACTION|>"};
    case OutputFormat::FunctionTag:
      return ToolCallForm{.begin = "",
                          .before_name = "<function=",
                          .after_name = ">",
                          .after_arguments = "</function>",
                          .between = "\n",
                          .end = ""};
    case OutputFormat::QwenCoder:
      return ToolCallForm{.begin = "<tool_call>\n",
                          .before_name = "<function=",
                          .after_name = ">\n",
                          .after_arguments = "</function>",
                          .between = "\n</tool_call>\n<tool_call>\n",
                          .end = "\n</tool_call>",
                          .tagged = true,
                          .before_key = "<parameter=",
                          .after_key = ">\n",
                          .after_value = "\n</parameter>\n"};
    case OutputFormat::Glm:
      return ToolCallForm{.begin = "<tool_call>",
                          .before_name = "",
                          .after_name = "\n",
                          .after_arguments = "",
                          .between = "</tool_call>\n<tool_call>",
                          .end = "</tool_call>",
                          .tagged = true,
                          .before_key = "<arg_key>",
                          .after_key = "</arg_key>\n<arg_value>",
                          .after_value = "</arg_value>\n"};
    case OutputFormat::XmlInvoke:
      return ToolCallForm{.begin = "<minimax:tool_call>\n",
                          .before_name = "<invoke name=\"",
                          .after_name = "\">\n",
                          .after_arguments = "</invoke>\n",
                          .between = "",
                          .end = "</minimax:tool_call>",
                          .tagged = true,
                          .before_key = "<parameter name=\"",
                          .after_key = "\">",
                          .after_value = "</parameter>\n"};
    case OutputFormat::DeepSeek:
      return ToolCallForm{.begin = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
                          .before_name = "",
                          .after_name = "<｜tool▁sep｜>",
                          .after_arguments = "",
                          .between = "<｜tool▁call▁end｜><｜tool▁call▁begin｜>",
                          .end = "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"};
    default: return std::nullopt;
  }
}

std::string marks_of(OutputFormat format) {
  const auto form = call_form(format);
  if (!form) return {};
  std::string out;
  for (const std::string* part :
       {&form->begin, &form->before_name, &form->after_name, &form->after_arguments, &form->between, &form->end,
        &form->before_key, &form->after_key, &form->after_value}) {
    out += *part;
    out += '\0';  // in no token's text
  }
  return out;
}

std::optional<grammar::ToolGrammar> tool_grammar(std::string_view tools, std::string_view choice, bool parallel,
                                                 OutputFormat format) {
  if (tools.empty() || choice == "none") return std::nullopt;
  std::vector<grammar::Tool> offered;
  const grammar::Json list = grammar::parse_json(tools, "the list of tools");
  if (!list.is_array()) throw bad_input("the tools are no JSON array");
  for (const grammar::Json& entry : list) {
    const bool wrapped = entry.is_object() && entry.contains("function");
    const grammar::Json& tool = wrapped ? entry["function"] : entry;
    if (!tool.is_object() || !tool.contains("name") || !tool["name"].is_string()) throw bad_input("a tool has no name");
    offered.push_back(
        {tool["name"].get<std::string>(), tool.contains("parameters") ? tool["parameters"] : grammar::Json()});
  }
  grammar::ToolRequest request;
  request.tools = offered;
  request.parallel = parallel;
  request.choice = choice == "auto" || choice.empty() ? grammar::ToolChoice::Auto
                   : choice == "required"             ? grammar::ToolChoice::Required
                                                      : grammar::ToolChoice::Named;
  if (request.choice == grammar::ToolChoice::Named) request.name = choice;
  const auto form = call_form(format);
  // Without marks a call cannot be told from an answer before it is complete.
  const bool lazy = request.choice == grammar::ToolChoice::Auto;
  if (lazy && (!form || (form->begin.empty() && form->before_name.starts_with('{')))) return std::nullopt;
  if (!form) {
    throw bad_input(
        fmt::format("a call cannot be required of this model: it writes calls as {} does", chat::name_of(format)),
        "Leave the choice to the model.");
  }
  return grammar::tool_grammar(request, *form);
}

}  // namespace loadline::talk

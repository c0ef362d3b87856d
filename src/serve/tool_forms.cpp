#include "serve/tool_forms.h"

namespace loadline::serve {
namespace {

// {"name": NAME, "arguments": ARGUMENTS}, one or an array of them.
grammar::ToolCallForm json_form(std::string begin, std::string between, std::string end,
                                std::string_view arguments = "arguments") {
  grammar::ToolCallForm form;
  form.begin = std::move(begin);
  form.before_name = "{\"name\": \"";
  form.after_name = "\", \"" + std::string(arguments) + "\": ";
  form.after_arguments = "}";
  form.between = std::move(between);
  form.end = std::move(end);
  return form;
}

}  // namespace

std::optional<ToolForm> tool_form(chat::OutputFormat format) {
  using chat::OutputFormat;
  switch (format) {
    case OutputFormat::GenericJson: return ToolForm{"", json_form("", "", "")};
    case OutputFormat::Hermes:
      return ToolForm{"", json_form("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")};
    case OutputFormat::Llama3: return ToolForm{"", json_form("", "", "", "parameters")};
    case OutputFormat::Mistral: return ToolForm{"[TOOL_CALLS]", json_form("[", ", ", "]")};
    case OutputFormat::Granite: return ToolForm{"<|tool_call|>", json_form("[", ", ", "]")};
    case OutputFormat::JsonList: return ToolForm{"<TOOLCALL>", json_form("[", ", ", "]</TOOLCALL>")};
    case OutputFormat::Phi4: return ToolForm{"functools", json_form("[", ", ", "]")};
    case OutputFormat::QwenCoder: {
      grammar::ToolCallForm form;
      form.begin = "<tool_call>\n";
      form.before_name = "<function=";
      form.after_name = ">\n";
      form.tagged = true;
      form.before_key = "<parameter=";
      form.after_key = ">\n";
      form.after_value = "\n</parameter>\n";
      form.after_arguments = "</function>";
      form.between = "\n</tool_call>\n<tool_call>\n";
      form.end = "\n</tool_call>";
      return ToolForm{"", form};
    }
    default: return std::nullopt;
  }
}

}  // namespace loadline::serve

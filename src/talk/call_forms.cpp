#include "talk/call_forms.h"

#include <fmt/format.h>

#include <vector>

#include "base/error.h"
#include "chat/tools.h"

namespace loadline::talk {
namespace {

using chat::OutputFormat;
using grammar::MemberStyle;
using grammar::ToolCallForm;
using grammar::ValueStyle;

// {"name": ..., "arguments": ...} between marks.
ToolCallForm json_form(std::string begin, std::optional<std::string> between, std::string end,
                       std::string_view name = "name", std::string_view arguments = "arguments") {
  ToolCallForm form;
  form.begin = std::move(begin);
  form.before_name = fmt::format("{{\"{}\": \"", name);
  form.after_name = fmt::format("\", \"{}\": ", arguments);
  form.after_arguments = "}";
  form.between = std::move(between);
  form.end = std::move(end);
  form.marked = !form.begin.empty();
  return form;
}

// <function=NAME><parameter=KEY>VALUE</parameter></function>, in a tag of its own; `line` is what stands round values.
ToolCallForm function_tags(const std::string& tag, const std::string& line) {
  ToolCallForm form;
  form.begin = fmt::format("<{}>\n", tag);
  form.before_name = "<function=";
  form.after_name = ">\n";
  form.after_arguments = "</function>";
  form.between = fmt::format("\n</{}>\n<{}>\n", tag, tag);
  form.end = fmt::format("\n</{}>", tag);
  form.members = MemberStyle{.before_name = "<parameter=",
                             .after_name = ">" + line,
                             .after_value = line + "</parameter>\n",
                             .value_end = "</parameter>"};
  return form;
}

// <invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke> in a section. `sign` begins all tags' names.
ToolCallForm invoke_tags(const std::string& section, const std::string& sign) {
  ToolCallForm form;
  form.begin = fmt::format("<{}>\n", section);
  form.before_name = fmt::format("<{}invoke name=\"", sign);
  form.after_name = "\">\n";
  form.after_arguments = fmt::format("</{}invoke>\n", sign);
  form.between = "";
  form.end = fmt::format("</{}>", section);
  form.members = MemberStyle{.before_name = fmt::format("<{}parameter name=\"", sign),
                             .after_name = "\">",
                             .after_value = fmt::format("</{}parameter>\n", sign),
                             .value_end = fmt::format("</{}parameter>", sign)};
  return form;
}

// name(key=value, ...), as Python writes it.
ToolCallForm python_form(std::string begin, std::string between, std::string end) {
  ToolCallForm form;
  form.begin = std::move(begin);
  form.after_name = "(";
  form.after_arguments = ")";
  form.between = std::move(between);
  form.end = std::move(end);
  form.values = ValueStyle{.null_word = "None", .true_word = "True", .false_word = "False"};
  form.members = MemberStyle{.after_name = "=", .commas = true};
  return form;
}

// Marks round a name and its arguments.
ToolCallForm section_form(std::string begin, std::string before_name, std::string after_name,
                          std::string after_arguments, std::optional<std::string> between, std::string end) {
  ToolCallForm form;
  form.begin = std::move(begin);
  form.before_name = std::move(before_name);
  form.after_name = std::move(after_name);
  form.after_arguments = std::move(after_arguments);
  form.between = std::move(between);
  form.end = std::move(end);
  return form;
}

ToolCallForm glm_form() {
  ToolCallForm form = section_form("<tool_call>", "", "\n", "", "</tool_call>\n<tool_call>", "</tool_call>");
  form.members = MemberStyle{.before_name = "<arg_key>",
                             .after_name = "</arg_key>\n<arg_value>",
                             .after_value = "</arg_value>\n",
                             .value_end = "</arg_value>"};
  return form;
}

// A message for each call: there is one in an answer, behind a message of thought.
ToolCallForm harmony_form() {
  ToolCallForm form =
      section_form("<|channel|>commentary to=functions.", "", " <|constrain|>json<|message|>", "", std::nullopt, "");
  form.thought_open = "<|channel|>analysis<|message|>";
  form.thought_close = "<|end|><|start|>assistant";
  // A message ends at the first of these, even in a string.
  form.values.never = {"<|end|>", "<|call|>", "<|return|>", "<|start|>"};
  return form;
}

ToolCallForm kimi_form() {
  ToolCallForm form =
      section_form("<|tool_calls_section_begin|>", "<|tool_call_begin|>functions.", "<|tool_call_argument_begin|>",
                   "<|tool_call_end|>", "", "<|tool_calls_section_end|>");
  form.id = ToolCallForm::Id::Number;
  form.id_mark = ":";
  return form;
}

ToolCallForm solar_form() {
  ToolCallForm form =
      section_form("<|tool_calls|>", "<|tool_call:begin|>", "<|tool_call:args|>", "<|tool_call:end|>", "", "");
  form.id = ToolCallForm::Id::Letters;
  form.id_mark = "<|tool_call:name|>";
  form.thought_open = "<|think|>";
  form.thought_close = "<|end|><|begin|>assistant";
  return form;
}

ToolCallForm gemma4_form() {
  ToolCallForm form = section_form("<|tool_call>call:", "", "", "<tool_call|>", "<|tool_call>call:", "");
  form.values.quote = "<|\"|>";
  return form;
}

ToolCallForm deepseek_form(bool fenced) {
  const std::string begin = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>";
  const std::string between = "<｜tool▁call▁end｜><｜tool▁call▁begin｜>";
  const std::string end = "<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  if (!fenced) return section_form(begin, "", "<｜tool▁sep｜>", "", between, end);
  return section_form(begin, "function<｜tool▁sep｜>", "\n```json\n", "\n```", between, end);
}

ToolCallForm command_form(bool tagged) {
  return tagged ? json_form("<|START_ACTION|>[", ", ", "]<|END_ACTION|>", "tool_name", "parameters")
                : json_form("Action: ```json\n[", ", ", "]\n```", "tool_name", "parameters");
}

}  // namespace

std::optional<ToolCallForm> call_form(OutputFormat format, std::string_view source) {
  const auto has = [&](std::string_view mark) { return source.find(mark) != std::string_view::npos; };
  switch (format) {
    case OutputFormat::Hermes: return json_form("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>");
    case OutputFormat::GenericJson: return json_form("", std::nullopt, "");
    case OutputFormat::Llama3: return json_form("", std::nullopt, "", "name", "parameters");
    case OutputFormat::Mistral:
      return has("[ARGS]") ? section_form("", "[TOOL_CALLS]", "[ARGS]", "", "", "")
                           : json_form("[TOOL_CALLS][", ", ", "]");
    case OutputFormat::Granite: return json_form("<|tool_call|>[", ", ", "]");
    case OutputFormat::JsonList: {
      if (has("<TOOLCALL>") || !has("<|tools_prefix|>")) return json_form("<TOOLCALL>[", ", ", "]</TOOLCALL>");
      return section_form("<|tools_prefix|>[", "{\"", "\": ", "}", ", ", "]<|tools_suffix|>");
    }
    case OutputFormat::Phi4:
      return has("<|tool_call|>") && !has("functools") ? json_form("<|tool_call|>[", ", ", "]<|/tool_call|>")
                                                       : json_form("functools[", ", ", "]");
    case OutputFormat::CommandR: return command_form(source.empty() || has("<|START_ACTION|>"));
    case OutputFormat::FunctionTag: return section_form("", "<function=", ">", "</function>", "\n", "");
    case OutputFormat::FunctionaryRecipients: {
      ToolCallForm form = section_form("", "", "\n", "", ">>>", "");
      form.marked = false;  // the prompt has the mark
      return form;
    }
    case OutputFormat::QwenCoder:
      return has("<seed:tool_call>") ? function_tags("seed:tool_call", "") : function_tags("tool_call", "\n");
    case OutputFormat::Glm: return glm_form();
    case OutputFormat::XmlInvoke:
      return has("<function_calls>") && !has("<minimax:tool_call>") ? invoke_tags("function_calls", "")
                                                                    : invoke_tags("minimax:tool_call", "");
    case OutputFormat::DeepSeek: return deepseek_form(has("```json"));
    case OutputFormat::DeepSeekDsml: {
      ToolCallForm form =
          invoke_tags(has("function_calls") ? "｜DSML｜function_calls" : "｜DSML｜tool_calls", "｜DSML｜");
      form.members->after_name = "\" string=\"true\">";
      form.members->after_name_other = "\" string=\"false\">";
      return form;
    }
    case OutputFormat::Harmony: return harmony_form();
    case OutputFormat::Kimi: return kimi_form();
    case OutputFormat::Solar: return solar_form();
    case OutputFormat::Gemma4: return gemma4_form();
    case OutputFormat::Gemma3: return python_form("```tool_code\n", "\n", "\n```");
    case OutputFormat::Olmo: return python_form("<function_calls>\n", "\n", "\n</function_calls>");
    case OutputFormat::Pythonic: return python_form("<|tool_call_start|>[", ", ", "]<|tool_call_end|>");
    case OutputFormat::Llama4Pythonic: {
      ToolCallForm form = python_form("[", ", ", "]");
      form.marked = false;
      return form;
    }
    case OutputFormat::ReasoningOnly: return std::nullopt;
  }
  return std::nullopt;
}

std::string marks_of(OutputFormat format, std::string_view source) {
  const auto form = call_form(format, source);
  if (!form) return {};
  std::string out;
  const auto add = [&](std::string_view part) {
    out += part;
    out += '\0';  // in no token's text
  };
  for (const std::string* part :
       {&form->begin, &form->before_name, &form->after_name, &form->after_arguments, &form->end, &form->id_mark,
        &form->thought_open, &form->thought_close, &form->values.quote}) {
    add(*part);
  }
  if (form->between) add(*form->between);
  if (form->members) {
    for (const std::string* part : {&form->members->before_name, &form->members->after_name,
                                    &form->members->after_name_other, &form->members->after_value}) {
      add(*part);
    }
  }
  return out;
}

namespace {

// What chat's readers take a parameter's text for.
grammar::ReadAs read_as(chat::TypeSet types) {
  const auto allows = [&](std::uint8_t type) { return (types.types & type) != 0; };
  return {.number = allows(chat::TypeSet::kNumber),
          .boolean = allows(chat::TypeSet::kBoolean),
          .null = allows(chat::TypeSet::kNull),
          .container = allows(chat::TypeSet::kArray) || allows(chat::TypeSet::kObject)};
}

std::vector<grammar::Tool> offered_in(std::string_view tools, const chat::Tools& read) {
  std::vector<grammar::Tool> offered;
  const grammar::Json list = grammar::parse_json(tools, "the list of tools");
  if (!list.is_array()) throw bad_input("the tools are no JSON array");
  for (const grammar::Json& entry : list) {
    const bool wrapped = entry.is_object() && entry.contains("function");
    const grammar::Json& tool = wrapped ? entry["function"] : entry;
    if (!tool.is_object() || !tool.contains("name") || !tool["name"].is_string()) throw bad_input("a tool has no name");
    const auto& name = tool["name"].get_ref<const std::string&>();
    offered.push_back({name, tool.contains("parameters") ? tool["parameters"] : grammar::Json(),
                       [&read, name](std::string_view parameter) { return read_as(read.type_of(name, parameter)); }});
  }
  return offered;
}

}  // namespace

std::optional<grammar::ToolGrammar> tool_grammar(std::string_view tools, std::string_view choice, bool parallel,
                                                 OutputFormat format, std::string_view source) {
  if (tools.empty() || choice == "none") return std::nullopt;
  const chat::Tools read(tools);
  const std::vector<grammar::Tool> offered = offered_in(tools, read);
  grammar::ToolRequest request;
  request.tools = offered;
  request.parallel = parallel;
  request.choice = choice == "auto" || choice.empty() ? grammar::ToolChoice::Auto
                   : choice == "required"             ? grammar::ToolChoice::Required
                                                      : grammar::ToolChoice::Named;
  if (request.choice == grammar::ToolChoice::Named) request.name = choice;
  const auto form = call_form(format, source);
  // Without marks a call cannot be told from an answer before it is complete.
  if (request.choice == grammar::ToolChoice::Auto && (!form || !form->marked)) return std::nullopt;
  if (!form) {
    throw bad_input(
        fmt::format("a call cannot be required of this model: it writes calls as {} does", chat::name_of(format)),
        "Leave the choice to the model.");
  }
  return grammar::tool_grammar(request, *form);
}

}  // namespace loadline::talk

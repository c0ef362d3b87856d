#include "chat/call_openers.h"

#include "chat/json_scan.h"
#include "chat/reading_tools.h"

namespace loadline::chat {
namespace {

Reading hermes(std::string_view text, const ReadContext& context) {
  const std::string_view closers[] = {"</tool_call>"};
  return read_json_calls(text, "<tool_call>", closers, context);
}

Reading bare_json(std::string_view text, const ReadContext& context) { return read_json_calls(text, "", {}, context); }

Reading bare_python(std::string_view text, const ReadContext& context) {
  return read_python_calls(text, "", "", context);
}

template <const char* kOpen, const char* kClose>
Reading marked_json(std::string_view text, const ReadContext& context) {
  const std::string_view closers[] = {kClose};
  return read_json_calls(text, kOpen, closers, context);
}

template <const char* kOpen, const char* kClose>
Reading marked_python(std::string_view text, const ReadContext& context) {
  return read_python_calls(text, kOpen, kClose, context);
}

// In Python's words, or in JSON where a system message asked for that.
template <const char* kOpen, const char* kClose>
Reading marked_either(std::string_view text, const ReadContext& context) {
  std::size_t at = skip_json_blanks(text, std::string_view(kOpen).size());
  if (at < text.size() && text[at] == '[') at = skip_json_blanks(text, at + 1);
  if (at >= text.size()) return unfinished({}, context);
  return text[at] == '{' ? marked_json<kOpen, kClose>(text, context) : marked_python<kOpen, kClose>(text, context);
}

constexpr char kToolCallBar[] = "<|tool_call|>";
constexpr char kToolCallBarEnd[] = "<|/tool_call|>";
constexpr char kFunctools[] = "functools";
constexpr char kNothing[] = "<|/functools|>";
constexpr char kToolcall[] = "<TOOLCALL>";
constexpr char kToolcallEnd[] = "</TOOLCALL>";
constexpr char kPrefix[] = "<|tools_prefix|>";
constexpr char kSuffix[] = "<|tools_suffix|>";
constexpr char kStartAction[] = "<|START_ACTION|>";
constexpr char kEndAction[] = "<|END_ACTION|>";
constexpr char kCallStart[] = "<|tool_call_start|>";
constexpr char kCallEnd[] = "<|tool_call_end|>";
constexpr char kPythonStart[] = "<|python_start|>";
constexpr char kPythonEnd[] = "<|python_end|>";
constexpr char kToolCode[] = "```tool_code";
constexpr char kFence[] = "```";
constexpr char kFunctionCalls[] = "<function_calls>";
constexpr char kFunctionCallsEnd[] = "</function_calls>";

constexpr TagStyle kQwenTags = {"<tool_call>", "</tool_call>", "<function=", ">",
                                "</function>", "<parameter=",  ">",          "</parameter>"};
constexpr TagStyle kSeedTags = {"<seed:tool_call>", "</seed:tool_call>", "<function=", ">",
                                "</function>",      "<parameter=",       ">",          "</parameter>"};
constexpr TagStyle kMiniMaxTags = {
    "<minimax:tool_call>", "</minimax:tool_call>", "<invoke name=\"", "\">", "</invoke>", "<parameter name=\"", "\">",
    "</parameter>"};
constexpr TagStyle kInvokeTags = {
    "<function_calls>", "</function_calls>", "<invoke name=\"", "\">", "</invoke>", "<parameter name=\"", "\">",
    "</parameter>"};
constexpr TagStyle kDsmlTags = {"<｜DSML｜function_calls>",
                                "</｜DSML｜function_calls>",
                                "<｜DSML｜invoke name=\"",
                                "\">",
                                "</｜DSML｜invoke>",
                                "<｜DSML｜parameter name=\"",
                                ">",
                                "</｜DSML｜parameter>",
                                true};
constexpr TagStyle kDsmlToolTags = {"<｜DSML｜tool_calls>",
                                    "</｜DSML｜tool_calls>",
                                    "<｜DSML｜invoke name=\"",
                                    "\">",
                                    "</｜DSML｜invoke>",
                                    "<｜DSML｜parameter name=\"",
                                    ">",
                                    "</｜DSML｜parameter>",
                                    true};

template <const TagStyle& kStyle>
Reading tagged(std::string_view text, const ReadContext& context) {
  return read_tagged_calls(text, kStyle, context);
}

constexpr SectionStyle kDeepSeek = {"<｜tool▁calls▁begin｜>",
                                    "<｜tool▁calls▁end｜>",
                                    "<｜tool▁call▁begin｜>",
                                    "",
                                    "<｜tool▁sep｜>",
                                    "<｜tool▁call▁end｜>",
                                    false,
                                    true};
constexpr SectionStyle kKimi = {"<|tool_calls_section_begin|>",
                                "<|tool_calls_section_end|>",
                                "<|tool_call_begin|>",
                                "",
                                "<|tool_call_argument_begin|>",
                                "<|tool_call_end|>",
                                true,
                                false};
constexpr SectionStyle kSolar = {"<|tool_calls|>",
                                 "",
                                 "<|tool_call:begin|>",
                                 "<|tool_call:name|>",
                                 "<|tool_call:args|>",
                                 "<|tool_call:end|>",
                                 false,
                                 false};

template <const SectionStyle& kStyle>
Reading section(std::string_view text, const ReadContext& context) {
  return read_section(text, kStyle, context);
}

}  // namespace

CallOpeners call_openers(OutputFormat format) {
  CallOpeners out;
  switch (format) {
    case OutputFormat::ReasoningOnly:
    case OutputFormat::Harmony:
    case OutputFormat::FunctionaryRecipients: break;
    case OutputFormat::GenericJson:
      out.openers = {{"```json", read_fenced_json}};
      out.bare = bare_json;
      break;
    case OutputFormat::CommandR:
      out.openers = {{"<|START_ACTION|>", marked_json<kStartAction, kEndAction>},
                     {"Action:", read_action},
                     {"<|START_RESPONSE|>", nullptr},
                     {"<|END_RESPONSE|>", nullptr},
                     {"<|START_TEXT|>", nullptr},
                     {"<|END_TEXT|>", nullptr}};
      break;
    case OutputFormat::DeepSeek:
      out.openers = {{"<｜tool▁calls▁begin｜>", section<kDeepSeek>}, {"<｜tool▁call▁begin｜>", section<kDeepSeek>}};
      break;
    case OutputFormat::DeepSeekDsml:
      out.openers = {{"<｜DSML｜function_calls>", tagged<kDsmlTags>}, {"<｜DSML｜tool_calls>", tagged<kDsmlToolTags>}};
      break;
    case OutputFormat::FunctionTag:
      out.openers = {{"<function=", read_function_tag}, {"<|python_tag|>", read_python_tag}};
      break;
    case OutputFormat::Gemma3:
      out.openers = {{"```tool_code", marked_python<kToolCode, kFence>}};
      out.bare = bare_python;
      break;
    case OutputFormat::Gemma4: out.openers = {{"<|tool_call>", read_gemma_call}}; break;
    case OutputFormat::Glm: out.openers = {{"<tool_call>", read_glm_call}}; break;
    case OutputFormat::Granite:
      out.openers = {{"<|tool_call|>", marked_json<kToolCallBar, kToolCallBarEnd>},
                     {"<tool_call>", hermes},
                     {"<response>", nullptr},
                     {"</response>", nullptr}};
      break;
    case OutputFormat::Hermes: out.openers = {{"<tool_call>", hermes}}; break;
    case OutputFormat::JsonList:
      out.openers = {{"<TOOLCALL>", marked_json<kToolcall, kToolcallEnd>},
                     {"<|tools_prefix|>", marked_json<kPrefix, kSuffix>}};
      break;
    case OutputFormat::Kimi:
      out.openers = {{"<|tool_calls_section_begin|>", section<kKimi>}, {"<|tool_call_begin|>", section<kKimi>}};
      break;
    case OutputFormat::Llama3:
      out.openers = {{"<|python_tag|>", read_python_tag}, {"<function=", read_function_tag}};
      out.bare = bare_json;
      break;
    case OutputFormat::Llama4Pythonic:
      out.openers = {{"<|python_start|>", marked_python<kPythonStart, kPythonEnd>}};
      out.bare = bare_python;
      break;
    case OutputFormat::Mistral: out.openers = {{"[TOOL_CALLS]", read_mistral_calls}}; break;
    case OutputFormat::Olmo:
      out.openers = {{"<function_calls>", marked_python<kFunctionCalls, kFunctionCallsEnd>}};
      break;
    case OutputFormat::Phi4:
      out.openers = {{"functools", marked_json<kFunctools, kNothing>},
                     {"<|tool_call|>", marked_json<kToolCallBar, kToolCallBarEnd>}};
      break;
    case OutputFormat::Pythonic:
      out.openers = {{"<|tool_call_start|>", marked_either<kCallStart, kCallEnd>}};
      out.bare = bare_python;
      break;
    case OutputFormat::QwenCoder:
      out.openers = {{"<tool_call>", tagged<kQwenTags>},
                     {"<seed:tool_call>", tagged<kSeedTags>},
                     {"<function=", tagged<kQwenTags>}};
      break;
    case OutputFormat::Solar:
      out.openers = {{"<|tool_calls|>", section<kSolar>},
                     {"<|tool_call:begin|>", section<kSolar>},
                     {"<|begin|>assistant", nullptr},
                     {"<|content|>", nullptr}};
      break;
    case OutputFormat::XmlInvoke:
      out.openers = {{"<minimax:tool_call>", tagged<kMiniMaxTags>},
                     {"<function_calls>", tagged<kInvokeTags>},
                     {"<invoke name=\"", tagged<kMiniMaxTags>},
                     {"<seed:tool_call>", tagged<kSeedTags>},
                     {"<tool_call>", tagged<kQwenTags>}};
      break;
  }
  return out;
}

}  // namespace loadline::chat

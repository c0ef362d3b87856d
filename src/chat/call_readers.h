// The ways in which models write tool calls: one reader for each way. A reader looks at text that begins with a call's
// mark, says whether that is a call, and how far it goes; it keeps nothing. What stands around calls is OutputParser's.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/tools.h"

namespace loadline::chat {

struct CallDraft {
  std::string name;
  std::string arguments;  // JSON; while not complete, as much of its text as is certain
  std::string id;         // as the model gave it; empty: it gave none
  bool complete = false;
};

struct Reading {
  enum class Status : std::uint8_t {
    More,    // it may be a call, and its end has not come
    Done,    // up to `end` are calls, all complete
    Reject,  // it is no call
  } status = Status::More;
  std::size_t end = 0;
  std::vector<CallDraft> calls;  // for More: those that have begun
};

struct ReadContext {
  const Tools& tools;
  bool final = false;  // no more text comes: More is not an answer
};

// Whether `text` at `at` is `mark`, or may become it.
enum class Match : std::uint8_t { Yes, Maybe, No };
Match match_at(std::string_view text, std::size_t at, std::string_view mark, bool final);

// JSON after `open`, and one of `closers` behind it, which may be left out: an object with name and arguments, or an
// array of such. `open` empty: bare JSON, which is a call only with a name that is offered and arguments.
Reading read_json_calls(std::string_view text, std::string_view open, std::span<const std::string_view> closers,
                        const ReadContext& context);

// Names and values in tags.
struct TagStyle {
  std::string_view section_open;  // may be absent
  std::string_view section_close;
  std::string_view call_open;  // the name follows
  std::string_view call_name_end;
  std::string_view call_close;
  std::string_view parameter_open;
  std::string_view parameter_name_end;
  std::string_view parameter_close;
  bool says_string = false;  // `string="true"` stands between name and end
};
Reading read_tagged_calls(std::string_view text, const TagStyle& style, const ReadContext& context);

// <tool_call>name <arg_key>..</arg_key> <arg_value>..</arg_value> </tool_call>.
Reading read_glm_call(std::string_view text, const ReadContext& context);

// name(key=value, ...) with Python's literals: in brackets, or a line each. `open` empty: begins with the bracket.
Reading read_python_calls(std::string_view text, std::string_view open, std::string_view close,
                          const ReadContext& context);

// <|tool_call>call:name{key:value,...}<tool_call|>.
Reading read_gemma_call(std::string_view text, const ReadContext& context);

// [TOOL_CALLS] with a JSON array, or with name[ARGS]{...} or name{...}.
Reading read_mistral_calls(std::string_view text, const ReadContext& context);

// <|python_tag|> with JSON, name.call(...), or code.
Reading read_python_tag(std::string_view text, const ReadContext& context);

// <function=name>{...}</function>.
Reading read_function_tag(std::string_view text, const ReadContext& context);

// A section of calls, each with marks around name and arguments.
struct SectionStyle {
  std::string_view section_open;  // may be absent
  std::string_view section_close;
  std::string_view call_open;
  std::string_view before_name;       // between id or type and name; empty: the name follows call_open
  std::string_view before_arguments;  // between name and arguments
  std::string_view call_close;
  bool id_is_name = false;  // "functions.name:0" is both
  bool fenced = false;      // name, line end and ```json may stand behind before_arguments
};
Reading read_section(std::string_view text, const SectionStyle& style, const ReadContext& context);

// `Action: ```json [...] ``` `.
Reading read_action(std::string_view text, const ReadContext& context);

// A fence of code with JSON or Python calls in it.
Reading read_fenced_json(std::string_view text, const ReadContext& context);

// The text of a parameter as JSON, by what the tool's schema says of it.
std::string typed_value(std::string_view text, TypeSet types);
// Arguments that are JSON, or nothing where they are no object. A JSON string with an object in it becomes that.
bool clean_arguments(std::string_view json, std::string& out);

}  // namespace loadline::chat

// Grammars for calls of tools: what a model that was offered tools may write so that its calls can be parsed and their
// arguments satisfy the tools' schemas. How the calls of a chat format look is told; choosing a format is chat's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/json_schema.h"

namespace loadline::grammar {

struct Tool {
  std::string name;
  Json parameters;  // a JSON schema; null: any object
};

// Calls as text: begin, then for each call before_name NAME after_name ARGUMENTS after_arguments, with `between`
// between calls, then end. For example (Hermes, Qwen):
//   begin "<tool_call>\n", before_name "{\"name\": \"", after_name "\", \"arguments\": ", after_arguments "}",
//   between "\n</tool_call>\n<tool_call>\n", end "\n</tool_call>"
struct ToolCallForm {
  std::string begin{};
  std::string before_name{};
  std::string after_name{};
  std::string after_arguments{};
  std::string between{};  // empty: only one call at a time
  std::string end{};
  // Arguments are one JSON object; or, with `tagged`, one after the other as before_key KEY after_key VALUE
  // after_value, where strings stand as they are and everything else is JSON.
  bool tagged = false;
  std::string before_key{};
  std::string after_key{};
  std::string after_value{};
};

enum class ToolChoice : std::uint8_t { None, Auto, Required, Named };

struct ToolRequest {
  std::span<const Tool> tools;
  ToolChoice choice = ToolChoice::Auto;
  std::string name;      // with ToolChoice::Named
  bool parallel = true;  // several calls in one answer, where the form has them
};

struct ToolGrammar {
  Grammar grammar;
  // Not empty: nothing is constrained until one of these was written; the grammar's text begins with it.
  std::vector<std::string> triggers;
};

// nullopt where nothing is to be constrained: no tools, or ToolChoice::None. Throws Error(BadInput) for a name that no
// tool has, and for schemas that cannot be honoured (prefixed with the tool's name).
std::optional<ToolGrammar> tool_grammar(const ToolRequest& request, const ToolCallForm& form);

}  // namespace loadline::grammar

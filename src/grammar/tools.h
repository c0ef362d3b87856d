// Grammars for calls of tools: what a model that was offered tools may write so that its calls can be parsed and their
// arguments satisfy the tools' schemas. How the calls of a chat format look is told; choosing a format is chat's.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/json_schema.h"

namespace loadline::grammar {

struct Tool {
  std::string name;
  Json parameters{};  // a JSON schema; null: the tool takes none
  // What a reader takes the text of a parameter for, where its form does not say (MemberStyle::read_as).
  std::function<ReadAs(std::string_view parameter)> read_as{};
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
  std::optional<std::string> between{};  // none: only one call at a time
  std::string end{};
  // Whether what a call begins with says that one comes, so that a call which nobody asked for can be recognised.
  bool marked = true;
  // A call's own name: ten letters and digits between before_name and id_mark; or a number between id_mark, which then
  // stands behind NAME, and after_name.
  enum class Id : std::uint8_t { None, Letters, Number } id = Id::None;
  std::string id_mark{};
  // What a model may think before a call that is required: any text between these.
  std::string thought_open{};
  std::string thought_close{};
  // How arguments are written: one value, or by their members.
  ValueStyle values{};
  std::optional<MemberStyle> members{};
};

enum class ToolChoice : std::uint8_t { None, Auto, Required, Named };

struct ToolRequest {
  std::span<const Tool> tools;
  ToolChoice choice = ToolChoice::Auto;
  std::string name{};    // with ToolChoice::Named
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

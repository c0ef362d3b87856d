// How the calls of tools look in each of the ways in which models write them, as grammars need it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chat/output_format.h"
#include "grammar/tools.h"

namespace loadline::talk {

// nullopt: no calls are written that way. Of the variants that a way has, the one that the model's template (`source`)
// shows; what was written of either is read.
std::optional<grammar::ToolCallForm> call_form(chat::OutputFormat format, std::string_view source = {});
// Everything that a call of that way has round names and arguments; empty where there is no form.
std::string marks_of(chat::OutputFormat format, std::string_view source = {});

// The grammar of calls of the tools in a JSON array (as in OpenAI's API). `choice`: "none", "auto", "required", or the
// name of a tool. nullopt where nothing is to be constrained. Throws Error(BadInput) for a tool that is not there, for
// a schema that cannot be honoured, and for a call that is required in a way for which there is no form.
std::optional<grammar::ToolGrammar> tool_grammar(std::string_view tools, std::string_view choice, bool parallel,
                                                 chat::OutputFormat format, std::string_view source = {});

}  // namespace loadline::talk

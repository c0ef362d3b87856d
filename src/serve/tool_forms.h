// How calls look in each format, for the grammar that makes a model write one.
#pragma once

#include <optional>
#include <string>

#include "chat/output_format.h"
#include "grammar/tools.h"

namespace loadline::serve {

struct ToolForm {
  std::string forced;          // is written first where a call is required: marks that are control tokens
  grammar::ToolCallForm form;  // what follows
};

// nullopt for formats that no grammar is known for.
std::optional<ToolForm> tool_form(chat::OutputFormat format);

}  // namespace loadline::serve

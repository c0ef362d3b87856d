// Options by environment, for programs that are started by others: LOADLINE_ARG_CTX_SIZE is --ctx-size.
#pragma once

#include "cli/option.h"

namespace loadline::cli {

// Sets what was not given on the command line: from LOADLINE_ARG_ and a long flag's name, in capitals with underscores;
// and from llama.cpp's variables that mean the same. Throws Error(BadInput) naming the variable.
void apply_environment(Command& command);

// Sets an option from a text that stands for itself, a switch from "on", "off" and their like. Throws Error(BadInput)
// naming `name`.
void set_from_text(Option& option, const std::string& name, std::string_view value);

}  // namespace loadline::cli

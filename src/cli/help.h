// How `--help` looks. Does not know the commands.
#pragma once

#include <string>

#include "cli/option.h"

namespace loadline::cli {

// Of the program: its commands. Of a command: its options. At most 100 columns.
std::string help_text(const Program& program);
std::string help_text(const Command& command);

}  // namespace loadline::cli

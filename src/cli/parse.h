// Reads a command's arguments by its description. Values are taken as they are, whatever they look like; flags are
// looked up whole, several letters behind one dash (-ngl) included, as other programs of this field have them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/option.h"

namespace loadline::cli {

struct Parsed {
  bool help = false;                 // -h or --help was among them; nothing else was looked at then
  std::vector<std::string> remarks;  // flags that were accepted and do nothing
};

// Sets the targets of `command`'s options from the arguments behind its name. Throws Error(BadInput), a sentence that
// names the flag, for one that is not known, a value that cannot be and a required one that is missing.
Parsed parse(Command& command, std::span<const std::string> arguments);

// Of `names`, the one most like `word`; empty where none is near.
std::string nearest(std::string_view word, std::span<const std::string> names);

}  // namespace loadline::cli

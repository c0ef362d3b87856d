// What is said on the command line in place of a model's metadata.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gguf/value.h"

namespace loadline::cli {

struct MetadataOverride {
  std::string key;
  gguf::Value value;
};

// KEY=TYPE:VALUE, one or several with commas between them; TYPE is int, float, bool or str, as llama.cpp has it. Throws
// Error(BadInput) that quotes what is wrong.
std::vector<MetadataOverride> parse_overrides(std::string_view text);

// A finite number above zero. Throws Error(BadInput) naming `flag`.
double positive_number(std::string_view flag, std::string_view text);

}  // namespace loadline::cli

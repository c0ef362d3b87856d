// Text read from what is open already, such as standard input.
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"

namespace loadline {

// As read_text_file (file.h) reads, from a descriptor, which messages call `name`.
std::string read_text(int descriptor, std::string_view name, Bytes limit);

}  // namespace loadline

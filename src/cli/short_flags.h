// Flags of several letters behind one dash (-ngl, -ctk), as other programs in this field have them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace loadline::cli {

// The arguments after the program's name with such flags written out behind two dashes, which is how the parser tells
// them from several one-letter flags.
std::vector<std::string> spell_out_flags(int argc, const char* const* argv);

// The reverse, for help and messages: "-ngl" for "--ngl", and any other flag as it is.
std::string typed_flag(std::string_view flag);

}  // namespace loadline::cli

// Flags of llama.cpp that Loadline does not have. Those that cannot change the result are accepted and ignored, so that
// command lines can be taken over; the others are refused by name.
#pragma once

#include <string_view>

namespace loadline::cli {

enum class ForeignValue { None, One, Maybe };  // Maybe: on, off or auto may follow

struct ForeignFlag {
  std::string_view names;  // with blanks between them
  ForeignValue value;
  bool ignored;  // else refused
  std::string_view why;
};

// Nullptr where llama.cpp has no such flag either. A command's own flags come first.
const ForeignFlag* find_foreign_flag(std::string_view name);

// "on", "off", "auto" and the like: what such a flag may be followed by.
bool is_switch_word(std::string_view word);

}  // namespace loadline::cli

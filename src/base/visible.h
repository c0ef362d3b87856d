// Text from outside made visible before a terminal can obey it: whole texts, where text.h has what stands within a
// line. What is escaped is the same: characters that a terminal takes for a command or that change the order or the
// place of others (controls, marks of direction, separators of lines), and bytes that are not UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace loadline {

// Ends of lines and tabs stay; the rest becomes \xNN or \uNNNN.
std::string printable_lines(std::string_view text);

// JSON, which is UTF-8 already, with such characters within its strings as \uNNNN.
std::string printable_json(std::string_view json);

}  // namespace loadline

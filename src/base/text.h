// Text for people: names and numbers from files made safe and readable in messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace loadline {

// `text` as it may be shown in a message or on a terminal: control characters and bytes that are not UTF-8 become \xNN,
// a backslash stays one, and what is longer than `limit` bytes is cut at a character and ends in an ellipsis.
std::string printable(std::string_view text, std::size_t limit = 100);

// "3 221 225 472": digits in groups of three.
std::string grouped(std::uint64_t number);

// The length in bytes of the UTF-8 character that `text` begins with; 0 where it begins with none (overlong forms,
// surrogates, values above U+10FFFF, a character cut short, the empty text).
std::size_t utf8_length(std::string_view text);

}  // namespace loadline

// UTF-8, for text nobody vouches for: where characters end, and what stands for bytes that are none.
// It knows nothing of tokens.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace loadline::tokenizer {

enum class Utf8Kind {
  Character,   // a well-formed character
  Invalid,     // bytes that begin no character
  Unfinished,  // the text ends inside what may still become a character
};

struct Utf8Unit {
  std::size_t length;  // in bytes, at least 1
  Utf8Kind kind;
};

// What `text`, which must not be empty, begins with. Invalid and unfinished units are as long as bytes of one character
// could be (Unicode 15, section 3.9, "maximal subpart"), so that each is worth one U+FFFD.
Utf8Unit first_utf8_unit(std::string_view text);

// How many bytes at the start of `text` are whole, well-formed characters.
std::size_t valid_utf8_prefix(std::string_view text);

// `text` with U+FFFD for every unit that is not a character, unfinished ones included.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace loadline::tokenizer

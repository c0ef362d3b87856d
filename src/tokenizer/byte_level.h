// The alphabet of byte-level BPE vocabularies: every byte is written as one printable character, so that token texts
// are valid UTF-8 without blanks. (GPT-2: printable Latin-1 characters stand for themselves; the other bytes, in order,
// for U+0100, U+0101, ...: a space is U+0120.)
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace loadline::tokenizer {

// The bytes a token text stands for, or nothing when it has a character outside the alphabet.
std::optional<std::string> bytes_from_byte_level(std::string_view text);

// The character of a byte, in UTF-8.
std::string byte_level_character(unsigned char byte);

}  // namespace loadline::tokenizer

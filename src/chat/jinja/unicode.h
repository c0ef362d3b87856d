// Characters as Python's strings know them: counting, classes and case. Text is UTF-8; bytes that are none count as one
// U+FFFD each. It knows nothing of templates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace loadline::chat::jinja {

// The character at `position`, which moves behind it. `position` must be inside `text`.
char32_t next_character(std::string_view text, std::size_t& position);
// The position of the character that ends at `position` (> 0).
std::size_t previous_position(std::string_view text, std::size_t position);
void append_character(std::string& out, char32_t character);

std::u32string characters_of(std::string_view text);
std::string bytes_of(std::u32string_view characters);

std::size_t count_characters(std::string_view text);
// Where character number `index` begins; the size of the text where there are not so many.
std::size_t offset_of(std::string_view text, std::size_t index);

bool is_space(char32_t c);  // str.isspace
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_printable(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);  // the title case of a digraph

inline bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }
// re's \w.
inline bool is_word(char32_t c) { return is_alnum(c) || c == U'_'; }
inline bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }

std::string to_lower(std::string_view text);
std::string to_upper(std::string_view text);
std::string to_title(std::string_view text);     // str.title: every word, and a word is a run of cased characters
std::string capitalized(std::string_view text);  // the first character in title case, the others in lower case
std::string swapped_case(std::string_view text);
std::string folded(std::string_view text);  // str.casefold

// Without white space at the ends.
std::string_view trimmed_left(std::string_view text);
std::string_view trimmed_right(std::string_view text);

// Where str.splitlines ends a line: the length in bytes of the line end at `position`, or 0.
std::size_t line_end_length(std::string_view text, std::size_t position);
// Calls each(line, ending) for the lines of str.splitlines; behind the last line there may be no ending.
template <class Each>
void each_line(std::string_view text, Each&& each) {
  for (std::size_t begin = 0, position = 0; begin < text.size(); begin = position) {
    std::size_t length = 0;
    while (position < text.size() && (length = line_end_length(text, position)) == 0) next_character(text, position);
    each(text.substr(begin, position - begin), text.substr(position, length));
    position += length;
  }
}

}  // namespace loadline::chat::jinja

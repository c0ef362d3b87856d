// Reading JSON that may not have come in full yet: how far it goes, and what an object of it has said so far. Nothing
// is built and nothing copied; numbers, names and text stay where they are.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::chat {

enum class Scan : std::uint8_t {
  Complete,
  Unfinished,  // more text may complete it
  Invalid,     // no text can
};

struct ScanResult {
  Scan status = Scan::Unfinished;
  std::size_t end = 0;  // Complete: behind the value (a bare number at the end of the text counts as unfinished)
};

// One JSON value at `begin`, blanks before it allowed. Strict; nesting to 100 levels.
ScanResult scan_json(std::string_view text, std::size_t begin = 0);

// A key of an object with its value, as far as it has come.
struct JsonMember {
  std::string key;
  std::string_view value;  // its text
  bool complete = false;
};

// The members of the object that begins at `begin` (blanks before it allowed), and how the whole of it stands.
ScanResult scan_members(std::string_view text, std::size_t begin, std::vector<JsonMember>& members);

// The elements of an array, each as far as it has come; the last may be unfinished.
struct JsonElement {
  std::string_view text;
  bool complete = false;
};
ScanResult scan_elements(std::string_view text, std::size_t begin, std::vector<JsonElement>& elements);

// The content of a complete JSON string, quotes included in `text`; empty where it is none.
std::string json_string_content(std::string_view text);
// `text` as a JSON string.
std::string json_quoted(std::string_view text);

std::size_t skip_json_blanks(std::string_view text, std::size_t at);

}  // namespace loadline::chat

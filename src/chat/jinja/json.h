// JSON to a template's values and back, as Python's json module reads and writes it: the order of keys, and whether a
// number has a point, are kept.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

// Throws Failure that says what is wrong and at which byte. Strict JSON in UTF-8; nesting is bounded (Depth::kMost).
Value parse_json(Heap& heap, std::string_view text);

struct JsonStyle {
  std::optional<std::string> indent;  // for each level; nullopt: all in one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ascii = false;  // everything else as \uXXXX
  bool sort_keys = false;
};

// Throws Failure for what has no JSON.
void append_json(Heap& heap, std::string& out, const Value& value, const JsonStyle& style = {});
std::string json_of(Heap& heap, const Value& value);
// `text` as a JSON string, quotes included.
void append_json_string(std::string& out, std::string_view text, bool ascii = false);

}  // namespace loadline::chat::jinja

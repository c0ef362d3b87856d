// Values as Python and Gemma write them, turned into JSON while they come in.
#pragma once

#include <string>
#include <string_view>

#include "chat/json_scan.h"

namespace loadline::chat {

// A literal at `at`, which moves behind it; its JSON is appended. `final`: a number at the end of the text is complete.
// Unfinished: `json` has what was certain.
Scan python_value(std::string_view text, std::size_t& at, bool final, std::string& json);

// name(key=value, ...). `name` is set as soon as it is known to be one, `arguments` is a JSON object.
Scan python_call(std::string_view text, std::size_t& at, bool final, std::string& name, std::string& arguments);

// {key:value,...} with strings between <|"|>.
Scan gemma_value(std::string_view text, std::size_t& at, bool final, std::string& json);

inline bool first_is_bracket(std::string_view text) { return text.starts_with('[') || text.starts_with('{'); }

}  // namespace loadline::chat

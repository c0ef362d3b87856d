// JSON that a user wrote or kept: parsed, with a sentence for what is none. What it means is the caller's.
#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

namespace loadline::hardware {

// Throws Error(BadInput) naming `source`.
nlohmann::json parse_json(std::string_view text, std::string_view source);

}  // namespace loadline::hardware

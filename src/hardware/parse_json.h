// JSON that a user wrote or kept: parsed, with a sentence for what is none. What it means is the caller's.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string_view>

namespace loadline::hardware {

// Throws Error(BadInput) naming `source`.
nlohmann::json parse_json(std::string_view text, std::string_view source);

// What was remembered in a file of ours: an empty object where it is missing or damaged, since measuring again replaces
// it.
nlohmann::json read_remembered(const std::filesystem::path& file);

}  // namespace loadline::hardware

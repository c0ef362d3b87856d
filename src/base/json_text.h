// JSON texts that somebody wrote or a program of ours kept: parsed, with a sentence for what is none. What they mean is
// the caller's, and so is how deep and how long a text may be.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string_view>

namespace loadline {

// `Json` is nlohmann::json or nlohmann::ordered_json. Throws Error(BadInput) whose sentence begins with `source`, what
// the text is, and says where it goes wrong.
template <class Json>
Json parse_json(std::string_view text, std::string_view source);

// What was remembered in a file of ours: an empty object where it is missing or damaged, since measuring again replaces
// it.
nlohmann::json read_remembered(const std::filesystem::path& file);

}  // namespace loadline

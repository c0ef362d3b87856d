// What `loadline top` shows of a server's state: lines for a terminal. Pure; the state may be anything.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace loadline::cli {

struct TopRates {
  double prompt = 0, generation = 0;  // tokens per second now
};

// No line has more than `width` columns; none has controls, whatever names there are.
std::vector<std::string> top_lines(const nlohmann::ordered_json& state, const std::string& url,
                                   const std::optional<TopRates>& now, std::size_t width);

// From the tokens of two states, `seconds` apart; nullopt where they are not of one server's life.
std::optional<TopRates> rates_between(const nlohmann::ordered_json& before, const nlohmann::ordered_json& after,
                                      double seconds);

}  // namespace loadline::cli

#include "hardware/parse_json.h"

#include <fmt/format.h>

#include "base/error.h"

namespace loadline::hardware {

nlohmann::json parse_json(std::string_view text, std::string_view source) {
  using nlohmann::json;
  try {
    return json::parse(text);
  } catch (const json::parse_error& problem) {
    throw bad_input(fmt::format("{} is not JSON (byte {})", source, problem.byte));
  } catch (const json::out_of_range&) {  // 1e999
    throw bad_input(fmt::format("{}: a number in it is too large for any machine", source));
  }
}

}  // namespace loadline::hardware

#include "base/json_text.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"

namespace loadline {
namespace {

constexpr Bytes kMostRemembered = 4 * kMiB;

}  // namespace

template <class Json>
Json parse_json(std::string_view text, std::string_view source) {
  try {
    return Json::parse(text);
  } catch (const typename Json::parse_error& problem) {
    throw bad_input(fmt::format("{} is not JSON: the text goes wrong at byte {}", source, problem.byte));
  } catch (const typename Json::out_of_range&) {  // 1e999
    throw bad_input(fmt::format("{}: a number in it is too large for any machine", source));
  }
}

template nlohmann::json parse_json(std::string_view text, std::string_view source);
template nlohmann::ordered_json parse_json(std::string_view text, std::string_view source);

nlohmann::json read_remembered(const std::filesystem::path& file) {
  using nlohmann::json;
  std::error_code ignored;
  if (file.empty() || !std::filesystem::is_regular_file(file, ignored)) return json::object();
  try {
    json document = json::parse(read_text_file(file, kMostRemembered));
    return document.is_object() ? document : json::object();
  } catch (const std::exception&) {
    return json::object();
  }
}

}  // namespace loadline

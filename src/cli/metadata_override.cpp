#include "cli/metadata_override.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/error.h"
#include "base/text.h"
#include "cli/number.h"

namespace loadline::cli {
namespace {

Error refusal(std::string_view text) {
  return bad_input(fmt::format("--override-kv: \"{}\" is not KEY=TYPE:VALUE", printable(text)),
                   "TYPE can be int, float, bool (true or false) or str: llama.rope.freq_base=float:500000.");
}

MetadataOverride parse_override(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::size_t colon = text.find(':', equals == std::string_view::npos ? text.size() : equals);
  if (equals == 0 || colon == std::string_view::npos) throw refusal(text);
  const std::string key(text.substr(0, equals));
  const std::string_view type = text.substr(equals + 1, colon - equals - 1);
  const std::string_view value = text.substr(colon + 1);
  if (type == "str") return {key, {std::string(value)}};
  if (type == "bool" && (value == "true" || value == "false")) return {key, {value == "true"}};
  if (std::int64_t whole = 0; type == "int" && is_number(value, whole)) return {key, {whole}};
  if (double number = 0; type == "float" && is_number(value, number)) return {key, {number}};
  throw refusal(text);
}

// "…,KEY=int:" and the like: where the next override begins.
bool begins_override(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  const std::string_view rest = text.substr(equals + 1);
  return text.substr(0, equals).find(',') == std::string_view::npos &&
         (rest.starts_with("int:") || rest.starts_with("float:") || rest.starts_with("bool:") ||
          rest.starts_with("str:"));
}

}  // namespace

std::vector<MetadataOverride> parse_overrides(std::string_view text) {
  std::vector<MetadataOverride> all;
  std::size_t begin = 0;
  for (std::size_t comma = text.find(','); comma != std::string_view::npos; comma = text.find(',', comma + 1)) {
    if (!begins_override(text.substr(comma + 1))) continue;  // a comma of a text
    all.push_back(parse_override(text.substr(begin, comma - begin)));
    begin = comma + 1;
  }
  all.push_back(parse_override(text.substr(begin)));
  return all;
}

double positive_number(std::string_view flag, std::string_view text) {
  double value = 0;
  if (is_number(text, value) && std::isfinite(value) && value > 0) return value;
  throw bad_input(fmt::format("{} is not a number above zero: \"{}\"", flag, printable(text)));
}

}  // namespace loadline::cli

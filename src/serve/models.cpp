#include "serve/models.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/error.h"

namespace loadline::serve {

std::string_view name_of(Listed::State state) {
  switch (state) {
    case Listed::State::Unloaded: return "unloaded";
    case Listed::State::Waiting:
    case Listed::State::Loading: return "loading";
    case Listed::State::Loaded: return "loaded";
    case Listed::State::Unloading: break;
  }
  return "unloading";
}

std::optional<double> parse_keep_alive(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, double>, 7> kUnits = {
      {{"h", 3600}, {"ms", 1e-3}, {"m", 60}, {"s", 1}, {"us", 1e-6}, {"\u00b5s", 1e-6}, {"ns", 1e-9}}};
  const auto refuse = [] { return bad_input("\"keep_alive\" must be seconds or a duration such as \"5m\""); };
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty()) throw refuse();
  double seconds = 0;
  bool bare = true;
  while (!text.empty()) {
    double value = 0;
    const auto [end, problem] =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (problem != std::errc() || value < 0 || !(value < 1e15)) throw refuse();
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.empty() && bare) {  // without a unit: seconds
      seconds = value;
      break;
    }
    const auto unit = std::ranges::find_if(kUnits, [&](const auto& one) { return text.starts_with(one.first); });
    if (unit == kUnits.end()) throw refuse();
    seconds += value * unit->second;
    text.remove_prefix(unit->first.size());
    bare = false;
  }
  if (negative) return std::nullopt;
  return seconds;
}

}  // namespace loadline::serve

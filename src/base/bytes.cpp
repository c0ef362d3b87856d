#include "base/bytes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace loadline {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// Longest names first within a letter, so that a suffix is matched whole.
constexpr std::array kUnits = {
    Unit{"", 1.0},           Unit{"B", 1.0},           Unit{"k", 1024.0},   Unit{"K", 1024.0},   Unit{"M", 1048576.0},
    Unit{"G", 1073741824.0}, Unit{"T", 0x1p40},        Unit{"Ki", 1024.0},  Unit{"KiB", 1024.0}, Unit{"Mi", 1048576.0},
    Unit{"MiB", 1048576.0},  Unit{"Gi", 1073741824.0}, Unit{"GiB", 0x1p30}, Unit{"Ti", 0x1p40},  Unit{"TiB", 0x1p40},
    Unit{"kB", 1e3},         Unit{"KB", 1e3},          Unit{"MB", 1e6},     Unit{"GB", 1e9},     Unit{"TB", 1e12},
};

}  // namespace

std::string to_string(Bytes size) {
  constexpr std::array kNames = {"KiB", "MiB", "GiB", "TiB"};
  if (size.value < 1024) return fmt::format("{} B", size.value);
  double amount = static_cast<double>(size.value) / 1024.0;
  std::size_t unit = 0;
  // 999.5 and not 1024: "1000 MiB" would need a fourth digit.
  while (amount >= 999.5 && unit + 1 < kNames.size()) {
    amount /= 1024.0;
    ++unit;
  }
  const int decimals = amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", amount, decimals, kNames[unit]);
}

Bytes parse_bytes(std::string_view text, std::string_view what) {
  const auto refuse = [&]() {
    return bad_input(
        fmt::format("{} is not a size: \"{}\"", what, text),
        "Write a number and a unit, such as 11.5GiB, 11776M or 12GB (GiB and G are binary, GB is decimal).");
  };
  double amount = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (problem != std::errc() || !std::isfinite(amount) || amount < 0) throw refuse();
  std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!suffix.empty() && suffix.front() == ' ') suffix.remove_prefix(1);
  for (const Unit& unit : kUnits) {
    if (suffix != unit.name) continue;
    const double total = std::floor(amount * unit.factor);
    if (total >= 0x1p63) throw refuse();
    return Bytes(static_cast<std::uint64_t>(total));
  }
  throw refuse();
}

}  // namespace loadline

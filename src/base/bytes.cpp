#include "base/bytes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace loadline {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// What a unit multiplies with, in any case and with spaces around it; nullopt for an unknown one.
std::optional<std::uint64_t> factor_of(std::string_view text) {
  std::string unit;
  for (const char c : text) unit += lower(c);
  unit.erase(0, unit.find_first_not_of(' '));
  unit.erase(unit.find_last_not_of(' ') + 1);
  if (unit.empty() || unit == "b") return 1;

  constexpr std::string_view kPrefixes = "kmgt";
  const std::size_t power = kPrefixes.find(unit[0]);
  const std::string_view rest = std::string_view(unit).substr(1);
  const bool decimal = rest == "b";
  if (power == std::string_view::npos || !(decimal || rest.empty() || rest == "i" || rest == "ib")) return std::nullopt;
  std::uint64_t factor = 1;
  for (std::size_t i = 0; i <= power; ++i) factor *= decimal ? 1000 : 1024;
  return factor;
}

// Sizes stay below this, so that sums of a few of them do not overflow.
constexpr std::uint64_t kLimit = 1ULL << 62;

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
        fmt::format("{} is not a size: \"{}\"", what, printable(text)),
        "Write a number and a unit, such as 11.5GiB, 11776M or 12GB (GiB and G are binary, GB is decimal).");
  };
  const char* const end = text.data() + text.size();
  // Whole numbers stay integers: a double holds them exactly only up to 2^53.
  std::uint64_t whole = 0;
  const auto integer = std::from_chars(text.data(), end, whole);
  if (integer.ec == std::errc()) {
    const auto factor = factor_of({integer.ptr, end});
    if (factor) {
      if (whole > kLimit / *factor) throw refuse();
      return Bytes(whole * *factor);
    }
  }
  double amount = 0;
  const auto fraction = std::from_chars(text.data(), end, amount);
  const auto factor = factor_of({fraction.ptr, end});
  if (fraction.ec != std::errc() || !factor) throw refuse();
  const double total = std::floor(amount * static_cast<double>(*factor));
  if (!(total >= 0 && total <= static_cast<double>(kLimit))) throw refuse();  // refuses NaN too
  return Bytes(static_cast<std::uint64_t>(total));
}

}  // namespace loadline

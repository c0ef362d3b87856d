#include "cli/short_flags.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace loadline::cli {
namespace {

constexpr std::array<std::string_view, 10> kFlags = {"ngl", "ot",  "np",   "npl",  "ub",
                                                     "ctk", "ctv", "nkvo", "nopo", "dev"};

}  // namespace

std::vector<std::string> spell_out_flags(int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  bool options_ended = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--") options_ended = true;
    const std::string_view name = argument.substr(0, argument.find('=')).substr(argument.starts_with('-') ? 1 : 0);
    const bool known = argument.starts_with('-') && std::ranges::find(kFlags, name) != kFlags.end();
    arguments.emplace_back(known && !options_ended ? "-" + std::string(argument) : std::string(argument));
  }
  return arguments;
}

std::string typed_flag(std::string_view flag) {
  const bool known = flag.starts_with("--") && std::ranges::find(kFlags, flag.substr(2)) != kFlags.end();
  return std::string(known ? flag.substr(1) : flag);
}

}  // namespace loadline::cli

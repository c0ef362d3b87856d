#include "gguf/split.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/error.h"
#include "gguf/layout.h"

namespace loadline::gguf {
namespace {

// split.no and split.count are stored as uint16.
constexpr std::uint64_t kMaxParts = 65535;

}  // namespace

Split read_split(const Metadata& metadata) {
  Split split;
  split.number = metadata.get_unsigned("split.no").value_or(0);
  split.count = metadata.get_unsigned("split.count").value_or(1);
  split.tensors = metadata.get_unsigned("split.tensors.count");
  if (split.count == 0) split.count = 1;
  if (split.count > kMaxParts || split.number > split.count || (split.count == 1 && split.number > 0)) {
    throw bad_input(
        fmt::format("split.no is {} and split.count {}, which cannot both be right", split.number, split.count),
        kDamagedHint);
  }
  return split;
}

std::string part_suffix(std::uint64_t number, std::uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

std::filesystem::path PartName::path(std::uint64_t other) const {
  return folder / fmt::format("{}-{:0{}}{}", stem, other, width, rest);
}

std::optional<PartName> part_name(const std::filesystem::path& path, std::uint64_t count) {
  const std::string name = path.filename().string();
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::size_t middle = lower.rfind("-of-");
  if (middle == std::string::npos || !lower.ends_with(".gguf")) return std::nullopt;
  const auto number_in = [&](std::size_t begin, std::size_t end) -> std::optional<std::uint64_t> {
    std::uint64_t number = 0;
    const auto [stopped, problem] = std::from_chars(name.data() + begin, name.data() + end, number);
    if (begin >= end || problem != std::errc() || stopped != name.data() + end) return std::nullopt;
    return number;
  };
  const std::size_t end = name.size() - std::string_view(".gguf").size();
  if (number_in(middle + 4, end) != count) return std::nullopt;
  const std::size_t dash = middle == 0 ? std::string::npos : name.rfind('-', middle - 1);
  if (dash == std::string::npos || dash == 0) return std::nullopt;
  const auto number = number_in(dash + 1, middle);
  if (!number) return std::nullopt;
  return PartName{path.parent_path(), name.substr(0, dash), *number, middle - dash - 1, name.substr(middle)};
}

}  // namespace loadline::gguf

#include "gguf/split.h"

#include <fmt/format.h>

#include <cctype>

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
  if (split.count > kMaxParts || split.number >= split.count) {
    throw bad_input(
        fmt::format("split.no is {} and split.count {}, which cannot both be right", split.number, split.count),
        kDamagedHint);
  }
  return split;
}

std::string part_suffix(std::uint64_t number, std::uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

std::optional<std::filesystem::path> part_path(const std::filesystem::path& path, std::uint64_t number,
                                               std::uint64_t count) {
  std::string name = path.filename().string();
  const std::string own_end = part_suffix(0, count);
  const std::string shared_end = own_end.substr(6);  // after the number: "-of-00005.gguf"
  if (name.size() <= own_end.size() || !name.ends_with(shared_end)) return std::nullopt;
  const std::size_t start = name.size() - own_end.size();
  if (name[start] != '-') return std::nullopt;
  for (std::size_t i = 1; i <= 5; ++i) {
    if (std::isdigit(static_cast<unsigned char>(name[start + i])) == 0) return std::nullopt;
  }
  name.replace(start, std::string::npos, part_suffix(number, count));
  return path.parent_path() / name;
}

}  // namespace loadline::gguf

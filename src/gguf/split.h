// The names and keys of a model that is split over several files. Internal to open_model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "gguf/metadata.h"

namespace loadline::gguf {

// What a part says of itself (split.no, split.count, split.tensors.count). A file without these keys is the only one of
// its model, and so is one with a count of 0, which is how merged files are marked.
struct Split {
  std::uint64_t number = 0;  // counted from 0
  std::uint64_t count = 1;
  std::optional<std::uint64_t> tensors;  // in all parts together

  [[nodiscard]] bool is_split() const { return count > 1; }
};

// Throws Error(BadInput), without the file's name, where the keys contradict each other.
Split read_split(const Metadata& metadata);

// Where part `number` (from 0) of `count` lies, given the path of any part: NAME-00003-of-00005.gguf. Nullopt where
// `path` is not named as a part of so many.
std::optional<std::filesystem::path> part_path(const std::filesystem::path& path, std::uint64_t number,
                                               std::uint64_t count);

// "-00003-of-00005.gguf": how the name of part `number` (from 0) of `count` ends.
std::string part_suffix(std::uint64_t number, std::uint64_t count);

}  // namespace loadline::gguf

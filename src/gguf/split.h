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

// Throws Error(BadInput), without the file's name, where the keys contradict each other. A number that equals the count
// is let pass: some programs count from 1, which the caller finds out.
Split read_split(const Metadata& metadata);

// What the name of a part says: NAME-00003-of-00005.gguf, the numbers of any width, the rest in capitals or not.
struct PartName {
  std::filesystem::path folder;
  std::string stem;          // NAME
  std::uint64_t number = 0;  // as written; nearly always counted from 1
  std::size_t width = 0;     // of the number
  std::string rest;          // "-of-00005.gguf", as it is spelt here

  // The name of another part.
  [[nodiscard]] std::filesystem::path path(std::uint64_t other) const;
};

// Nullopt where `path` is not named as a part of `count`.
std::optional<PartName> part_name(const std::filesystem::path& path, std::uint64_t count);

// "-00003-of-00005.gguf": how the name of part `number` (from 0) of `count` ends.
std::string part_suffix(std::uint64_t number, std::uint64_t count);

}  // namespace loadline::gguf

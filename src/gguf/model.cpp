#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "gguf/gguf.h"
#include "gguf/header.h"
#include "gguf/layout.h"
#include "gguf/limits.h"
#include "gguf/split.h"

namespace loadline::gguf {
namespace {

Split split_of(const File& file, const Metadata& metadata) {
  try {
    return read_split(metadata);
  } catch (const Error& error) {
    throw bad_input(fmt::format("{}: {}", file.path().string(), error.what()), error.hint());
  }
}

// Where the parts of a model are, and how they are counted: in their names from 1 and in their metadata from 0, but
// some programs count both from 1, or both from 0.
struct Parts {
  PartName name;
  std::uint64_t first_name = 1;    // the number in the first part's name
  std::uint64_t first_number = 0;  // its split.no
};

// Refuses to begin anywhere but at the first part, and says which file that is.
Parts find_parts(const File& file, const Split& split) {
  const std::string path = file.path().string();
  const std::optional<PartName> name = part_name(file.path(), split.count);
  const std::string end = part_suffix(0, split.count);
  if (!name) {
    if (split.number == split.count) {
      throw bad_input(fmt::format("{}: split.no is {} and split.count {}, and the name does not say which part it is",
                                  path, split.number, split.count),
                      kDamagedHint);
    }
    if (split.number != 0) {
      throw bad_input(fmt::format("{}: is part {} of a model split into {} files", path, split.number + 1, split.count),
                      fmt::format("Give the first part; its name ends in {}", end));
    }
    throw bad_input(
        fmt::format("{}: is the first of {} parts, but its name does not end in {}", path, split.count, end),
        "Give all parts the names they were published with; without them the others cannot be found.");
  }
  Parts parts{*name};
  if (name->number == split.number) {
    std::error_code ignored;
    const bool from_zero = split.number == 0 || std::filesystem::exists(name->path(0), ignored);
    parts.first_name = parts.first_number = from_zero ? 0 : 1;
  } else if (name->number != split.number + 1) {
    throw bad_input(fmt::format("{}: is part {} of {} by its own account, and part {} by its name", path,
                                split.number + 1, split.count, name->number),
                    "Give all parts the names they were published with.");
  }
  if (split.number != parts.first_number) {
    throw bad_input(fmt::format("{}: is part {} of a model split into {} files", path,
                                split.number - parts.first_number + 1, split.count),
                    fmt::format("Give the first part: {}", name->path(parts.first_name).string()));
  }
  return parts;
}

File open_part(const std::filesystem::path& path, std::uint64_t number, std::uint64_t count) {
  try {
    return File::open(path);
  } catch (const Error& error) {
    throw Error(error.code(), error.what(),
                fmt::format("It is part {} of {} of the model; all parts must lie in one folder.", number + 1, count));
  }
}

// Reads the parts after the first, and appends their tensors.
void read_other_parts(Model& model, const Split& split, const Parts& parts, Bytes most) {
  const std::filesystem::path first = model.files.front().path();
  for (std::uint64_t number = 1; number < split.count; ++number) {
    const std::filesystem::path path = parts.name.path(parts.first_name + number);
    model.files.push_back(open_part(path, number, split.count));
    Header header = read_header(model.files.back(), static_cast<std::uint32_t>(number), most);
    const Split own = split_of(model.files.back(), header.metadata);
    if (own.number != parts.first_number + number || own.count != split.count) {
      throw bad_input(
          fmt::format("{}: is part {} of {} by its own account, not part {} of {}", path.string(),
                      own.number - std::min(own.number, parts.first_number) + 1, own.count, number + 1, split.count),
          "The files belong to different models, or have been renamed; fetch them again.");
    }
    std::ranges::move(header.tensors, std::back_inserter(model.tensors));
  }
  if (split.tensors && *split.tensors != model.tensors.size()) {
    throw bad_input(fmt::format("{}: the {} parts hold {} tensors, but {} were announced", first.string(), split.count,
                                model.tensors.size(), *split.tensors),
                    "The files belong to different models, or are damaged; fetch them again.");
  }
}

void check_unique_names(const Model& model) {
  for (std::size_t i = 1; i < model.by_name.size(); ++i) {
    const TensorInfo& a = model.tensors[model.by_name[i - 1]];
    const TensorInfo& b = model.tensors[model.by_name[i]];
    if (a.name != b.name) continue;
    const std::string where = a.file == b.file
                                  ? std::string("twice")
                                  : fmt::format("in {} too", model.files[std::min(a.file, b.file)].path().string());
    throw bad_input(fmt::format("{}: tensor {} is there {}", model.files[std::max(a.file, b.file)].path().string(),
                                printable(a.name), where),
                    kDamagedHint);
  }
}

}  // namespace

std::int32_t Model::find_tensor(std::string_view name) const {
  if (by_name.size() != tensors.size()) {
    const auto found = std::ranges::find(tensors, name, &TensorInfo::name);
    return found == tensors.end() ? -1 : static_cast<std::int32_t>(found - tensors.begin());
  }
  const auto name_at = [this](std::uint32_t index) -> std::string_view { return tensors[index].name; };
  const auto found = std::ranges::lower_bound(by_name, name, {}, name_at);
  if (found == by_name.end() || name_at(*found) != name) return -1;
  return static_cast<std::int32_t>(*found);
}

Bytes Model::tensor_bytes() const {
  Bytes sum;
  for (const TensorInfo& tensor : tensors) sum += tensor.size;
  return sum;
}

void Model::index_tensors() {
  by_name.resize(tensors.size());
  std::iota(by_name.begin(), by_name.end(), 0U);
  std::ranges::sort(by_name, {}, [this](std::uint32_t index) -> std::string_view { return tensors[index].name; });
}

Model open_model(const std::filesystem::path& path, Bytes most) {
  Model model;
  model.files.push_back(File::open(path));
  Header header = read_header(model.files.front(), 0, most);
  model.version = header.version;
  model.metadata = std::move(header.metadata);
  model.tensors = std::move(header.tensors);
  const Split split = split_of(model.files.front(), model.metadata);
  if (split.is_split()) {
    read_other_parts(model, split, find_parts(model.files.front(), split), most);
  }
  model.index_tensors();
  check_unique_names(model);
  return model;
}

Model open_model(const std::filesystem::path& path) { return open_model(path, kMostDecodedHeader); }

}  // namespace loadline::gguf

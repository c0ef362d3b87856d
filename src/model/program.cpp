#include "model/program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "model/builder.h"
#include "model/families/families.h"

namespace loadline::model {
namespace {

struct Family {
  std::string_view name;  // general.architecture
  void (*build)(ProgramBuilder&);
};

constexpr std::array kFamilies = {
    Family{"llama", families::llama},
    Family{"qwen2", families::qwen2},
    Family{"qwen3", families::qwen3},
};

}  // namespace

std::string_view name_of(CacheKind kind) {
  switch (kind) {
    case CacheKind::Full: return "full";
    case CacheKind::Window: return "window";
    case CacheKind::Latent: return "latent";
    case CacheKind::State: return "state";
  }
  return "unknown";
}

std::string Group::name() const {
  switch (kind) {
    case GroupKind::Embedding: return "token_embd";
    case GroupKind::Attention: return fmt::format("blk.{}.attn", layer);
    case GroupKind::FeedForward: return fmt::format("blk.{}.ffn", layer);
    case GroupKind::Output: return "output";
  }
  return "unknown";
}

std::vector<TensorIndex> Group::tensors() const {
  std::vector<TensorIndex> all;
  all.reserve(2 * ops.size());
  const auto note = [&](TensorIndex index) {
    if (std::ranges::find(all, index) == all.end()) all.push_back(index);
  };
  for (const Op& op : ops) {
    for (const TensorUse& use : op.tensors) note(use.tensor);
  }
  return all;
}

std::vector<std::string_view> known_families() {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) names.push_back(family.name);
  return names;
}

Program build_program(const gguf::Model& model) {
  const std::string* architecture = model.metadata.get_string("general.architecture");
  const auto family = std::ranges::find_if(
      kFamilies, [&](const Family& row) { return architecture != nullptr && *architecture == row.name; });
  if (architecture != nullptr && family == kFamilies.end()) {
    throw bad_input(fmt::format("the model's architecture \"{}\" is not supported", *architecture),
                    fmt::format("Supported are {}.", fmt::join(known_families(), ", ")));
  }
  Keys keys(model.metadata, architecture == nullptr ? std::string() : *architecture);
  ProgramBuilder builder(model, read_config(model, keys), keys);
  family->build(builder);
  return builder.finish();
}

}  // namespace loadline::model

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

std::string_view name_of(OpKind kind) {
  switch (kind) {
    case OpKind::Embed: return "embed";
    case OpKind::RmsNorm: return "rms_norm";
    case OpKind::Linear: return "linear";
    case OpKind::HeadNorm: return "head_norm";
    case OpKind::Rope: return "rope";
    case OpKind::Attention: return "attention";
    case OpKind::LinearAdd: return "linear_add";
    case OpKind::GatedLinear: return "gated_linear";
    case OpKind::SelectOutputs: return "select_outputs";
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
    if (index != kNoTensor && std::ranges::find(all, index) == all.end()) all.push_back(index);
  };
  for (const Op& op : ops) {
    std::ranges::for_each(op.tensors, note);
    std::ranges::for_each(op.biases, note);
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
  ProgramBuilder builder(model, read_config(model));
  family->build(builder);
  return builder.finish();
}

}  // namespace loadline::model

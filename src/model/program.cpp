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
    Family{"apertus", families::apertus},
    Family{"arcee", families::arcee},
    Family{"baichuan", families::baichuan},
    Family{"bailingmoe2", families::bailingmoe2},
    Family{"bloom", families::bloom},
    Family{"cohere2", families::cohere2},
    Family{"command-r", families::command_r},
    Family{"deepseek2", families::deepseek2},
    Family{"dots1", families::dots1},
    Family{"ernie4_5", families::ernie4_5},
    Family{"ernie4_5-moe", families::ernie4_5_moe},
    Family{"exaone", families::exaone},
    Family{"exaone-moe", families::exaone_moe},
    Family{"exaone4", families::exaone4},
    Family{"falcon", families::falcon},
    Family{"falcon-h1", families::falcon_h1},
    Family{"gemma", families::gemma},
    Family{"gemma2", families::gemma2},
    Family{"gemma3", families::gemma3},
    Family{"gemma4", families::gemma4},
    Family{"glm4", families::glm4},
    Family{"glm4moe", families::glm4moe},
    Family{"gpt-oss", families::gpt_oss},
    Family{"gpt2", families::gpt2},
    Family{"gptneox", families::gptneox},
    Family{"granite", families::granite},
    Family{"granitehybrid", families::granite_hybrid},
    Family{"granitemoe", families::granite},
    Family{"hunyuan-dense", families::hunyuan},
    Family{"hunyuan-moe", families::hunyuan},
    Family{"internlm2", families::internlm2},
    Family{"lfm2", families::lfm2},
    Family{"lfm2moe", families::lfm2},
    Family{"llama", families::llama},
    Family{"llama4", families::llama4},
    Family{"mamba2", families::mamba2},
    Family{"minicpm", families::minicpm},
    Family{"minicpm3", families::minicpm3},
    Family{"minimax-m2", families::minimax_m2},
    Family{"mistral3", families::mistral3},
    Family{"mpt", families::mpt},
    Family{"nemotron", families::nemotron},
    Family{"nemotron_h", families::nemotron_h},
    Family{"nemotron_h_moe", families::nemotron_h},
    Family{"olmo2", families::olmo2},
    Family{"olmoe", families::olmoe},
    Family{"phi2", families::phi2},
    Family{"phi3", families::phi3},
    Family{"qwen2", families::qwen2},
    Family{"qwen2moe", families::qwen2moe},
    Family{"qwen2vl", families::qwen2vl},
    Family{"qwen3", families::qwen3},
    Family{"qwen35", families::qwen35},
    Family{"qwen35moe", families::qwen35moe},
    Family{"qwen3moe", families::qwen3moe},
    Family{"qwen3next", families::qwen3next},
    Family{"qwen3vl", families::qwen3vl},
    Family{"qwen3vlmoe", families::qwen3vlmoe},
    Family{"seed_oss", families::seed_oss},
    Family{"smollm3", families::smollm3},
    Family{"stablelm", families::stablelm},
    Family{"starcoder2", families::starcoder2},
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

namespace {

const Family& family_of(const gguf::Metadata& metadata) {
  const std::string* architecture = metadata.get_string("general.architecture");
  if (architecture == nullptr) {
    throw bad_input("the file has no general.architecture", "It holds tensors, but not a language model.");
  }
  const auto family = std::ranges::find(kFamilies, *architecture, &Family::name);
  if (family == kFamilies.end()) {
    throw bad_input(fmt::format("the model's architecture \"{}\" is not supported", *architecture),
                    fmt::format("Supported are {}.", fmt::join(known_families(), ", ")));
  }
  return *family;
}

}  // namespace

Program build_program(const gguf::Model& model) {
  const Family& family = family_of(model.metadata);
  Keys keys(model.metadata, std::string(family.name));
  ProgramBuilder builder(model, read_config(model, keys), keys);
  family.build(builder);
  return builder.finish();
}

std::vector<gguf::TensorInfo> make_tensors(const gguf::Metadata& metadata,
                                           const std::function<bool(std::string_view)>& wanted) {
  const Family& family = family_of(metadata);
  gguf::Model model;
  model.metadata = metadata;
  Keys keys(model.metadata, std::string(family.name));
  ModelConfig config = read_config(model, keys);
  ProgramBuilder builder(model, wanted, std::move(config), keys);
  family.build(builder);
  builder.finish();
  return std::move(model.tensors);
}

}  // namespace loadline::model

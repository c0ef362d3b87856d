#include "model/config.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "base/error.h"

namespace loadline::model {
namespace {

// Reads the keys of one architecture, "ARCH.suffix", with the bounds every hyper-parameter has.
class Keys {
 public:
  Keys(const gguf::Metadata& metadata, std::string architecture)
      : metadata_(metadata), architecture_(std::move(architecture)) {}

  [[nodiscard]] std::string key(std::string_view suffix) const { return fmt::format("{}.{}", architecture_, suffix); }

  // A count in [1, limit]; per-layer arrays are accepted where all entries agree.
  [[nodiscard]] std::optional<std::uint32_t> find_count(std::string_view suffix, std::uint64_t limit) const {
    const std::string name = key(suffix);
    const gguf::Value* value = metadata_.find(name);
    if (value == nullptr) return std::nullopt;
    std::uint64_t count = 0;
    if (value->type() == gguf::ValueType::Array) {
      const auto items = metadata_.get_integers(name);
      if (!items || items->empty()) throw bad_input(fmt::format("{} is an empty list", name));
      for (const std::int64_t item : *items) {
        if (item != items->front()) {
          throw bad_input(fmt::format("{} differs between layers, which is not supported yet", name));
        }
      }
      count = items->front() < 0 ? 0 : static_cast<std::uint64_t>(items->front());
    } else {
      count = *metadata_.get_unsigned(name);
    }
    if (count < 1 || count > limit) {
      throw bad_input(fmt::format("{} is {}, which is outside 1 to {}", name, count, limit));
    }
    return static_cast<std::uint32_t>(count);
  }

  [[nodiscard]] std::uint32_t count(std::string_view suffix, std::uint64_t limit) const {
    if (const auto found = find_count(suffix, limit)) return *found;
    throw bad_input(fmt::format("the model has no {}", key(suffix)),
                    "The file is not a complete model of this family.");
  }

  // A finite number in (0, limit].
  [[nodiscard]] std::optional<float> find_positive(std::string_view suffix, double limit) const {
    const auto number = metadata_.get_number(key(suffix));
    if (!number) return std::nullopt;
    if (!std::isfinite(*number) || *number <= 0 || *number > limit) {
      throw bad_input(fmt::format("{} is {}, which is outside 0 to {}", key(suffix), *number, limit));
    }
    return static_cast<float>(*number);
  }

  [[nodiscard]] const std::string* find_text(std::string_view suffix) const {
    return metadata_.get_string(key(suffix));
  }

 private:
  const gguf::Metadata& metadata_;
  std::string architecture_;
};

// Far above any model there is, far below anything that could overflow a size computed from two of them.
constexpr std::uint64_t kMostLayers = 4096;
constexpr std::uint64_t kMostWidth = 1 << 20;
constexpr std::uint64_t kMostHeads = 4096;
constexpr std::uint64_t kMostHeadSize = 1024;  // what the attention kernels hold in registers and on the stack
constexpr std::uint64_t kMostContext = 1 << 28;

void read_scaling(const Keys& keys, const ModelConfig& config, RopeConfig& rope) {
  std::string type = "none";
  if (const std::string* named = keys.find_text("rope.scaling.type")) type = *named;
  const auto factor = keys.find_positive("rope.scaling.factor", 1e6);
  const auto old_factor = keys.find_positive("rope.scale_linear", 1e6);  // before GGUF had scaling types
  if (type == "none" && old_factor && *old_factor != 1.0F) type = "linear";
  if (type == "none") return;
  if (!factor && !old_factor) {
    throw bad_input(fmt::format("{} is \"{}\", but there is no {}", keys.key("rope.scaling.type"), type,
                                keys.key("rope.scaling.factor")));
  }
  rope.factor = factor ? *factor : *old_factor;
  if (type == "linear") {
    rope.scaling = RopeConfig::Scaling::Linear;
    return;
  }
  if (type != "yarn") {
    throw bad_input(
        fmt::format("{} is \"{}\"; supported are none, linear and yarn", keys.key("rope.scaling.type"), type));
  }
  rope.scaling = RopeConfig::Scaling::Yarn;
  rope.original_context =
      keys.find_count("rope.scaling.original_context_length", kMostContext).value_or(config.trained_context);
  rope.beta_fast = keys.find_positive("rope.scaling.yarn_beta_fast", 1e6).value_or(rope.beta_fast);
  rope.beta_slow = keys.find_positive("rope.scaling.yarn_beta_slow", 1e6).value_or(rope.beta_slow);
  rope.magnitude = keys.find_positive("rope.scaling.attn_factor", 1e6).value_or(1.0F);
  // The paper's recommendation for the temperature of the softmax: sqrt(1/t) = 0.1 ln(s) + 1 (arXiv:2309.00071, eq.
  // 22).
  rope.magnitude *= 1.0F + 0.1F * std::log(rope.factor);
}

}  // namespace

ModelConfig read_config(const gguf::Model& model) {
  const gguf::Metadata& metadata = model.metadata;
  const std::string* architecture = metadata.get_string("general.architecture");
  if (architecture == nullptr) {
    throw bad_input("the file has no general.architecture", "It holds tensors, but not a language model.");
  }

  ModelConfig config;
  config.architecture = *architecture;
  if (const std::string* name = metadata.get_string("general.name")) config.name = *name;
  const Keys keys(metadata, *architecture);

  config.layers = keys.count("block_count", kMostLayers);
  config.embedding = keys.count("embedding_length", kMostWidth);
  config.feed_forward = keys.count("feed_forward_length", kMostWidth);
  config.heads = keys.count("attention.head_count", kMostHeads);
  config.kv_heads = keys.find_count("attention.head_count_kv", kMostHeads).value_or(config.heads);
  config.trained_context = keys.count("context_length", kMostContext);
  const auto epsilon = keys.find_positive("attention.layer_norm_rms_epsilon", 1.0);
  if (!epsilon) throw bad_input(fmt::format("the model has no {}", keys.key("attention.layer_norm_rms_epsilon")));
  config.rms_epsilon = *epsilon;

  if (config.heads % config.kv_heads != 0) {
    throw bad_input(fmt::format("{} ({}) is not a multiple of {} ({})", keys.key("attention.head_count"), config.heads,
                                keys.key("attention.head_count_kv"), config.kv_heads));
  }
  const auto key_length = keys.find_count("attention.key_length", kMostHeadSize);
  if (!key_length && config.embedding % config.heads != 0) {
    throw bad_input(fmt::format("{} ({}) is not a multiple of {} ({}), and there is no {}",
                                keys.key("embedding_length"), config.embedding, keys.key("attention.head_count"),
                                config.heads, keys.key("attention.key_length")));
  }
  config.head_dim_k = key_length.value_or(config.embedding / config.heads);
  config.head_dim_v = keys.find_count("attention.value_length", kMostHeadSize).value_or(config.head_dim_k);

  if (config.head_dim_k > kMostHeadSize) {
    throw bad_input(fmt::format("{} over {} makes heads of {}, and at most {} is supported",
                                keys.key("embedding_length"), keys.key("attention.head_count"), config.head_dim_k,
                                kMostHeadSize));
  }

  config.rope.dimensions = keys.find_count("rope.dimension_count", kMostWidth).value_or(config.head_dim_k);
  if (config.rope.dimensions % 2 != 0 || config.rope.dimensions > config.head_dim_k) {
    throw bad_input(fmt::format("{} is {}, which must be even and at most the head size {}",
                                keys.key("rope.dimension_count"), config.rope.dimensions, config.head_dim_k));
  }
  config.rope.base = keys.find_positive("rope.freq_base", 1e12).value_or(10000.0F);
  read_scaling(keys, config, config.rope);

  if (const auto experts = metadata.get_unsigned(keys.key("expert_count")); experts && *experts > 0) {
    throw bad_input(fmt::format("the model is a mixture of {} experts, which is not supported yet", *experts));
  }
  return config;
}

}  // namespace loadline::model

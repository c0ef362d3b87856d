#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace loadline::model {
namespace {

std::string architecture_of(const gguf::Model& model) {
  const std::string* architecture = model.metadata.get_string("general.architecture");
  if (architecture == nullptr) {
    throw bad_input("the file has no general.architecture", "It holds tensors, but not a language model.");
  }
  return *architecture;
}

// The magnitude that goes with positions stretched by `factor` (arXiv:2309.00071, eq. 22).
float yarn_magnitude(float factor, float multiplier) {
  return factor <= 1.0F ? 1.0F : 0.1F * multiplier * std::log(factor) + 1.0F;
}

void read_scaling(Keys& keys, const ModelConfig& config, RopeConfig& rope) {
  std::string type = "linear";
  if (const std::string* named = keys.find_text("rope.scaling.type")) type = *named;
  // 0 stands for none.
  const float named_factor = keys.find_number("rope.scaling.factor").value_or(0.0F);
  const float old_factor = keys.find_number("rope.scale_linear").value_or(0.0F);  // before GGUF had scaling types
  const float factor = named_factor != 0 ? named_factor : old_factor;
  if (factor < 0 || factor > 1e6F) {
    throw bad_input(fmt::format("{} is {}, which is outside 0 to 1e6", keys.key("rope.scaling.factor"), factor));
  }
  rope.original_context =
      keys.find_count("rope.scaling.original_context_length", kMostContext).value_or(config.trained_context);
  rope.log_multiplier = keys.find_number("rope.scaling.yarn_log_multiplier").value_or(0.0F);
  rope.magnitude = keys.find_positive("rope.scaling.attn_factor", 1e6).value_or(1.0F);
  if (type == "none") return;
  if (type == "linear" || type == "longrope") {
    if (factor == 0 || factor == 1) return;
    rope.factor = factor;
    rope.scaling = RopeConfig::Scaling::Linear;
    return;
  }
  if (type != "yarn") {
    throw bad_input(fmt::format("{} is \"{}\"; supported are none, linear, yarn and longrope",
                                keys.key("rope.scaling.type"), type));
  }
  if (factor == 0) {
    throw bad_input(fmt::format("{} is \"yarn\", but there is no {}", keys.key("rope.scaling.type"),
                                keys.key("rope.scaling.factor")));
  }
  rope.factor = factor;
  rope.scaling = RopeConfig::Scaling::Yarn;
  rope.magnitude *= yarn_magnitude(factor, 1.0F);
  if (rope.log_multiplier != 0) rope.magnitude /= yarn_magnitude(factor, rope.log_multiplier);
}

void read_layers(Keys& keys, ModelConfig& config) {
  const auto heads = keys.find_counts("attention.head_count", config.layers, kMostHeads, 0);
  const auto kv_heads = keys.find_counts("attention.head_count_kv", config.layers, kMostHeads, 0);
  const auto feed_forward = keys.find_counts("feed_forward_length", config.layers, kMostWidth, 0);
  for (std::uint32_t i = 0; i < config.layers; ++i) {
    LayerConfig& layer = config.layer.emplace_back();
    if (!heads.empty()) layer.heads = heads[i];
    layer.kv_heads = kv_heads.empty() ? layer.heads : kv_heads[i];
    if (!feed_forward.empty()) layer.feed_forward = feed_forward[i];
    if (layer.kv_heads == 0) layer.heads = 0;  // such layers have another kind of mixer
    if (layer.kv_heads > 0 && layer.heads % layer.kv_heads != 0) {
      throw bad_input(fmt::format("{} ({}) is not a multiple of {} ({})", keys.key("attention.head_count"), layer.heads,
                                  keys.key("attention.head_count_kv"), layer.kv_heads));
    }
    config.heads = std::max(config.heads, layer.heads);
    config.kv_heads = std::max(config.kv_heads, layer.kv_heads);
    config.feed_forward = std::max(config.feed_forward, layer.feed_forward);
  }
}

void read_head_sizes(Keys& keys, ModelConfig& config) {
  const auto key_length = keys.find_count("attention.key_length", kMostHeadSize);
  const auto value_length = keys.find_count("attention.value_length", kMostHeadSize);
  if (config.heads == 0) return;
  if (!key_length && config.embedding % config.heads != 0) {
    throw bad_input(fmt::format("{} ({}) is not a multiple of {} ({}), and there is no {}",
                                keys.key("embedding_length"), config.embedding, keys.key("attention.head_count"),
                                config.heads, keys.key("attention.key_length")));
  }
  config.head_dim_k = key_length.value_or(config.embedding / config.heads);
  config.head_dim_v = value_length.value_or(config.head_dim_k);
  if (config.head_dim_k > kMostHeadSize) {
    throw bad_input(fmt::format("{} over {} makes heads of {}, and at most {} is supported",
                                keys.key("embedding_length"), keys.key("attention.head_count"), config.head_dim_k,
                                kMostHeadSize));
  }
}

}  // namespace

ModelConfig read_config(const gguf::Model& model) {
  Keys keys(model.metadata, architecture_of(model));
  return read_config(model, keys);
}

ModelConfig read_config(const gguf::Model& model, Keys& keys) {
  ModelConfig config;
  config.architecture = architecture_of(model);
  if (const std::string* name = model.metadata.get_string("general.name")) config.name = *name;

  config.layers = keys.count("block_count", kMostLayers);
  config.embedding = keys.count("embedding_length", kMostWidth);
  config.trained_context = keys.count("context_length", kMostContext);
  config.rms_epsilon = keys.find_positive("attention.layer_norm_rms_epsilon", 1.0).value_or(0.0F);
  config.layer_epsilon = keys.find_positive("attention.layer_norm_epsilon", 1.0).value_or(0.0F);
  read_layers(keys, config);
  read_head_sizes(keys, config);

  config.rope.dimensions =
      keys.find_count("rope.dimension_count", kMostWidth, config.heads == 0 ? 0 : 1).value_or(config.head_dim_k);
  if (config.heads > 0 && (config.rope.dimensions % 2 != 0 || config.rope.dimensions > config.head_dim_k)) {
    throw bad_input(fmt::format("{} is {}, which must be even and at most the head size {}",
                                keys.key("rope.dimension_count"), config.rope.dimensions, config.head_dim_k));
  }
  config.rope.base = keys.find_positive("rope.freq_base", 1e12).value_or(10000.0F);
  read_scaling(keys, config, config.rope);

  // What has no meaning for what is computed. (The vocabulary's size is the embedding's.)
  for (const std::string_view suffix : {"vocab_size", "tensor_data_layout"}) keys.accept(suffix);
  return config;
}

}  // namespace loadline::model

// ModelConfig: the hyper-parameters of a model, read from GGUF metadata and checked against each other.
// It knows nothing of tensors; which tensors a model needs is the layer program's affair (program.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "model/keys.h"

namespace loadline::model {

// Rotary position embedding. Frequencies: base^(-2 i / dimensions), i < dimensions / 2, then scaled.
struct RopeConfig {
  enum class Scaling : std::uint8_t { None, Linear, Yarn };  // (longrope is factors, and perhaps linear)

  std::uint32_t dimensions = 0;  // values of each head that are rotated, even
  float base = 10000.0F;
  bool neox = false;  // pairs (i, i + dimensions / 2) instead of (2 i, 2 i + 1)
  Scaling scaling = Scaling::None;
  float factor = 1.0F;                 // positions are divided by this (Linear), or up to this (Yarn)
  std::uint32_t original_context = 0;  // the context the model was first trained with
  // Yarn (arXiv:2309.00071): where interpolation begins and ends, in rotations over the original context.
  float beta_fast = 32.0F;
  float beta_slow = 1.0F;
  float log_multiplier = 0.0F;  // Yarn: of the file, 0 where it does not say
  float magnitude = 1.0F;       // of cosines and sines

  bool operator==(const RopeConfig& other) const = default;
};

// What may differ from layer to layer.
struct LayerConfig {
  std::uint32_t heads = 0;  // 0: the layer has no attention
  std::uint32_t kv_heads = 0;
  std::uint32_t feed_forward = 0;
};

struct ModelConfig {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, may be empty
  std::uint32_t layers = 0;
  std::uint32_t embedding = 0;     // width of the hidden state
  std::uint32_t feed_forward = 0;  // width inside the feed-forward block; of these three, the most of any layer
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim_k = 0;
  std::uint32_t head_dim_v = 0;
  std::vector<LayerConfig> layer;  // one for each layer
  std::uint32_t vocabulary = 0;
  std::uint32_t trained_context = 0;
  float rms_epsilon = 0.0F;    // of RMS norms; 0 where the file does not say
  float layer_epsilon = 0.0F;  // of layer norms, likewise
  RopeConfig rope;

  [[nodiscard]] std::uint32_t q_width() const { return heads * head_dim_k; }
  [[nodiscard]] std::uint32_t k_width() const { return kv_heads * head_dim_k; }
  [[nodiscard]] std::uint32_t v_width() const { return kv_heads * head_dim_v; }
};

// Reads the hyper-parameters that families share; what only some have, or need, is their affair. Throws Error(BadInput)
// that names the key that is missing, out of range or contradicts another.
ModelConfig read_config(const gguf::Model& model);
ModelConfig read_config(const gguf::Model& model, Keys& keys);

}  // namespace loadline::model

#include "model/format_mix.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <initializer_list>
#include <optional>

#include "model/config.h"

namespace loadline::model {
namespace {

using quant::TensorType;

constexpr std::array kMixes = {
    FormatMix{"Q1_0", TensorType::Q1_0, 40},       FormatMix{"IQ1_S", TensorType::IQ1_S, 24},
    FormatMix{"TQ1_0", TensorType::TQ1_0, 36},     FormatMix{"IQ1_M", TensorType::IQ1_M, 31},
    FormatMix{"IQ2_XXS", TensorType::IQ2_XXS, 19}, FormatMix{"TQ2_0", TensorType::TQ2_0, 37},
    FormatMix{"Q2_0", TensorType::Q2_0, 41},       FormatMix{"IQ2_XS", TensorType::IQ2_XS, 20},
    FormatMix{"IQ2_S", TensorType::IQ2_XS, 28},    FormatMix{"IQ2_M", TensorType::IQ2_S, 29},
    FormatMix{"Q2_K_S", TensorType::Q2_K, 21},     FormatMix{"Q2_K", TensorType::Q2_K, 10},
    FormatMix{"IQ3_XXS", TensorType::IQ3_XXS, 23}, FormatMix{"IQ3_XS", TensorType::IQ3_S, 22},
    FormatMix{"Q3_K_S", TensorType::Q3_K, 11},     FormatMix{"IQ3_S", TensorType::IQ3_S, 26},
    FormatMix{"IQ3_M", TensorType::IQ3_S, 27},     FormatMix{"Q3_K_M", TensorType::Q3_K, 12},
    FormatMix{"Q3_K_L", TensorType::Q3_K, 13},     FormatMix{"MXFP4", TensorType::MXFP4, 38},
    FormatMix{"IQ4_XS", TensorType::IQ4_XS, 30},   FormatMix{"Q4_0", TensorType::Q4_0, 2},
    FormatMix{"NVFP4", TensorType::NVFP4, 39},     FormatMix{"Q4_K_S", TensorType::Q4_K, 14},
    FormatMix{"IQ4_NL", TensorType::IQ4_NL, 25},   FormatMix{"Q4_K_M", TensorType::Q4_K, 15},
    FormatMix{"Q4_1", TensorType::Q4_1, 3},        FormatMix{"Q5_0", TensorType::Q5_0, 8},
    FormatMix{"Q5_K_S", TensorType::Q5_K, 16},     FormatMix{"Q5_K_M", TensorType::Q5_K, 17},
    FormatMix{"Q5_1", TensorType::Q5_1, 9},        FormatMix{"Q6_K", TensorType::Q6_K, 18},
    FormatMix{"Q8_0", TensorType::Q8_0, 7},        FormatMix{"F16", TensorType::F16, 1},
    FormatMix{"BF16", TensorType::BF16, 32},       FormatMix{"F32", TensorType::F32, 0},
};

// Mixes of about as many bits, which have the same rules for most tensors.
bool is_one_of(std::string_view mix, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, mix) != names.end();
}
bool is_iq1(std::string_view mix) { return is_one_of(mix, {"IQ1_S", "IQ1_M"}); }
bool is_small_iq2(std::string_view mix) { return is_one_of(mix, {"IQ2_XXS", "IQ2_XS"}); }
bool is_large_iq2(std::string_view mix) { return is_one_of(mix, {"IQ2_S", "IQ2_M"}); }

// The parts of a name "blk.7.ffn_down.weight".
struct NameParts {
  std::optional<std::uint32_t> layer;
  std::string_view role;  // "ffn_down", "token_embd"
};

// Nothing for a tensor that is not called "....weight".
std::optional<NameParts> parse(std::string_view name) {
  constexpr std::string_view kWeight = ".weight";
  constexpr std::string_view kBlock = "blk.";
  if (!name.ends_with(kWeight)) return std::nullopt;
  NameParts parts{std::nullopt, name.substr(0, name.size() - kWeight.size())};
  if (!parts.role.starts_with(kBlock)) return parts;
  const std::string_view rest = parts.role.substr(kBlock.size());
  std::uint32_t layer = 0;
  const auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  if (problem != std::errc() || end == rest.data() + rest.size() || *end != '.') return parts;
  parts.layer = layer;
  parts.role = rest.substr(static_cast<std::size_t>(end - rest.data()) + 1);
  return parts;
}

// Small, and read element by element or decisive: norms, convolutions, the routers of experts, positions.
bool is_never_quantised(std::string_view role) {
  return role.ends_with("_norm") || role == "ffn_gate_inp" || role == "ssm_conv1d" || role == "shortconv.conv" ||
         role == "position_embd";
}

// The layers whose attn_v and ffn_down get more bits in the _M mixes: the first and last eighth and every third
// between.
bool wants_more_bits(std::uint32_t layer, std::uint32_t layers) {
  const std::uint32_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

TensorType attention_value_type(std::string_view mix, TensorType base, const MixedModel& model, std::uint32_t layer) {
  const bool shared = model.kv_heads != 0 && model.heads / model.kv_heads >= 4;  // small, and used by many heads
  TensorType type = base;
  if (mix == "Q2_K") type = shared ? TensorType::Q4_K : TensorType::Q3_K;
  if (mix == "Q2_K_S" && shared) type = TensorType::Q4_K;
  if (mix == "Q3_K_M") type = layer < 2 ? TensorType::Q5_K : TensorType::Q4_K;
  if (mix == "Q3_K_L") type = TensorType::Q5_K;
  if (mix == "Q4_K_S" && layer < 4) type = TensorType::Q5_K;
  if ((mix == "IQ4_NL" || mix == "IQ4_XS") && shared) type = TensorType::Q5_K;
  if ((mix == "Q4_K_M" || mix == "Q5_K_M") && wants_more_bits(layer, model.layers)) type = TensorType::Q6_K;
  if (is_one_of(mix, {"IQ3_XXS", "IQ3_XS", "IQ3_S"}) && shared) type = TensorType::Q4_K;
  if (mix == "IQ3_M") type = TensorType::Q4_K;
  if (is_large_iq2(mix)) type = shared ? TensorType::Q4_K : TensorType::IQ3_S;
  if (is_iq1(mix) || is_small_iq2(mix)) type = shared ? TensorType::Q4_K : TensorType::Q2_K;
  // llama.cpp knows its 70B models by their 80 layers; eight heads share these weights there.
  if (model.layers == 80 && (type == TensorType::Q3_K || type == TensorType::Q4_K)) type = TensorType::Q5_K;
  return type;
}

TensorType feed_forward_down_type(std::string_view mix, TensorType base, std::uint32_t layers, std::uint32_t layer) {
  const bool first_eighth = layer < layers / 8;
  if (mix == "Q2_K") return TensorType::Q3_K;
  if (mix == "Q2_K_S" && first_eighth) return TensorType::Q4_K;
  if (mix == "Q3_K_M") return layer < layers / 16 ? TensorType::Q5_K : TensorType::Q4_K;
  if (mix == "Q3_K_L") return TensorType::Q5_K;
  if ((mix == "Q4_K_S" || mix == "IQ4_NL" || mix == "IQ4_XS") && first_eighth) return TensorType::Q5_K;
  if ((mix == "Q4_K_M" || mix == "Q5_K_M") && wants_more_bits(layer, layers)) return TensorType::Q6_K;
  if (mix == "IQ3_M" && first_eighth) return TensorType::Q4_K;
  if (is_large_iq2(mix) && first_eighth) return TensorType::IQ3_S;
  if ((is_iq1(mix) || is_small_iq2(mix)) && first_eighth) return TensorType::Q2_K;
  return base;
}

TensorType feed_forward_in_type(std::string_view mix, TensorType base, std::uint32_t layers, std::uint32_t layer) {
  const bool middle = layer >= layers / 8 && layer < 7 * layers / 8;
  return mix == "IQ3_XS" && middle ? TensorType::IQ3_XXS : base;
}

TensorType attention_query_type(std::string_view mix, TensorType base) {
  if (mix == "IQ3_XS") return TensorType::IQ3_XXS;
  if (mix == "IQ3_XXS") return TensorType::IQ2_S;
  return base;
}

// Of the output, or the embeddings where these are it: every logit depends on it, so six bits at least.
TensorType output_type(std::string_view mix, TensorType base) {
  if (is_one_of(mix, {"Q8_0", "MXFP4", "NVFP4"})) return TensorType::Q8_0;
  if (is_iq1(mix) || is_small_iq2(mix) || is_large_iq2(mix) || mix == "IQ3_XXS") return TensorType::Q5_K;
  return base == TensorType::Q8_0 ? base : TensorType::Q6_K;
}

TensorType embedding_type(std::string_view mix, TensorType base) {
  if (is_one_of(mix, {"MXFP4", "NVFP4"})) return TensorType::Q8_0;
  if (is_large_iq2(mix) || mix == "IQ3_XXS") return TensorType::IQ3_S;
  if (is_iq1(mix) || is_small_iq2(mix)) return TensorType::Q2_K;
  if (is_one_of(mix, {"TQ1_0", "TQ2_0", "Q2_0"})) return TensorType::Q4_K;
  return base;
}

TensorType attention_output_type(std::string_view mix, TensorType base) {
  if (mix == "Q2_K") return TensorType::Q3_K;
  if (mix == "Q3_K_M") return TensorType::Q4_K;
  if (mix == "Q3_K_L") return TensorType::Q5_K;
  if (mix == "IQ3_M") return TensorType::Q4_K;
  if (is_large_iq2(mix) || mix == "IQ3_XXS") return TensorType::IQ3_S;
  if (is_iq1(mix)) return TensorType::IQ2_XXS;
  return base;
}

// A format whose blocks a row of `columns` values fills exactly: the type itself, or what replaces it.
TensorType fitting(TensorType type, std::uint64_t columns) {
  const auto fits = [columns](TensorType t) { return columns % quant::format_of(t).block_elements == 0; };
  if (fits(type)) return type;
  TensorType smaller_blocks = TensorType::F16;
  switch (type) {
    case TensorType::Q2_K:
    case TensorType::Q3_K:
    case TensorType::IQ4_XS:
    case TensorType::IQ1_S:
    case TensorType::IQ1_M:
    case TensorType::IQ2_XXS:
    case TensorType::IQ2_XS:
    case TensorType::IQ2_S:
    case TensorType::IQ3_XXS:
    case TensorType::IQ3_S: smaller_blocks = TensorType::IQ4_NL; break;
    case TensorType::TQ1_0:
    case TensorType::TQ2_0:
    case TensorType::Q2_0: smaller_blocks = TensorType::Q4_0; break;
    case TensorType::Q4_K: smaller_blocks = TensorType::Q5_0; break;
    case TensorType::Q5_K: smaller_blocks = TensorType::Q5_1; break;
    case TensorType::Q6_K: smaller_blocks = TensorType::Q8_0; break;
    default: break;
  }
  return fits(smaller_blocks) ? smaller_blocks : TensorType::F16;
}

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

bool same_name(std::string_view a, std::string_view b) { return std::ranges::equal(a, b, {}, lower, lower); }

}  // namespace

std::span<const FormatMix> all_mixes() { return kMixes; }

const FormatMix* find_mix(std::string_view name) {
  for (const std::string_view family : {"Q3_K", "Q4_K", "Q5_K"}) {
    if (same_name(name, family)) return find_mix(std::string(family) + "_M");
  }
  for (const FormatMix& mix : kMixes) {
    if (same_name(name, mix.name)) return &mix;
  }
  return nullptr;
}

MixedModel mixed_model(const gguf::Model& model) {
  const ModelConfig config = read_config(model);
  return {config.layers, config.heads, config.kv_heads, model.find_tensor("output.weight") < 0};
}

TensorType type_in_mix(const FormatMix& mix, const MixedModel& model, const gguf::TensorInfo& tensor) {
  const auto parts = parse(tensor.name);
  if (!parts || tensor.dimensions < 2 || is_never_quantised(parts->role)) return tensor.type;
  if (quant::format_of(mix.base).block_elements == 1) return mix.base;

  TensorType type = mix.base;
  if (parts->role == "output" || (parts->role == "token_embd" && model.tied_embeddings)) {
    type = output_type(mix.name, mix.base);
  } else if (parts->role == "token_embd") {
    type = embedding_type(mix.name, mix.base);
  } else if (parts->layer) {
    if (parts->role == "attn_v") type = attention_value_type(mix.name, mix.base, model, *parts->layer);
    if (parts->role == "attn_q" || parts->role == "attn_k") type = attention_query_type(mix.name, mix.base);
    if (parts->role == "ffn_gate" || parts->role == "ffn_up") {
      type = feed_forward_in_type(mix.name, mix.base, model.layers, *parts->layer);
    }
    if (parts->role == "attn_output") type = attention_output_type(mix.name, mix.base);
    if (parts->role == "ffn_down" || parts->role == "ffn_down_exps")
      type = feed_forward_down_type(mix.name, mix.base, model.layers, *parts->layer);
  }
  return fitting(type, tensor.columns());
}

Bytes size_in_mix(const FormatMix& mix, const MixedModel& model, std::span<const gguf::TensorInfo> tensors) {
  Bytes total;
  for (const gguf::TensorInfo& tensor : tensors) {
    total += quant::size_of(type_in_mix(mix, model, tensor), tensor.elements());
  }
  return total;
}

}  // namespace loadline::model

// The arguments of each shader, as they are pushed: the same structures as in the shaders, member for member.
// Addresses are device addresses; "table" is that of the pass (pass_table.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/operations.h"

namespace loadline::vulkan {

using Address = std::uint64_t;

// Flags of a product, and of experts.
inline constexpr std::uint32_t kAccumulate = 1;
inline constexpr std::uint32_t kGated = 2;
inline constexpr std::uint32_t kActivatePrior = 4;
inline constexpr std::uint32_t kSelected = 8;
inline constexpr std::uint32_t kOutOfExperts = 16;
inline constexpr std::uint32_t kActivate = 32;
inline constexpr std::uint32_t kWeightBefore = 64;
// The function that a gate passes through.
constexpr std::uint32_t function_flag(model::Activation function) { return static_cast<std::uint32_t>(function) << 8; }

struct ProductArguments {  // product.glsl
  Address weights = 0;
  Address second = 0;
  Address x = 0;
  Address norm = 0;
  Address bias = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t row_bytes = 0;
  std::uint32_t first_row = 0;
  std::uint32_t end_row = 0;
  std::uint32_t result_stride = 0;
  std::uint32_t flags = 0;
  float epsilon = 0;
  std::uint32_t first_token = 0;
  Address codebooks = 0;
  Address scale = 0;
  Address groups = 0;
  std::uint64_t expert_bytes = 0;
  std::uint32_t used = 0;
  std::uint32_t bias_stride = 0;
};

struct EmbedArguments {  // embed.comp
  Address weights = 0;
  Address ids = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t row_bytes = 0;
  Address codebooks = 0;
  std::uint32_t id_stride = 1;
  std::uint32_t add = 0;
};

struct NormArguments {  // norm.comp
  Address x = 0;
  Address weight = 0;
  Address bias = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t part = 0;
  std::uint32_t offset = 0;
  std::uint32_t selected = 0;
  float epsilon = 0;
  std::uint32_t layer = 0;
  std::uint32_t per_part = 0;
};

struct RopeArguments {  // rope.comp
  Address x = 0;
  Address angles = 0;
  Address table = 0;
  std::uint32_t sine_offset = 0;
  std::uint32_t pairs = 0;
  std::uint32_t heads = 0;
  std::uint32_t head = 0;
  std::uint32_t offset = 0;
  std::uint32_t neox = 0;
};

struct MapArguments {  // map.comp
  Address a = 0;
  Address b = 0;
  Address result = 0;
  Address tensor = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t kind = 0;
  std::uint32_t function = 0;
  std::uint32_t selected = 0;
  float factor = 1;
  float alpha_p = 0, alpha_n = 0, beta = 0, epsilon = 0;
};

struct SplitArguments {  // split.comp
  Address x = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t repeats = 0;
  std::uint32_t run = 0;
  std::uint32_t first = 0;
  std::uint32_t width = 0;
  std::uint32_t selected = 0;
};

struct RouteArguments {  // route.comp
  Address logits = 0;
  Address result = 0;
  Address choice_bias = 0;
  Address table = 0;
  std::uint32_t experts = 0;
  std::uint32_t used = 0;
  std::uint32_t gating = 0;
  std::uint32_t groups = 1;
  std::uint32_t groups_used = 1;
  std::uint32_t normalize = 0;
  float scale = 1;
  std::uint32_t selected = 0;
};

struct ExpertArguments {  // experts.comp
  Address weights = 0;
  Address x = 0;
  Address chosen = 0;
  Address bias = 0;
  Address scale = 0;
  Address result = 0;
  Address table = 0;
  Address codebooks = 0;
  std::uint64_t expert_bytes = 0;
  std::uint32_t columns = 0;
  std::uint32_t row_bytes = 0;
  std::uint32_t first_row = 0;
  std::uint32_t end_row = 0;
  std::uint32_t stride = 0;
  std::uint32_t bias_stride = 0;
  std::uint32_t used = 0;
  std::uint32_t flags = 0;
};

struct GroupArguments {  // group_experts.comp
  Address chosen = 0;
  Address groups = 0;
  Address table = 0;
  std::uint32_t experts = 0;
  std::uint32_t used = 0;
  std::uint32_t most_tiles = 0;
  std::uint32_t selected = 0;
};

struct SumArguments {  // sum_experts.comp
  Address x = 0;
  Address chosen = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t used = 0;
  std::uint32_t weighted = 0;
  std::uint32_t selected = 0;
};

struct HeadLinearArguments {  // head_linear.comp
  Address weights = 0;
  Address x = 0;
  Address result = 0;
  Address table = 0;
  Address codebooks = 0;
  std::uint32_t inputs = 0;
  std::uint32_t outputs = 0;
  std::uint32_t copied = 0;
  std::uint32_t heads = 0;
  std::uint32_t head_rows = 0;
  std::uint32_t row_bytes = 0;
  std::uint32_t tiles = 0;
  std::uint32_t selected = 0;
};

struct HeadsArguments {  // heads.comp
  Address q = 0, k = 0, v = 0;
  Address q_norm = 0, k_norm = 0;
  Address k_cache = 0, v_cache = 0;
  Address angles = 0;
  Address tokens = 0;
  Address pages = 0;
  Address table = 0;
  std::uint32_t sine_offset = 0;
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  float epsilon = 0;
  std::uint32_t k_heads = 0;
  std::uint32_t v_heads = 0;
};

struct AttentionArguments {  // attention.comp
  Address q = 0;
  Address result = 0;
  Address k_cache = 0, v_cache = 0;
  Address tiles = 0;
  Address tokens = 0;
  Address pages = 0;
  Address workspace = 0;
  Address table = 0;
  Address sinks = 0;
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t first_tile = 0;
  float scale = 0;
  float softcap = 0;
  std::uint32_t window = 0;
  std::uint32_t chunk = 0;
  float alibi = 0;
  float temperature = 0;
  std::uint32_t temperature_length = 1;
  std::uint32_t temperature_ahead = 0;
};

struct MergeArguments {  // merge_attention.comp
  Address workspace = 0;
  Address result = 0;
  Address table = 0;
  Address sinks = 0;
  std::uint32_t heads = 0;
  std::uint32_t width = 0;
  std::uint32_t splits = 0;
};

struct ConvolutionArguments {  // convolution.comp
  Address x = 0;
  Address result = 0;
  Address weight = 0;
  Address bias = 0;
  Address states = 0;
  Address runs = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t taps = 0;
  std::uint32_t function = 0;
  std::uint32_t leaves = 0;
};

struct DeltaNetArguments {  // delta_net.comp
  Address qkv = 0;
  Address beta = 0;
  Address decay = 0;
  Address dt_bias = 0;
  Address rate = 0;
  Address result = 0;
  Address states = 0;
  Address runs = 0;
  Address table = 0;
  std::uint32_t key_heads = 0;
  std::uint32_t value_heads = 0;
  std::uint32_t size = 0;
  float epsilon = 0;
  std::uint32_t tiled = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

struct StateSpaceArguments {  // state_space.comp
  Address xbc = 0;
  Address dt = 0;
  Address dt_bias = 0;
  Address rate = 0;
  Address direct = 0;
  Address result = 0;
  Address states = 0;
  Address runs = 0;
  Address table = 0;
  std::uint32_t inner = 0;
  std::uint32_t state = 0;
  std::uint32_t heads = 0;
  std::uint32_t groups = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

struct SelectArguments {  // select_rows.comp
  Address x = 0;
  Address outputs = 0;
  Address table = 0;
  std::uint32_t columns = 0;
};

struct ReadMemoryArguments {  // read_memory.comp
  Address from = 0;
  Address result = 0;
};

struct MultiplyAddArguments {  // multiply_add.comp
  Address result = 0;
  float factor = 0;
};

// The least every Vulkan device offers (maxPushConstantsSize).
inline constexpr std::size_t kMostArguments = 128;
static_assert(sizeof(ProductArguments) <= kMostArguments && sizeof(HeadsArguments) <= kMostArguments &&
              sizeof(ExpertArguments) <= kMostArguments && sizeof(AttentionArguments) <= kMostArguments);

}  // namespace loadline::vulkan

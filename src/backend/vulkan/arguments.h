// The arguments of each shader, as they are pushed: the same structures as in the shaders, member for member.
// Addresses are device addresses; "table" is that of the pass (pass_table.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace loadline::vulkan {

using Address = std::uint64_t;

// Flags of a product.
inline constexpr std::uint32_t kAccumulate = 1;
inline constexpr std::uint32_t kGated = 2;
inline constexpr std::uint32_t kActivatePrior = 4;
inline constexpr std::uint32_t kSelected = 8;

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
};

struct EmbedArguments {  // embed.comp
  Address weights = 0;
  Address ids = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t row_bytes = 0;
  Address codebooks = 0;
};

struct NormArguments {  // rms_norm.comp
  Address x = 0;
  Address weight = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t columns = 0;
  std::uint32_t selected = 0;
  float epsilon = 0;
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
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t first_tile = 0;
  float scale = 0;
};

struct MergeArguments {  // merge_attention.comp
  Address workspace = 0;
  Address result = 0;
  Address table = 0;
  std::uint32_t heads = 0;
  std::uint32_t width = 0;
  std::uint32_t splits = 0;
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
              sizeof(AttentionArguments) <= kMostArguments);

}  // namespace loadline::vulkan

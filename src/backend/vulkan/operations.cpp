#include "backend/vulkan/operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "quant/format.h"
#include "quant/packed_codebooks.h"

namespace loadline::vulkan {
namespace {

// matvec.comp: subgroups of a workgroup, and rows of weights that a subgroup reads at once. More rows use each load of
// the activations more often, fewer leave more subgroups to hide latency with; with several tokens registers set the
// limit.
constexpr std::uint32_t kSubgroups = 4;
constexpr std::uint32_t kVectorRows = 4;
constexpr std::uint32_t kFewTokensRows = 2;
// matmul.comp
constexpr std::uint32_t kTile = 64;
// matmul_units.glsl: a subgroup for each.
constexpr std::uint32_t kQuarters = 4;
// attention.comp
constexpr std::uint32_t kAttentionRows = 16;
// Of the small shaders.
constexpr std::uint32_t kThreads = 64;
constexpr std::uint32_t kNormThreads = 256;

constexpr std::uint32_t divide_up(std::uint32_t a, std::uint32_t b) { return (a + b - 1) / b; }

std::uint32_t ragged(std::uint32_t columns) { return columns % 8 != 0 ? 1 : 0; }

// kv.glsl
std::uint32_t kv_code(quant::TensorType type) {
  switch (type) {
    case quant::TensorType::F32: return 0;
    case quant::TensorType::F16: return 1;
    default: assert(type == quant::TensorType::Q8_0); return 2;
  }
}

std::uint64_t attention_shared_bytes(const AttentionShape& shape, const AttentionTile& tile) {
  const std::uint64_t rows = std::uint64_t{tile.tokens} * tile.heads;
  const std::uint64_t block = std::uint64_t{tile.cells} * std::max(shape.head_dim_k + 1, shape.head_dim_v);
  return 4 * (rows * shape.head_dim_k + block + rows * tile.cells + 3 * rows);
}

}  // namespace

bool suits_matrix_units(quant::TensorType format) {
  return format != quant::TensorType::F32 && format != quant::TensorType::BF16;
}

bool suits_integer_dots(quant::TensorType format) {
  return std::ranges::any_of(all_shaders(), [&](const ShaderCode& code) {
    return code.shader == Shader::MatvecDots && code.format == format;
  });
}

template <class Arguments>
void Operations::dispatch(CommandList& list, const PipelineKey& key, const Arguments& arguments, Workgroups groups) {
  if (groups.x == 0 || groups.y == 0 || groups.z == 0) return;
  const std::uint32_t most = context_.limits().most_workgroups;
  if (groups.x > most || groups.y > most) {
    throw Error(ErrorCode::DeviceFailure, fmt::format("the GPU {} cannot take a step of {} by {} workgroups ({})",
                                                      context_.info().name, groups.x, groups.y, name_of(key.shader)));
  }
  if (pipelines_.collecting()) return pipelines_.want(key);
  list.dispatch(pipelines_.get(key), pipelines_.layout(), arguments, groups);
}

Address Operations::codebooks_of(quant::TensorType format) const {
  if (!quant::has_codebook(format)) return 0;
  if (codebooks_ == 0) throw Error(ErrorCode::Internal, "a GPU was given no codebooks for its weights");
  return codebooks_;
}

bool Operations::uses_dots(quant::TensorType format, Arithmetic arithmetic) const {
  return arithmetic == Arithmetic::Best && context_.integer_dots() && suits_integer_dots(format);
}

PipelineKey Operations::matmul_key(quant::TensorType format, std::uint32_t columns, Arithmetic arithmetic,
                                   bool grouped) const {
  PipelineKey key{Shader::Matmul, format, {0, ragged(columns)}};
  const std::optional<MatrixShape> units = context_.matrix_units();
  if (units && arithmetic == Arithmetic::Best && suits_matrix_units(format)) {
    key.shader = context_.options().emulated_units ? Shader::MatmulEmulated : Shader::MatmulUnits;
    key.constants = {context_.limits().lanes * kQuarters, ragged(columns), units->rows, units->tokens, units->depth};
  } else if (uses_dots(format, arithmetic)) {
    key.shader = Shader::MatmulDots;
  }
  key.constants[5] = grouped ? 1 : 0;
  return key;
}

void Operations::product(CommandList& list, quant::TensorType format, const ProductArguments& given, std::uint32_t most,
                         Arithmetic arithmetic) {
  ProductArguments arguments = given;
  arguments.codebooks = codebooks_of(format);
  // A gated product takes two rows of weights, one of each matrix, for each row of the result.
  const std::uint32_t doubled = (arguments.flags & kGated) != 0 ? 2 : 1;
  const std::uint32_t rows = (arguments.end_row - arguments.first_row) * doubled;
  if (most > kMostVectorRows || arguments.first_token > 0) {
    assert(arguments.norm == 0);
    return dispatch(list, matmul_key(format, arguments.columns, arithmetic, false), arguments,
                    {divide_up(rows, kTile), divide_up(most, kTile)});
  }
  const std::uint32_t lanes = context_.limits().lanes;
  const std::uint32_t rows_each = most == 1 ? kVectorRows : kFewTokensRows;
  const PipelineKey key{uses_dots(format, arithmetic) ? Shader::MatvecDots : Shader::Matvec,
                        format,
                        {lanes * kSubgroups, ragged(arguments.columns), rows_each, most == 1 ? 1 : kMostVectorRows}};
  dispatch(list, key, arguments, {divide_up(rows, rows_each * kSubgroups)});
}

void Operations::embed(CommandList& list, quant::TensorType format, const EmbedArguments& given, std::uint32_t most) {
  EmbedArguments arguments = given;
  arguments.codebooks = codebooks_of(format);
  // Eight values a lane at least.
  const PipelineKey key{Shader::Embed, format, {0, ragged(arguments.columns)}};
  dispatch(list, key, arguments, {divide_up(divide_up(arguments.columns, 8), kThreads), most});
}

void Operations::norm(CommandList& list, const NormArguments& arguments, std::uint32_t parts, std::uint32_t most) {
  // A head at a time needs few threads.
  const std::uint32_t threads = arguments.part > kThreads * 4 ? kNormThreads : kThreads;
  dispatch(list, {Shader::Norm, std::nullopt, {std::max(threads, context_.limits().lanes)}}, arguments, {parts, most});
}

void Operations::rope(CommandList& list, const RopeArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::Rope, std::nullopt, {}}, arguments,
           {divide_up(arguments.heads * arguments.pairs, kThreads), most});
}

void Operations::map(CommandList& list, const MapArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::Map, std::nullopt, {}}, arguments, {divide_up(arguments.columns, kThreads), most});
}

void Operations::split(CommandList& list, const SplitArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::Split, std::nullopt, {}}, arguments,
           {divide_up(arguments.repeats * arguments.width, kThreads), most});
}

void Operations::route(CommandList& list, const RouteArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::Route, std::nullopt, {}}, arguments, {most});
}

void Operations::experts(CommandList& list, quant::TensorType format, const ExpertArguments& given,
                         std::uint32_t most) {
  ExpertArguments arguments = given;
  arguments.codebooks = codebooks_of(format);
  const PipelineKey key{
      Shader::Experts, format, {context_.limits().lanes * kSubgroups, ragged(arguments.columns), kVectorRows}};
  const std::uint32_t rows = arguments.end_row - arguments.first_row;
  const bool out = (arguments.flags & kOutOfExperts) != 0;
  dispatch(list, key, arguments, {divide_up(rows, kVectorRows * kSubgroups), out ? most : most * arguments.used});
}

void Operations::group_experts(CommandList& list, const GroupArguments& arguments) {
  dispatch(list, {Shader::GroupExperts, std::nullopt, {}}, arguments, {1});
}

void Operations::grouped_product(CommandList& list, quant::TensorType format, const ProductArguments& given,
                                 std::uint32_t tiles, Arithmetic arithmetic) {
  ProductArguments arguments = given;
  arguments.codebooks = codebooks_of(format);
  const std::uint32_t doubled = (arguments.flags & kGated) != 0 ? 2 : 1;
  const std::uint32_t rows = (arguments.end_row - arguments.first_row) * doubled;
  dispatch(list, matmul_key(format, arguments.columns, arithmetic, true), arguments, {divide_up(rows, kTile), tiles});
}

void Operations::sum_experts(CommandList& list, const SumArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::SumExperts, std::nullopt, {}}, arguments, {divide_up(arguments.columns, kThreads), most});
}

void Operations::head_linear(CommandList& list, quant::TensorType format, bool transposed,
                             const HeadLinearArguments& given, std::uint32_t most) {
  HeadLinearArguments arguments = given;
  arguments.codebooks = codebooks_of(format);
  const std::uint32_t threads = context_.limits().lanes * kSubgroups;
  // Eight columns a thread at least.
  arguments.tiles = transposed ? divide_up(divide_up(arguments.outputs, 8), threads)
                               : divide_up(arguments.outputs, kVectorRows * kSubgroups);
  const std::uint32_t columns = transposed ? arguments.outputs : arguments.inputs;
  const PipelineKey key{Shader::HeadLinear, format, {threads, ragged(columns), kVectorRows, transposed ? 1U : 0U}};
  dispatch(list, key, arguments, {arguments.tiles * arguments.heads, most});
}

void Operations::convolution(CommandList& list, const ConvolutionArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::Convolution, std::nullopt, {}}, arguments, {divide_up(arguments.columns, kThreads), most});
}

void Operations::delta_net(CommandList& list, const DeltaNetArguments& arguments, std::uint32_t most_runs) {
  dispatch(list, {Shader::DeltaNet, std::nullopt, {}}, arguments, {arguments.value_heads, most_runs});
}

void Operations::state_space(CommandList& list, const StateSpaceArguments& arguments, std::uint32_t most_runs) {
  dispatch(list, {Shader::StateSpace, std::nullopt, {}}, arguments, {arguments.heads, most_runs});
}

void Operations::select_rows(CommandList& list, const SelectArguments& arguments) {
  dispatch(list, {Shader::SelectRows, std::nullopt, {}}, arguments, {divide_up(arguments.columns, kThreads)});
}

void Operations::heads(CommandList& list, const AttentionShape& shape, const HeadsArguments& arguments,
                       std::uint32_t most) {
  const PipelineKey key{Shader::Heads,
                        std::nullopt,
                        {0, shape.head_dim_k, shape.head_dim_v, kv_code(shape.k_type), kv_code(shape.v_type),
                         shape.rotary, shape.neox ? 1U : 0U}};
  dispatch(list, key, arguments, {shape.heads + arguments.k_heads + arguments.v_heads, most});
}

AttentionTile Operations::attention_tile(const AttentionShape& shape, std::uint32_t most) const {
  const std::uint32_t group = shape.heads / shape.kv_heads;
  AttentionTile tile;
  for (std::uint32_t heads = 1; heads <= std::min(group, kAttentionRows); ++heads) {
    if (group % heads == 0) tile.heads = heads;
  }
  if (most > kMostVectorRows) tile.tokens = kAttentionRows / tile.heads;
  const std::uint32_t room = context_.limits().shared_memory;
  while (attention_shared_bytes(shape, tile) > room) {
    const std::uint32_t fewest_cells = tile.tokens > 1 ? 16 : 1;
    if (tile.cells > fewest_cells) {
      tile.cells /= 2;
    } else if (tile.tokens > 1) {
      tile.tokens /= 2;
    } else if (tile.heads > 1) {
      tile.heads = 1;
    } else {
      throw Error(ErrorCode::DeviceFailure,
                  fmt::format("the attention heads of this model ({} values) are too wide for the GPU {}",
                              shape.head_dim_k, context_.info().name));
    }
  }
  return tile;
}

void Operations::attention(CommandList& list, const AttentionShape& shape, AttentionTile tile, std::uint32_t splits,
                           const AttentionArguments& arguments, std::uint32_t most_tiles) {
  const PipelineKey key{
      Shader::Attention,
      std::nullopt,
      {0, shape.head_dim_k, shape.head_dim_v, kv_code(shape.k_type), kv_code(shape.v_type), tile.tokens, tile.heads,
       tile.cells, splits, shape.value_row != 0 ? shape.value_row : shape.head_dim_v}};
  dispatch(list, key, arguments, {most_tiles, shape.heads / tile.heads, splits});
}

void Operations::merge_attention(CommandList& list, const MergeArguments& arguments, std::uint32_t most) {
  dispatch(list, {Shader::MergeAttention, std::nullopt, {}}, arguments, {arguments.heads, most});
}

}  // namespace loadline::vulkan

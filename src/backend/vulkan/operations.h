// How each operation becomes a dispatch: which shader, specialised how, with how many workgroups. One place, used by
// the recorder and by the tests. It knows shapes, not plans.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/vulkan/arguments.h"
#include "backend/vulkan/commands.h"
#include "backend/vulkan/pipelines.h"
#include "backend/vulkan/staging.h"

namespace loadline::vulkan {

// Passes of up to this many rows multiply with matvec.comp, larger ones with matmul.comp.
inline constexpr std::uint32_t kMostVectorRows = kFewRows;

// Whether matrix units multiply this format: float16 does not hold what a wider format holds.
bool suits_matrix_units(quant::TensorType format);

// Whether products of bytes are made of this format: its weights are whole numbers with a scale.
bool suits_integer_dots(quant::TensorType format);

// What attention is specialised on.
struct AttentionShape {
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim_k = 0;
  std::uint32_t head_dim_v = 0;
  quant::TensorType k_type = quant::TensorType::F16;
  quant::TensorType v_type = quant::TensorType::F16;
  std::uint32_t rotary = 0;
  bool neox = false;
  std::uint32_t value_row = 0;  // values in a row of the cache that values lie in; 0: head_dim_v
};

// The query rows a workgroup of attention.comp takes, and the cells it reads at a time.
struct AttentionTile {
  std::uint32_t tokens = 1;
  std::uint32_t heads = 1;
  std::uint32_t cells = 32;
};

// Records dispatches into command lists. `pipelines` must outlive it. Making a pipeline for the first time takes a
// while and may throw Error(DeviceFailure). While `pipelines` collects, nothing is dispatched.
class Operations {
 public:
  // `codebooks`: where the device has quant::packed_codebooks; 0 where no format needs them.
  Operations(Context& context, Pipelines& pipelines, Address codebooks = 0)
      : context_(context), pipelines_(pipelines), codebooks_(codebooks) {}

  enum class Arithmetic : std::uint8_t { Best, Plain };
  // Rows [first_row, end_row) of the product with at most `most` rows of activations, from `first_token` on. Plain: in
  // float32 alone, neither with the device's matrix units nor with products of bytes.
  void product(CommandList& list, quant::TensorType format, const ProductArguments& arguments, std::uint32_t most,
               Arithmetic arithmetic = Arithmetic::Best);
  void embed(CommandList& list, quant::TensorType format, const EmbedArguments& arguments, std::uint32_t most);
  void norm(CommandList& list, const NormArguments& arguments, std::uint32_t parts, std::uint32_t most);
  void rope(CommandList& list, const RopeArguments& arguments, std::uint32_t most);
  void map(CommandList& list, const MapArguments& arguments, std::uint32_t most);
  void split(CommandList& list, const SplitArguments& arguments, std::uint32_t most);
  void route(CommandList& list, const RouteArguments& arguments, std::uint32_t most);
  void experts(CommandList& list, quant::TensorType format, const ExpertArguments& arguments, std::uint32_t most);
  // For many tokens: the pairs of tokens and experts in the order of the experts, products of each expert with the
  // tokens of up to `tiles` tiles, from arguments.first_token on, and the sums of what they make.
  void group_experts(CommandList& list, const GroupArguments& arguments);
  void grouped_product(CommandList& list, quant::TensorType format, const ProductArguments& arguments,
                       std::uint32_t tiles, Arithmetic arithmetic = Arithmetic::Best);
  void sum_experts(CommandList& list, const SumArguments& arguments, std::uint32_t most);
  // `transposed`: the matrix has a row for each input.
  void head_linear(CommandList& list, quant::TensorType format, bool transposed, const HeadLinearArguments& arguments,
                   std::uint32_t most);
  // `most`: tokens, or where it leaves states, runs.
  void convolution(CommandList& list, const ConvolutionArguments& arguments, std::uint32_t most);
  void delta_net(CommandList& list, const DeltaNetArguments& arguments, std::uint32_t most_runs);
  void state_space(CommandList& list, const StateSpaceArguments& arguments, std::uint32_t most_runs);
  void select_rows(CommandList& list, const SelectArguments& arguments);
  void heads(CommandList& list, const AttentionShape& shape, const HeadsArguments& arguments, std::uint32_t most);
  // `splits` > 1 leaves partial results, which `merge_attention` puts together.
  void attention(CommandList& list, const AttentionShape& shape, AttentionTile tile, std::uint32_t splits,
                 const AttentionArguments& arguments, std::uint32_t most_tiles);
  void merge_attention(CommandList& list, const MergeArguments& arguments, std::uint32_t most);

  // The tile for passes of at most `most` tokens. Throws Error(DeviceFailure) for heads too wide for the device.
  [[nodiscard]] AttentionTile attention_tile(const AttentionShape& shape, std::uint32_t most) const;

 private:
  template <class Arguments>
  void dispatch(CommandList& list, const PipelineKey& key, const Arguments& arguments, Workgroups groups);

  [[nodiscard]] Address codebooks_of(quant::TensorType format) const;
  [[nodiscard]] bool uses_dots(quant::TensorType format, Arithmetic arithmetic) const;
  [[nodiscard]] PipelineKey matmul_key(quant::TensorType format, std::uint32_t columns, Arithmetic arithmetic,
                                       bool grouped) const;

  Context& context_;
  Pipelines& pipelines_;
  Address codebooks_;
};

}  // namespace loadline::vulkan

#include "backend/vulkan/context_cost.h"

#include <algorithm>

#include "backend/vulkan/commands.h"
#include "backend/vulkan/operations.h"
#include "backend/vulkan/pipelines.h"
#include "base/clock.h"
#include "hardware/probe.h"

namespace loadline::vulkan {
namespace {

// What a model of today needs: two formats of weights, and heads of a usual size.
constexpr quant::TensorType kFormats[] = {quant::TensorType::Q4_K, quant::TensorType::Q6_K};
constexpr AttentionShape kAttention = {32, 8, 128, 128, quant::TensorType::F16, quant::TensorType::F16, 128, false};
// Passes of one token, of a few and of many are made of different shaders.
constexpr std::uint32_t kPasses[] = {1, kMostVectorRows, 2 * kMostVectorRows};

// Recorded to have the shaders made; never submitted.
void record_all(Operations& operations, CommandList& list) {
  ProductArguments product;
  product.columns = 256;
  product.end_row = 1;
  EmbedArguments embed;
  embed.columns = 256;
  for (const quant::TensorType format : kFormats) {
    for (const std::uint32_t most : kPasses) operations.product(list, format, product, most);
    operations.embed(list, format, embed, 1);
  }
  operations.norm(list, {}, 1, 1);
  SelectArguments select;
  select.columns = 1;
  operations.select_rows(list, select);
  operations.heads(list, kAttention, {}, 1);
  for (const std::uint32_t most : kPasses) {
    operations.attention(list, kAttention, operations.attention_tile(kAttention, most), most == 1 ? 4 : 1, {}, 1);
  }
  operations.merge_attention(list, {}, 1);
}

void make_all(Context& context, Pipelines& pipelines) {
  Operations operations(context, pipelines);
  CommandList list(context);
  list.begin(true);
  pipelines.collect(true);
  record_all(operations, list);
  pipelines.collect(false);
  pipelines.make_wanted();
  record_all(operations, list);
  list.end();
  context.check_messages();
}

}  // namespace

ContextCost measure_context(DeviceOptions options) {
  options.cache_folder.clear();
  const Bytes held_before = hardware::held_memory();
  Context context(options);
  Pipelines pipelines(context);
  const Timeline timeline(context);
  make_all(context, pipelines);
  const Bytes held = hardware::held_memory();
  return {context.taken(), held - std::min(held, held_before)};
}

double measure_start(const DeviceOptions& options) {
  const double begin = steady_seconds();
  Context context(options);
  Pipelines pipelines(context);
  make_all(context, pipelines);
  const double seconds = steady_seconds() - begin;
  pipelines.save();
  return seconds;
}

}  // namespace loadline::vulkan

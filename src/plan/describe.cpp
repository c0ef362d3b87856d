#include "plan/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/text.h"
#include "model/format_mix.h"

namespace loadline::plan {
namespace {

// The mix the file says it has, or the format that most of its bytes are in.
std::string format_name(const gguf::Model& model) {
  try {
    if (const auto type = model.metadata.get_unsigned("general.file_type")) {
      for (const model::FormatMix& mix : model::all_mixes()) {
        if (mix.file_type == *type) return std::string(mix.name);
      }
    }
  } catch (const std::exception&) {
    // A file type that is no number says nothing.
  }
  std::map<quant::TensorType, std::uint64_t> bytes;
  for (const gguf::TensorInfo& tensor : model.tensors) bytes[tensor.type] += tensor.size.value;
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? std::string("empty") : fmt::format("mostly {}", quant::name_of(most->first));
}

std::string count_text(std::uint64_t count) {
  const auto amount = static_cast<double>(count);
  if (amount >= 1e9) return fmt::format("{:.3g} B", amount / 1e9);
  if (amount >= 1e6) return fmt::format("{:.3g} M", amount / 1e6);
  return fmt::format("{}", count);
}

}  // namespace

LayersOnGpu layers_on_gpu(const model::Program& program, const Plan& plan) {
  std::vector<int> halves(program.config.layers, 0);  // bit 0: attention, bit 1: feed-forward
  LayersOnGpu layers;
  for (std::size_t g = 0; g < program.groups.size(); ++g) {
    const model::Group& group = program.groups[g];
    if (plan.groups[g].device == kCpu) continue;
    if (group.kind == model::GroupKind::Attention) halves[group.layer] |= 1;
    if (group.kind == model::GroupKind::FeedForward) halves[group.layer] |= 2;
    if (group.kind == model::GroupKind::Output) ++layers.whole;
  }
  for (const int half : halves) {
    if (half == 3) ++layers.whole;
    if (half == 1) ++layers.attention;
    if (half == 2) ++layers.feed_forward;
  }
  return layers;
}

std::string rate_text(double tokens_per_second) {
  const int decimals = tokens_per_second < 9.995 ? 2 : tokens_per_second < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} tok/s", tokens_per_second, decimals);
}

std::string model_line(const gguf::Model& model, const model::Program& program) {
  std::uint64_t parameters = 0;
  for (const gguf::TensorInfo& tensor : model.tensors) parameters += tensor.elements();
  std::string name = program.config.name;
  if (name.empty() && !model.files.empty()) name = model.files.front().path().filename().string();
  const std::size_t files = std::max<std::size_t>(1, model.files.size());
  return fmt::format("{} · {} · {} · {} parameters · {} in {}", printable(name), program.config.architecture,
                     format_name(model), count_text(parameters), to_string(model.tensor_bytes()),
                     files == 1 ? "one file" : fmt::format("{} files", files));
}

}  // namespace loadline::plan

#include "plan/runtime.h"

#include <variant>

#include "quant/kv_page.h"

namespace loadline::plan {
namespace {

// Program text and data that stay resident, shared libraries included.
constexpr Bytes kCode = 6 * kMiB;
// What a thread has touched of its stack, and its part of the allocator.
constexpr Bytes kThread = 128 * kKiB;
// Free memory that the allocator holds between its blocks, buffers of streams, the plan itself.
constexpr Bytes kSlack = 2 * kMiB;
// A string of the heap: its header and the rounding of the allocator.
constexpr std::uint64_t kStringOverhead = sizeof(std::string) + 16;

Bytes bytes_of(const gguf::Array& array);

Bytes bytes_of_strings(const std::vector<std::string>& strings) {
  constexpr std::size_t kInside = 15;  // libstdc++ keeps as many characters without the heap
  std::uint64_t bytes = 0;
  for (const std::string& text : strings) {
    bytes += text.size() <= kInside ? sizeof(std::string) : kStringOverhead + text.size();
  }
  return Bytes(bytes);
}

Bytes bytes_of(const gguf::Array& array) {
  return std::visit(
      [](const auto& items) {
        using Items = std::decay_t<decltype(items)>;
        if constexpr (std::is_same_v<Items, std::vector<std::string>>) {
          return bytes_of_strings(items);
        } else if constexpr (std::is_same_v<Items, std::vector<gguf::Array>>) {
          Bytes total;
          for (const gguf::Array& inner : items) total += Bytes(sizeof(gguf::Array)) + bytes_of(inner);
          return total;
        } else if constexpr (std::is_same_v<Items, std::vector<bool>>) {
          return Bytes(items.size() / 8);
        } else {
          return Bytes(items.size() * sizeof(typename Items::value_type));
        }
      },
      array.items);
}

Bytes metadata_bytes(const gguf::Model& model) {
  Bytes total;
  for (const auto& [key, value] : model.metadata.entries()) {
    total += Bytes(sizeof(std::pair<std::string, gguf::Value>) + key.size());
    if (const auto* array = std::get_if<gguf::Array>(&value.data)) total += bytes_of(*array);
    if (const auto* text = std::get_if<std::string>(&value.data)) total += Bytes(text->size());
  }
  for (const gguf::TensorInfo& tensor : model.tensors) total += Bytes(sizeof(tensor) + tensor.name.size() + 16);
  return total;
}

}  // namespace

std::vector<RuntimePart> runtime_parts(const gguf::Model& model, const model::Program& program, const Shape& shape) {
  const Bytes metadata = metadata_bytes(model);
  // Tokens, cosines and sines of the batch, and the page tables of the sequences.
  const std::uint64_t token = 16 + program.config.rope.dimensions * sizeof(float);
  const Bytes tables(shape.batch * token + std::uint64_t{shape.context} / quant::kKvPageCells * 8 + 64 * 1024);
  return {
      {"code", kCode},
      {"metadata", metadata},
      // The tokeniser's tables are made from the metadata and are about as large.
      {"vocabulary", metadata * 2},
      {"thread stacks", kThread * shape.threads},
      {"batch tables", tables},
      {"allocator slack", kSlack},
  };
}

}  // namespace loadline::plan

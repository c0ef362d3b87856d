#include "plan/runtime.h"

#include <algorithm>
#include <bit>
#include <variant>

#include "plan/cache_pages.h"

namespace loadline::plan {
namespace {

// Program text and data that stay resident, shared libraries included.
constexpr Bytes kCode = 6 * kMiB;
// What a thread has touched of its stack, and its part of the allocator.
constexpr Bytes kThread = 192 * kKiB;
// Free memory that the allocator holds between its blocks, buffers of streams, the plan itself.
constexpr Bytes kSlack = 2 * kMiB;

Bytes bytes_of(const gguf::Array& array);

Bytes bytes_of(const gguf::Array& array) {
  return std::visit(
      [](const auto& items) {
        using Items = std::decay_t<decltype(items)>;
        if constexpr (std::is_same_v<Items, gguf::Strings>) {
          return Bytes(items.heap_bytes());
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

// The tokeniser's tables (tokenizer/vocabulary.h, byte_pair.h), which are made from the metadata: the text of all
// tokens, for each its end, its kind and its score's rank, and tables at most half full that find tokens and merges.
Bytes vocabulary_bytes(const gguf::Metadata& metadata) {
  constexpr std::uint64_t kToken = 4 + 1 + 4;
  constexpr std::uint64_t kTokenSlot = 4;
  constexpr std::uint64_t kMergeSlot = 16;
  // Compiled expressions, and the trees that find control tokens in a text.
  constexpr Bytes kOthers = 256 * kKiB;
  const auto strings = [&](const char* key) {
    const gguf::Value* value = metadata.find(key);
    const auto* array = value == nullptr ? nullptr : std::get_if<gguf::Array>(&value->data);
    return array == nullptr ? nullptr : std::get_if<gguf::Strings>(&array->items);
  };
  const gguf::Strings* tokens = strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) return Bytes(0);
  std::uint64_t bytes = tokens->size() * kToken + std::bit_ceil(tokens->size() * 2) * kTokenSlot;
  for (const std::string_view text : *tokens) bytes += text.size();
  const gguf::Strings* merges = strings("tokenizer.ggml.merges");
  if (merges != nullptr && !merges->empty()) bytes += std::bit_ceil(merges->size() * 2 + 1) * kMergeSlot;
  return Bytes(bytes) + kOthers;
}

// The kernel keeps 4 KiB for every 2 MiB that are mapped: of small pages their entries, of a huge page the table it
// would need if it were split (x86-64 and arm64 with pages of 4 KiB; the levels above are a 512th of that).
Bytes page_tables(Bytes mapped) { return align_up(Bytes(mapped.value / 512 + mapped.value / 512 / 512), Bytes(4096)); }

}  // namespace

Bytes session_bytes(const model::Program& program, const Shape& shape) {
  const std::uint64_t pages = full_pages(shape);
  const std::uint64_t windows = has_window_pages(program, shape) ? window_pages(program, shape) : 0;
  const bool states =
      std::ranges::any_of(program.caches, [](const model::Cache& c) { return c.kind == model::CacheKind::State; });
  const std::uint64_t tables = windows > 0 ? 2 : 1;
  return (kSession + Bytes(tables * pages * sizeof(std::uint32_t))) * shape.sequences + kPageEntry * (pages + windows) +
         kStateEntry * (states ? states_of(shape) : 0);
}

std::vector<RuntimePart> runtime_parts(const gguf::Model& model, const model::Program& program, const Shape& shape,
                                       Bytes arenas, bool has_gpu) {
  // Tokens, cosines and sines of the batch. With a GPU passes may go as two halves at the same time, with a thread and
  // tables for each.
  const std::uint64_t halves = has_gpu ? 2 : 1;
  const std::uint64_t token =
      16 + (program.ropes.empty() ? 0 : program.ropes.front().config.dimensions) * sizeof(float);
  const Bytes tables(halves * shape.batch * token + 64 * 1024);
  return {
      {"code", kCode},
      {"metadata", metadata_bytes(model)},
      {"vocabulary", vocabulary_bytes(model.metadata)},
      {"thread stacks", kThread * (shape.threads + halves - 1)},
      {"page tables", page_tables(arenas)},
      {"batch tables", tables},
      {"sessions", session_bytes(program, shape)},
      {"allocator slack", kSlack},
  };
}

}  // namespace loadline::plan

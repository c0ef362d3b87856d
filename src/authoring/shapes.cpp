#include "authoring/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "authoring/vocabulary.h"
#include "model/program.h"

namespace loadline::authoring {
namespace {

using enum VocabularyKind;

// Sources: the config.json each model was published with. Columns as in Shape: layers, embedding, feed_forward, heads,
// kv_heads, head_dim, vocabulary, context, rope base, epsilon, tied, rope factor.
constexpr std::array kShapes = {
    // clang-format off
    Shape{"tiny", "Tiny", "llama", SentencePiece, 2, 256, 768, 8, 4, 32, 1024, 2048, 1e4F, 1e-5F, false, 0},
    Shape{"tiny-llama3", "Tiny Llama 3", "llama", Llama3, 3, 256, 512, 8, 2, 32, 1536, 4096, 5e5F, 1e-5F, true, 8},
    Shape{"tiny-qwen2", "Tiny Qwen 2", "qwen2", Qwen, 2, 192, 512, 6, 2, 32, 1024, 2048, 1e6F, 1e-6F, true, 0},
    Shape{"tiny-qwen3", "Tiny Qwen 3", "qwen3", Qwen, 2, 256, 768, 4, 2, 128, 1024, 2048, 1e6F, 1e-6F, false, 0},
    Shape{"tinyllama-1.1b", "TinyLlama 1.1B", "llama", SentencePiece,
          22, 2048, 5632, 32, 4, 64, 32000, 2048, 1e4F, 1e-5F, false, 0},
    Shape{"llama-2-7b", "Llama 2 7B", "llama", SentencePiece,
          32, 4096, 11008, 32, 32, 128, 32000, 4096, 1e4F, 1e-5F, false, 0},
    Shape{"llama-2-13b", "Llama 2 13B", "llama", SentencePiece,
          40, 5120, 13824, 40, 40, 128, 32000, 4096, 1e4F, 1e-5F, false, 0},
    Shape{"llama-2-70b", "Llama 2 70B", "llama", SentencePiece,
          80, 8192, 28672, 64, 8, 128, 32000, 4096, 1e4F, 1e-5F, false, 0},
    Shape{"llama-3-8b", "Llama 3 8B", "llama", Llama3,
          32, 4096, 14336, 32, 8, 128, 128256, 8192, 5e5F, 1e-5F, false, 0},
    Shape{"llama-3-70b", "Llama 3 70B", "llama", Llama3,
          80, 8192, 28672, 64, 8, 128, 128256, 8192, 5e5F, 1e-5F, false, 0},
    Shape{"llama-3.1-8b", "Llama 3.1 8B", "llama", Llama3,
          32, 4096, 14336, 32, 8, 128, 128256, 131072, 5e5F, 1e-5F, false, 8},
    Shape{"llama-3.1-70b", "Llama 3.1 70B", "llama", Llama3,
          80, 8192, 28672, 64, 8, 128, 128256, 131072, 5e5F, 1e-5F, false, 8},
    Shape{"llama-3.1-405b", "Llama 3.1 405B", "llama", Llama3,
          126, 16384, 53248, 128, 8, 128, 128256, 131072, 5e5F, 1e-5F, false, 8},
    Shape{"llama-3.2-1b", "Llama 3.2 1B", "llama", Llama3,
          16, 2048, 8192, 32, 8, 64, 128256, 131072, 5e5F, 1e-5F, true, 32},
    Shape{"llama-3.2-3b", "Llama 3.2 3B", "llama", Llama3,
          28, 3072, 8192, 24, 8, 128, 128256, 131072, 5e5F, 1e-5F, true, 32},
    Shape{"mistral-7b", "Mistral 7B v0.2", "llama", SentencePiece,
          32, 4096, 14336, 32, 8, 128, 32000, 32768, 1e6F, 1e-5F, false, 0},
    Shape{"qwen2.5-0.5b", "Qwen2.5 0.5B", "qwen2", Qwen,
          24, 896, 4864, 14, 2, 64, 151936, 32768, 1e6F, 1e-6F, true, 0},
    Shape{"qwen2.5-1.5b", "Qwen2.5 1.5B", "qwen2", Qwen,
          28, 1536, 8960, 12, 2, 128, 151936, 32768, 1e6F, 1e-6F, true, 0},
    Shape{"qwen2.5-3b", "Qwen2.5 3B", "qwen2", Qwen,
          36, 2048, 11008, 16, 2, 128, 151936, 32768, 1e6F, 1e-6F, true, 0},
    Shape{"qwen2.5-7b", "Qwen2.5 7B", "qwen2", Qwen,
          28, 3584, 18944, 28, 4, 128, 152064, 32768, 1e6F, 1e-6F, false, 0},
    Shape{"qwen2.5-14b", "Qwen2.5 14B", "qwen2", Qwen,
          48, 5120, 13824, 40, 8, 128, 152064, 32768, 1e6F, 1e-6F, false, 0},
    Shape{"qwen2.5-32b", "Qwen2.5 32B", "qwen2", Qwen,
          64, 5120, 27648, 40, 8, 128, 152064, 32768, 1e6F, 1e-6F, false, 0},
    Shape{"qwen2.5-72b", "Qwen2.5 72B", "qwen2", Qwen,
          80, 8192, 29568, 64, 8, 128, 152064, 32768, 1e6F, 1e-6F, false, 0},
    Shape{"qwen3-0.6b", "Qwen3 0.6B", "qwen3", Qwen,
          28, 1024, 3072, 16, 8, 128, 151936, 40960, 1e6F, 1e-6F, true, 0},
    Shape{"qwen3-1.7b", "Qwen3 1.7B", "qwen3", Qwen,
          28, 2048, 6144, 16, 8, 128, 151936, 40960, 1e6F, 1e-6F, true, 0},
    Shape{"qwen3-4b", "Qwen3 4B", "qwen3", Qwen,
          36, 2560, 9728, 32, 8, 128, 151936, 40960, 1e6F, 1e-6F, true, 0},
    Shape{"qwen3-8b", "Qwen3 8B", "qwen3", Qwen,
          36, 4096, 12288, 32, 8, 128, 151936, 40960, 1e6F, 1e-6F, false, 0},
    Shape{"qwen3-14b", "Qwen3 14B", "qwen3", Qwen,
          40, 5120, 17408, 40, 8, 128, 151936, 40960, 1e6F, 1e-6F, false, 0},
    Shape{"qwen3-32b", "Qwen3 32B", "qwen3", Qwen,
          64, 5120, 25600, 64, 8, 128, 151936, 40960, 1e6F, 1e-6F, false, 0},
    // clang-format on
};

// All but the vocabulary.
gguf::Metadata metadata_of(const Shape& shape, const model::FormatMix& mix) {
  gguf::Metadata metadata;
  const auto set = [&](std::string_view key, auto value) { metadata.set(std::string(key), gguf::Value{value}); };
  const auto set_own = [&](std::string_view key, auto value) {
    set(fmt::format("{}.{}", shape.architecture, key), value);
  };
  const auto set_own_value = [&](std::string_view key, const auto& value) {
    std::visit(
        [&](const auto& one) {
          using Value = std::decay_t<decltype(one)>;
          if constexpr (std::is_same_v<Value, std::string_view>) {
            set_own(key, std::string(one));
          } else if constexpr (std::is_same_v<Value, Periodic>) {
            std::vector<std::uint32_t> list;
            for (std::uint32_t i = 1; i <= shape.layers; ++i)
              list.push_back(i % one.period == 0 ? one.last : one.other);
            set_own(key, gguf::Array::of(std::move(list)));
          } else {
            set_own(key, one);
          }
        },
        value);
  };
  set("general.architecture", std::string(shape.architecture));
  set("general.type", std::string("model"));
  set("general.name", fmt::format("{} (synthetic)", shape.title));
  set("general.file_type", mix.file_type);
  set("general.quantization_version", std::uint32_t{2});
  set_own("block_count", shape.layers);
  set_own("context_length", shape.context);
  set_own("embedding_length", shape.embedding);
  set_own("feed_forward_length", shape.feed_forward);
  set_own("attention.head_count", shape.heads);
  set_own("attention.head_count_kv", shape.kv_heads);
  if (shape.head_dim > 0) {  // else among the keys, if there is attention
    set_own("attention.key_length", shape.head_dim);
    set_own("attention.value_length", shape.head_dim);
  }
  set_own("attention.layer_norm_rms_epsilon", shape.rms_epsilon);
  set_own("rope.freq_base", shape.rope_base);
  if (shape.head_dim > 0) set_own("rope.dimension_count", shape.head_dim);
  set_own("vocab_size", shape.vocabulary);
  for (const auto& [suffix, value] : shape.keys) set_own_value(suffix, value);
  return metadata;
}

// Collects the tensors of a shape, in the order a token meets them.
class TensorList {
 public:
  void add(std::string name, std::uint64_t columns, std::uint64_t rows) {
    gguf::TensorInfo tensor;
    tensor.name = std::move(name);
    tensor.shape = {columns, rows, 1, 1};
    tensor.dimensions = 2;
    tensors_.push_back(std::move(tensor));
  }
  void add(std::string name, std::uint64_t length) {
    add(std::move(name), length, 1);
    tensors_.back().dimensions = 1;
  }
  std::vector<gguf::TensorInfo> take() { return std::move(tensors_); }

 private:
  std::vector<gguf::TensorInfo> tensors_;
};

void add_layer(const Shape& shape, std::uint32_t layer, TensorList& list) {
  const auto name = [layer](std::string_view part) { return fmt::format("blk.{}.{}", layer, part); };
  const std::uint64_t q_width = std::uint64_t{shape.heads} * shape.head_dim;
  const std::uint64_t kv_width = std::uint64_t{shape.kv_heads} * shape.head_dim;
  list.add(name("attn_norm.weight"), shape.embedding);
  list.add(name("attn_q.weight"), shape.embedding, q_width);
  list.add(name("attn_k.weight"), shape.embedding, kv_width);
  list.add(name("attn_v.weight"), shape.embedding, kv_width);
  if (shape.architecture == "qwen2") {
    list.add(name("attn_q.bias"), q_width);
    list.add(name("attn_k.bias"), kv_width);
    list.add(name("attn_v.bias"), kv_width);
  }
  if (shape.architecture == "qwen3") {
    list.add(name("attn_q_norm.weight"), shape.head_dim);
    list.add(name("attn_k_norm.weight"), shape.head_dim);
  }
  list.add(name("attn_output.weight"), q_width, shape.embedding);
  list.add(name("ffn_norm.weight"), shape.embedding);
  list.add(name("ffn_gate.weight"), shape.embedding, shape.feed_forward);
  list.add(name("ffn_up.weight"), shape.embedding, shape.feed_forward);
  list.add(name("ffn_down.weight"), shape.feed_forward, shape.embedding);
}

}  // namespace

std::span<const Shape> all_shapes() {
  static const std::vector<Shape> kAll = [] {
    std::vector<Shape> all(kShapes.begin(), kShapes.end());
    all.insert(all.end(), family_shapes().begin(), family_shapes().end());
    return all;
  }();
  return kAll;
}

const Shape* find_shape(std::string_view name) {
  const auto lower = [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); };
  for (const Shape& shape : all_shapes()) {
    if (std::ranges::equal(shape.name, name, {}, lower, lower)) return &shape;
  }
  return nullptr;
}

namespace {

// What the family's description of a layer asks for.
std::vector<gguf::TensorInfo> tensors_of_family(const Shape& shape, const model::FormatMix& mix) {
  return model::make_tensors(metadata_of(shape, mix), [&](std::string_view name) {
    if (name == "output.weight") return !shape.tied_embeddings;
    if (name == "rope_freqs.weight") return shape.rope_factor != 0;
    return std::ranges::any_of(shape.optional, [&](std::string_view end) { return name.ends_with(end); });
  });
}

std::vector<gguf::TensorInfo> tensors_of_plain(const Shape& shape) {
  TensorList list;
  list.add("token_embd.weight", shape.embedding, shape.vocabulary);
  if (shape.rope_factor != 0) list.add("rope_freqs.weight", shape.head_dim / 2);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) add_layer(shape, layer, list);
  list.add("output_norm.weight", shape.embedding);
  if (!shape.tied_embeddings) list.add("output.weight", shape.embedding, shape.vocabulary);
  return list.take();
}

}  // namespace

std::vector<gguf::TensorInfo> tensors_of(const Shape& shape, const model::FormatMix& mix) {
  const bool plain = shape.keys.empty() && shape.optional.empty();
  std::vector<gguf::TensorInfo> tensors = plain ? tensors_of_plain(shape) : tensors_of_family(shape, mix);
  const model::MixedModel mixed{shape.layers, shape.heads, shape.kv_heads, shape.tied_embeddings};
  for (gguf::TensorInfo& tensor : tensors) {
    tensor.type = model::type_in_mix(mix, mixed, tensor);
    tensor.size = quant::size_of(tensor.type, tensor.elements());
  }
  return tensors;
}

gguf::Model describe(const Shape& shape, const model::FormatMix& mix) {
  gguf::Model model;
  model.metadata = metadata_of(shape, mix);
  add_vocabulary(shape.vocabulary_kind, shape.vocabulary, model.metadata);
  model.tensors = tensors_of(shape, mix);
  model.index_tensors();
  return model;
}

}  // namespace loadline::authoring

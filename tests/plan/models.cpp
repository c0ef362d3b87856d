#include "plan/models.h"

#include <fmt/format.h>

#include <initializer_list>

namespace loadline::test {
namespace {

using quant::TensorType;

class Writer {
 public:
  explicit Writer(gguf::Model& model) : model_(model) {}

  void add(std::string name, TensorType type, std::initializer_list<std::uint64_t> shape) {
    gguf::TensorInfo tensor;
    tensor.name = std::move(name);
    tensor.type = type;
    tensor.dimensions = static_cast<std::uint32_t>(shape.size());
    std::copy(shape.begin(), shape.end(), tensor.shape.begin());
    tensor.offset = end_;
    tensor.size = quant::size_of(type, tensor.elements());
    end_ += align_up(tensor.size, Bytes(32));
    model_.tensors.push_back(std::move(tensor));
  }

 private:
  gguf::Model& model_;
  Bytes end_{4096};
};

void set_number(gguf::Model& model, std::string key, std::uint32_t value) {
  model.metadata.set(std::move(key), gguf::Value{value});
}

}  // namespace

TypeOf all_of(TensorType type) {
  return [type](std::string_view, std::uint32_t) { return type; };
}

TypeOf q4_k_m(std::uint32_t layers) {
  return [layers](std::string_view name, std::uint32_t layer) {
    const bool more = layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
    if (name == "output.weight") return TensorType::Q6_K;
    if (more && (name.ends_with("attn_v.weight") || name.ends_with("ffn_down.weight"))) return TensorType::Q6_K;
    return TensorType::Q4_K;
  };
}

gguf::Model make_model(const ModelShape& shape, const TypeOf& type_of) {
  gguf::Model model;
  model.metadata.set("general.architecture", gguf::Value{std::string("llama")});
  model.metadata.set("general.name", gguf::Value{shape.name});
  set_number(model, "llama.block_count", shape.layers);
  set_number(model, "llama.embedding_length", shape.embedding);
  set_number(model, "llama.feed_forward_length", shape.feed_forward);
  set_number(model, "llama.attention.head_count", shape.heads);
  set_number(model, "llama.attention.head_count_kv", shape.kv_heads);
  set_number(model, "llama.context_length", shape.context);
  model.metadata.set("llama.attention.layer_norm_rms_epsilon", gguf::Value{1e-5F});

  Writer writer(model);
  const std::uint64_t width = shape.embedding;
  const std::uint64_t kv_width = std::uint64_t{shape.embedding} / shape.heads * shape.kv_heads;
  const auto matrix = [&](const std::string& name, std::uint32_t layer, std::uint64_t columns, std::uint64_t rows) {
    writer.add(name, type_of(name, layer), {columns, rows});
  };
  matrix("token_embd.weight", 0, width, shape.vocabulary);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const auto name = [&](const char* suffix) { return fmt::format("blk.{}.{}", layer, suffix); };
    writer.add(name("attn_norm.weight"), TensorType::F32, {width});
    matrix(name("attn_q.weight"), layer, width, width);
    matrix(name("attn_k.weight"), layer, width, kv_width);
    matrix(name("attn_v.weight"), layer, width, kv_width);
    matrix(name("attn_output.weight"), layer, width, width);
    writer.add(name("ffn_norm.weight"), TensorType::F32, {width});
    matrix(name("ffn_gate.weight"), layer, width, shape.feed_forward);
    matrix(name("ffn_up.weight"), layer, width, shape.feed_forward);
    matrix(name("ffn_down.weight"), layer, shape.feed_forward, width);
  }
  writer.add("output_norm.weight", TensorType::F32, {width});
  if (!shape.tied) matrix("output.weight", 0, width, shape.vocabulary);
  return model;
}

ModelShape tiny() { return {}; }

ModelShape llama_3_2_1b() { return {"Llama 3.2 1B", 16, 2048, 8192, 32, 8, 128256, 131072, true}; }

ModelShape llama_3_8b() { return {"Llama 3 8B", 32, 4096, 14336, 32, 8, 128256, 8192, false}; }

ModelShape llama_2_70b() { return {"Llama 2 70B", 80, 8192, 28672, 64, 8, 32000, 4096, false}; }

ModelShape llama_3_1_405b() { return {"Llama 3.1 405B", 126, 16384, 53248, 128, 8, 128256, 131072, false}; }

}  // namespace loadline::test

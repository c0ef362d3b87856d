// Models for planning, made in memory: true shapes, no file and no weights.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "gguf/gguf.h"
#include "model/program.h"
#include "quant/format.h"

namespace loadline::test {

struct ModelShape {
  std::string name = "tiny";
  std::uint32_t layers = 2;
  std::uint32_t embedding = 256;
  std::uint32_t feed_forward = 512;
  std::uint32_t heads = 4;
  std::uint32_t kv_heads = 2;
  std::uint32_t vocabulary = 512;
  std::uint32_t context = 2048;
  bool tied = false;
};

// The type of each matrix, given the tensor's name and its layer.
using TypeOf = std::function<quant::TensorType(std::string_view name, std::uint32_t layer)>;
TypeOf all_of(quant::TensorType type);
// As Q4_K_M files are mixed: the output, and attn_v and ffn_down of about half of the layers, in Q6_K, the rest in
// Q4_K.
TypeOf q4_k_m(std::uint32_t layers);

// A llama model of this shape. Tensors lie one after the other as in a file of one part; there is no open file.
gguf::Model make_model(const ModelShape& shape, const TypeOf& type_of);

ModelShape tiny();
ModelShape llama_3_2_1b();
ModelShape llama_3_8b();
ModelShape llama_2_70b();
ModelShape llama_3_1_405b();

}  // namespace loadline::test

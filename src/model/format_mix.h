// What is meant by "Q4_K_M": which format each tensor of a model gets. The rules people know from llama.cpp's quantiser
// (without an importance matrix, but where it insists on one), so that a mix made, planned or suggested here has the
// size they expect. It reads names and shapes only, and encodes nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "gguf/gguf.h"
#include "quant/format.h"

namespace loadline::model {

// A row of the table of mixes: the plain formats, the K mixes and the IQ mixes.
struct FormatMix {
  std::string_view name;    // as files are called: "Q4_K_M"
  quant::TensorType base;   // what most tensors get
  std::uint32_t file_type;  // general.file_type of such a file (llama.h, enum llama_ftype)
};

// Ordered from the smallest to the largest.
std::span<const FormatMix> all_mixes();

// By name in any case; "Q3_K", "Q4_K", "Q5_K" mean their _M. Null where there is none.
const FormatMix* find_mix(std::string_view name);

// What the rules want to know of a model besides the tensor at hand.
struct MixedModel {
  std::uint32_t layers = 0;
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  bool tied_embeddings = false;  // there is no output.weight
};

// Reads these from a model's metadata and tensors. Throws Error(BadInput) as read_config does.
MixedModel mixed_model(const gguf::Model& model);

// The format of one tensor. `type` is what it has now: vectors, norms and other tensors that are never quantised keep
// it. Rows that the rules' format cannot hold get the next larger format that can.
quant::TensorType type_in_mix(const FormatMix& mix, const MixedModel& model, const gguf::TensorInfo& tensor);

// All weights of a model in that mix, without header and padding.
Bytes size_in_mix(const FormatMix& mix, const MixedModel& model, std::span<const gguf::TensorInfo> tensors);

}  // namespace loadline::model

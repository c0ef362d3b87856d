// The shapes of known models: what their files declare, without their weights. A table, and the GGUF header it stands
// for. Nothing here touches a disk.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "gguf/gguf.h"
#include "model/format_mix.h"

namespace loadline::authoring {

// Which tokeniser a made-up vocabulary stands for.
enum class VocabularyKind : std::uint8_t {
  SentencePiece,  // Llama 1 and 2, Mistral: scores, byte tokens
  Llama3,         // byte-level BPE, 256 control tokens after the pieces
  Qwen,           // byte-level BPE, control tokens and padding after the pieces
};

// A list with an entry for each layer: the last of every `period` layers has `last`, the others `other`.
struct Periodic {
  std::uint32_t period, other, last;
};

// A metadata key below the architecture's name, beyond those that every family has.
struct ShapeKey {
  std::string_view suffix;
  std::variant<std::uint32_t, float, bool, std::string_view, Periodic> value;
};

struct Shape {
  std::string_view name;  // as on the command line: "llama-3-8b"
  std::string_view title;
  std::string_view architecture;
  VocabularyKind vocabulary_kind;
  std::uint32_t layers;
  std::uint32_t embedding;
  std::uint32_t feed_forward;
  std::uint32_t heads;
  std::uint32_t kv_heads;
  std::uint32_t head_dim;
  std::uint32_t vocabulary;
  std::uint32_t context;
  float rope_base;
  float rms_epsilon;
  bool tied_embeddings;
  float rope_factor;  // of Llama 3.1's long-context frequencies; 0 where the model has none
  std::span<const ShapeKey> keys = {};
  // Tensors that models of the family may have, and this one has: the ends of their names.
  std::span<const std::string_view> optional = {};
};

std::span<const Shape> all_shapes();
// Those of families beyond the plainest (family_shapes.cpp); all_shapes has them too.
std::span<const Shape> family_shapes();

// Null where there is none. Case-insensitive.
const Shape* find_shape(std::string_view name);

// The tensors of a file of this shape and mix, with types and sizes; offsets are zero.
std::vector<gguf::TensorInfo> tensors_of(const Shape& shape, const model::FormatMix& mix);

// The model as it would be read from a file of this shape and mix: complete metadata, vocabulary included, and the
// tensor table. It has no files, and offsets are zero.
gguf::Model describe(const Shape& shape, const model::FormatMix& mix);

}  // namespace loadline::authoring

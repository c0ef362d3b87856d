// The block formats that GGUF tensors are stored in: one table row each, with exact decoding and encoding.
// This is the scalar oracle: plain loops, no instruction sets. The fast kernels of the backends are tested against it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace loadline::quant {

// The values are ggml's type ids, as stored in GGUF files.
enum class TensorType : std::uint32_t {
#define LOADLINE_FORMAT(name, id, elements, bytes) name = id,
#include "quant/formats.inc"
#undef LOADLINE_FORMAT
};

// One row of the table. A tensor row (the innermost dimension) is a whole number of blocks.
struct Format {
  TensorType type;
  std::string_view name;         // as GGUF tools print it: "Q4_K"
  std::uint32_t block_elements;  // values per block
  std::uint32_t block_bytes;
  // Decodes `blocks` consecutive blocks into block_elements * blocks floats.
  void (*decode)(const std::byte* source, float* target, std::size_t blocks);
  // Encodes block_elements * blocks finite floats into `blocks` blocks. Deterministic. Null where the format is only
  // read: those that choose from a codebook, which needs an importance matrix.
  void (*encode)(const float* source, std::byte* target, std::size_t blocks);
};

// All formats, in the order of formats.inc.
std::span<const Format> all_formats();

// The row of a type of the enumeration.
const Format& format_of(TensorType type);

// By ggml type id or by name (case-insensitive); null where we have no such format.
const Format* find_format(std::uint32_t ggml_id);
const Format* find_format(std::string_view name);

// The name ggml gives a type id, for messages that refuse it ("IQ2_XXS"); "type 77" for an unknown one.
std::string ggml_type_name(std::uint32_t ggml_id);

inline std::string_view name_of(TensorType type) { return format_of(type).name; }

// Bytes of `elements` consecutive values. `elements` must be a multiple of the block size.
Bytes size_of(TensorType type, std::uint64_t elements);

// Decodes a row of `elements` values.
void decode_row(TensorType type, const std::byte* source, float* target, std::size_t elements);
// Only where the format's `encode` is not null.
void encode_row(TensorType type, const float* source, std::byte* target, std::size_t elements);

}  // namespace loadline::quant

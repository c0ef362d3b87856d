#include "quant/format.h"

#include <array>
#include <cassert>
#include <string>

#include "base/error.h"
#include "quant/blocks.h"

namespace loadline::quant {
namespace {

template <TensorType type, std::size_t elements>
void decode_blocks(const std::byte* source, float* target, std::size_t blocks) {
  for (std::size_t b = 0; b < blocks; ++b) {
    decode_block(load_block<type>(source + b * sizeof(Block<type>)), target + b * elements);
  }
}

template <TensorType type, std::size_t elements>
void encode_blocks(const float* source, std::byte* target, std::size_t blocks) {
  for (std::size_t b = 0; b < blocks; ++b) {
    Block<type> block{};
    encode_block(source + b * elements, block);
    std::memcpy(target + b * sizeof block, &block, sizeof block);
  }
}

template <TensorType type, std::size_t elements>
constexpr auto encoder_of() -> decltype(Format::encode) {
  if constexpr (kEncodes<type>) return encode_blocks<type, elements>;
  return nullptr;
}

constexpr std::array kFormats = {
#define LOADLINE_FORMAT(name, id, elements, bytes)  \
  Format{TensorType::name,                          \
         #name,                                     \
         elements,                                  \
         bytes,                                     \
         decode_blocks<TensorType::name, elements>, \
         encoder_of<TensorType::name, elements>()},
#include "quant/formats.inc"
#undef LOADLINE_FORMAT
};

// Names by ggml type id (ggml.h, enum ggml_type); empty where an id was never given or has been withdrawn.
constexpr std::array<std::string_view, 43> kGgmlNames = {
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "Q1_0",     "Q2_0"};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

}  // namespace

std::span<const Format> all_formats() { return kFormats; }

const Format& format_of(TensorType type) {
  const Format* format = find_format(static_cast<std::uint32_t>(type));
  assert(format != nullptr);
  return *format;
}

const Format* find_format(std::uint32_t ggml_id) {
  for (const Format& format : kFormats) {
    if (static_cast<std::uint32_t>(format.type) == ggml_id) return &format;
  }
  return nullptr;
}

const Format* find_format(std::string_view name) {
  for (const Format& format : kFormats) {
    if (equal_ignoring_case(format.name, name)) return &format;
  }
  return nullptr;
}

std::string ggml_type_name(std::uint32_t ggml_id) {
  if (ggml_id < kGgmlNames.size()) return std::string(kGgmlNames[ggml_id]);
  return "type " + std::to_string(ggml_id);
}

Bytes size_of(TensorType type, std::uint64_t elements) {
  const Format& format = format_of(type);
  assert(elements % format.block_elements == 0);
  return Bytes(format.block_bytes) * (elements / format.block_elements);
}

void decode_row(TensorType type, const std::byte* source, float* target, std::size_t elements) {
  const Format& format = format_of(type);
  assert(elements % format.block_elements == 0);
  format.decode(source, target, elements / format.block_elements);
}

void encode_row(TensorType type, const float* source, std::byte* target, std::size_t elements) {
  const Format& format = format_of(type);
  assert(elements % format.block_elements == 0 && format.encode != nullptr);
  format.encode(source, target, elements / format.block_elements);
}

}  // namespace loadline::quant

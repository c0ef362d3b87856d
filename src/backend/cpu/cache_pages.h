// Pages of the KV cache on their way to and from other devices. Between devices every head's part of a page, of keys
// and of values both, has one order: F32 and F16 cell after cell; Q8_0 the bytes of all cells, cell after cell, then
// their scales, cell after cell. (It is that of backend/vulkan/shaders/kv.glsl.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace loadline::cpu {

// What all of a region's pages have in common.
struct PageParts {
  quant::TensorType type;  // F32, F16 or Q8_0
  std::uint32_t width;     // values of a head
  std::uint32_t heads;
  bool keys;  // or values
};

// `page` as this backend has it, into `target` as it goes to others. Both have the same bytes, all heads together.
void export_page(const PageParts& parts, const std::byte* page, std::byte* target);
// The way back, of the first `cells` cells. The others become zeros: what another device has there may be no numbers.
void import_page(const PageParts& parts, const std::byte* source, std::uint32_t cells, std::byte* page);

}  // namespace loadline::cpu

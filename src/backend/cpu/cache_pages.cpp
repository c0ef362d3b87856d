#include "backend/cpu/cache_pages.h"

#include <cstring>

#include "backend/cpu/kv_layout.h"

namespace loadline::cpu {
namespace {

using quant::TensorType;

// Calls copy(mine, others, bytes) with the offsets in a head's part of everything of the first cells that lies together
// in both orders.
template <class Copy>
void for_each_run(const PageParts& parts, std::size_t cells, Copy&& copy) {
  const std::size_t width = parts.width;
  if (parts.type == TensorType::Q8_0) {
    for (std::size_t cell = 0; cell < cells; ++cell) {
      for (std::size_t i = 0; i < width; i += 4) {
        copy(parts.keys ? k_q8_value(i, cell) : v_q8_value(width, i, cell), cell * width + i, 4);
      }
      for (std::size_t i = 0; i < width; i += 32) {
        copy(parts.keys ? k_q8_scale(i, cell) : v_q8_scale(width, i, cell),
             kCells * width + (cell * (width / 32) + i / 32) * 2, 2);
      }
    }
    return;
  }
  const bool floats = parts.type == TensorType::F32;
  if (!parts.keys) return copy(std::size_t{0}, std::size_t{0}, cells * width * (floats ? 4 : 2));
  // Sizes that the compiler knows: there are as many runs as values.
  for (std::size_t i = 0; i < width; ++i) {
    for (std::size_t cell = 0; cell < cells; ++cell) {
      if (floats) {
        copy(k_index(i, cell) * 4, (cell * width + i) * 4, 4);
      } else {
        copy(k_index(i, cell) * 2, (cell * width + i) * 2, 2);
      }
    }
  }
}

}  // namespace

void export_page(const PageParts& parts, const std::byte* page, std::byte* target) {
  const std::size_t bytes = part_bytes(parts.type, parts.width);
  for (std::uint32_t head = 0; head < parts.heads; ++head, page += bytes, target += bytes) {
    for_each_run(parts, kCells, [&](std::size_t mine, std::size_t others, std::size_t count) {
      std::memcpy(target + others, page + mine, count);
    });
  }
}

void import_page(const PageParts& parts, const std::byte* source, std::uint32_t cells, std::byte* page) {
  const std::size_t bytes = part_bytes(parts.type, parts.width);
  for (std::uint32_t head = 0; head < parts.heads; ++head, page += bytes, source += bytes) {
    if (cells < kCells) std::memset(page, 0, bytes);
    for_each_run(parts, cells, [&](std::size_t mine, std::size_t others, std::size_t count) {
      std::memcpy(page + mine, source + others, count);
    });
  }
}

}  // namespace loadline::cpu

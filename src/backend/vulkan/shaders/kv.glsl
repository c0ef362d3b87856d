// One head's part of a page of the KV cache: 32 cells of `width` values. F32 and F16 lie cell after cell; Q8_0 as the bytes
// of all cells, then the scales of all cells, so that both are aligned (the bytes are those of quant/kv_page.h).
const uint kPageCells = 32u;

const uint kKvF32 = 0u;
const uint kKvF16 = 1u;
const uint kKvQ8 = 2u;

uint kv_cell_bytes(uint type, uint width) {
  if (type == kKvF32) return width * 4u;
  if (type == kKvF16) return width * 2u;
  return width + width / 32u * 2u;
}

uint64_t kv_page_head(uint64_t cache, uint type, uint width, uint heads, uint page, uint head) {
  return cache + uint64_t(page * heads + head) * (kv_cell_bytes(type, width) * kPageCells);
}

// Where the scale of a Q8_0 block of 32 lies, counted in halves from the head's part of the page.
uint kv_scale_index(uint width, uint cell, uint block) {
  return kPageCells * width / 2u + cell * (width / 32u) + block;
}

float kv_load(uint64_t part, uint type, uint width, uint cell, uint i) {
  if (type == kKvF32) return Floats(part).v[cell * width + i];
  if (type == kKvF16) return half_value(uint(Halves(part).v[cell * width + i]));
  const int quant = bitfieldExtract(int(uint(Octets(part).v[cell * width + i])), 0, 8);
  return float(quant) * half_value(uint(Halves(part).v[kv_scale_index(width, cell, i / 32u)]));
}

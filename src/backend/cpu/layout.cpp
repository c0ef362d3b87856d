#include "backend/cpu/layout.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string>

#include "backend/cpu/rearranged_bits.h"
#include "base/error.h"
#include "quant/format.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace loadline::cpu {
namespace {

// Offsets and sizes: the block structures of ggml-common.h. The scales of Q6_K come before its weights, which need them
// from the first on: where they lie in the file, 3 KiB further on in a tile, nothing fetched ahead has reached them
// yet.
constexpr LayoutField kFieldsF32[] = {{0, 4, 4}};
constexpr LayoutField kFieldsF16[] = {{0, 2, 2}};
constexpr LayoutField kFieldsBF16[] = {{0, 4, 4}};
constexpr LayoutField kFieldsQ4_0[] = {{0, 2, 2}, {2, 16, 4}};                              // d, qs
constexpr LayoutField kFieldsQ4_1[] = {{0, 4, 2}, {4, 16, 4}};                              // d and m, qs
constexpr LayoutField kFieldsQ5_0[] = {{0, 2, 2}, {2, 20, 4}};                              // d, qh and qs
constexpr LayoutField kFieldsQ5_1[] = {{0, 4, 2}, {4, 20, 4}};                              // d and m, qh and qs
constexpr LayoutField kFieldsQ8_0[] = {{0, 2, 2}, {2, 32, 4}};                              // d, qs
constexpr LayoutField kFieldsQ2_K[] = {{0, 80, 4}, {80, 4, 2}};                             // scales and qs, d and dmin
constexpr LayoutField kFieldsQ3_K[] = {{0, 96, 4, Bits::Three}, {96, 12, 4}, {108, 2, 2}};  // hmask, qs; scales; d
constexpr LayoutField kFieldsQ4_K[] = {{0, 4, 2}, {4, 140, 4}};                             // d and dmin; scales, qs
constexpr LayoutField kFieldsQ5_K[] = {{0, 4, 2}, {4, 172, 4}};  // d and dmin; scales, qh, qs
constexpr LayoutField kFieldsQ6_K[] = {{192, 16, 4}, {0, 192, 4, Bits::Six}, {208, 2, 2}};  // scales; ql, qh; d
constexpr LayoutField kFieldsIQ4_NL[] = {{0, 2, 2}, {2, 16, 4}};                            // d, qs
constexpr LayoutField kFieldsIQ4_XS[] = {{0, 4, 2}, {4, 132, 4}};                       // d and scales_h; scales_l, qs
constexpr LayoutField kFieldsIQ1_S[] = {{0, 2, 2}, {2, 48, 4}};                         // d; qs, qh
constexpr LayoutField kFieldsIQ1_M[] = {{0, 56, 4}};                                    // qs, qh, scales
constexpr LayoutField kFieldsIQ2_XXS[] = {{0, 2, 2}, {2, 64, 4, Bits::SevensOfPairs}};  // d; qs
constexpr LayoutField kFieldsIQ2_XS[] = {{0, 2, 2}, {2, 64, 4, Bits::Ninths}, {66, 8, 4}};  // d; qs; scales
constexpr LayoutField kFieldsIQ2_S[] = {
    {0, 2, 2}, {2, 32, 4}, {34, 32, 4, Bits::Ones}, {66, 8, 4, Bits::Twos}, {74, 8, 4}};  // d; qs; signs; qh; scales
constexpr LayoutField kFieldsIQ3_XXS[] = {{0, 2, 2}, {2, 64, 4}, {66, 32, 4, Bits::Sevens}};  // d; qs; signs
constexpr LayoutField kFieldsIQ3_S[] = {
    {0, 2, 2}, {2, 64, 4}, {66, 8, 4, Bits::Ones}, {74, 32, 4, Bits::Ones}, {106, 4, 4}};  // d; qs; qh; signs; scales
constexpr LayoutField kFieldsMXFP4[] = {{0, 1, 1}, {1, 16, 4}};                            // e; qs
constexpr LayoutField kFieldsNVFP4[] = {{0, 36, 4}};                                       // d, qs
constexpr LayoutField kFieldsTQ1_0[] = {{0, 52, 4}, {52, 2, 2}};                           // qs, qh; d
constexpr LayoutField kFieldsTQ2_0[] = {{0, 64, 4}, {64, 2, 2}};                           // qs; d
constexpr LayoutField kFieldsQ1_0[] = {{0, 2, 2}, {2, 16, 4, Bits::Ones}};                 // d; qs
constexpr LayoutField kFieldsQ2_0[] = {{0, 2, 2}, {2, 16, 4, Bits::Twos}};                 // d; qs

#define LOADLINE_FORMAT(name, id, elements, bytes) \
  constexpr BlockLayout kLayout##name = {elements, bytes, kFields##name};
#include "quant/formats.inc"
#undef LOADLINE_FORMAT
constexpr BlockLayout kLayoutPair = {2, 4, kFieldsBF16};
// The last value of an odd row of BF16.
constexpr LayoutField kFieldsSingle[] = {{0, 2, 2}};
constexpr BlockLayout kSingle = {1, 2, kFieldsSingle};

// A square of units in registers, unit c of row r in lane c of vector r, turned so that row and column change places:
// every round, the halves of vectors that lie half the square apart are zipped.
template <class Vector, std::uint32_t lanes>
void transpose(Vector (&square)[lanes]) {
  constexpr std::uint32_t kHalf = lanes / 2;
  for (std::uint32_t round = 1; round < lanes; round *= 2) {
    Vector zipped[lanes];
    for (std::uint32_t i = 0; i < kHalf; ++i) {
      const Vector low = square[i];
      const Vector high = square[i + kHalf];
      if constexpr (lanes == 4) {
        zipped[2 * i] = __builtin_shufflevector(low, high, 0, 4, 1, 5);
        zipped[2 * i + 1] = __builtin_shufflevector(low, high, 2, 6, 3, 7);
      } else {
        zipped[2 * i] = __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
        zipped[2 * i + 1] = __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
      }
    }
    std::copy_n(zipped, lanes, square);
  }
}

template <std::uint32_t unit>
struct UnitVector;
template <>
struct UnitVector<4> {
  using Type = std::uint32_t __attribute__((vector_size(16)));
};
template <>
struct UnitVector<2> {
  using Type = std::uint16_t __attribute__((vector_size(16)));
};

// 16 bytes, past the caches where the processor can: a tile is written once, and read much later. `target` is a
// multiple of 16. `streams_done` before anybody else reads it.
void stream(std::byte* target, const void* source) {
#if defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(target), _mm_loadu_si128(static_cast<const __m128i*>(source)));
#else
  std::memcpy(target, source, 16);
#endif
}

void streams_done() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

void stream_all(std::byte* target, const std::byte* source, std::size_t size) {
  for (std::size_t i = 0; i < size; i += 16) stream(target + i, source + i);
}

// 16 bytes of each of 16 rows into their place in the tile, each 16 by store(place, source).
template <std::uint32_t unit, class Store>
void interleave_step(const std::byte* rows, std::size_t row_stride, std::byte* target, Store&& store) {
  constexpr std::uint32_t kLanes = 16 / unit;
  using Vector = typename UnitVector<unit>::Type;
  for (std::uint32_t r = 0; r < kTileRows; r += kLanes) {
    Vector square[kLanes];
    for (std::uint32_t k = 0; k < kLanes; ++k) std::memcpy(&square[k], rows + (r + k) * row_stride, 16);
    transpose(square);
    for (std::uint32_t k = 0; k < kLanes; ++k) store(target + (k * kTileRows + r) * unit, &square[k]);
  }
}

// `size` bytes of each of `count` rows, unit by unit; zeros for the rows that are missing.
void interleave_some(const std::byte* rows, std::size_t row_stride, std::uint32_t count, std::uint64_t size,
                     std::uint32_t unit, std::byte* target) {
  for (std::uint64_t i = 0; i < size; i += unit) {
    for (std::uint32_t r = 0; r < count; ++r) std::memcpy(target + r * unit, rows + r * row_stride + i, unit);
    std::memset(target + count * unit, 0, (kTileRows - count) * unit);
    target += kTileRows * unit;
  }
}

// The same of 16 rows and less than 16 bytes.
void interleave_small(const std::byte* rows, std::size_t row_stride, std::uint64_t size, std::uint32_t unit,
                      std::byte* target) {
  std::byte small[kTileRows * 16];
  interleave_some(rows, row_stride, kTileRows, size, unit, small);
  stream_all(target, small, kTileRows * size);
}

// `size` bytes of each of 16 rows. What is left at the end is written again with bytes before it where there are any.
template <std::uint32_t unit>
void interleave_field(const std::byte* rows, std::size_t row_stride, std::uint64_t size, std::byte* target) {
  if (size >= 16) {
    for (std::uint64_t i = 0; i + 16 <= size; i += 16) {
      interleave_step<unit>(rows + i, row_stride, target + kTileRows * i, stream);
    }
    if (size % 16 != 0) interleave_step<unit>(rows + size - 16, row_stride, target + kTileRows * (size - 16), stream);
    return;
  }
  interleave_small(rows, row_stride, size, unit, target);
}

// Calls f with what rearranges the bits of a field, where they are.
template <class Function>
void with_bits(const LayoutField& field, Function&& f) {
  switch (field.bits) {
    case Bits::AsInFile: return;
    case Bits::Three: return f(ThreeBits{});
    case Bits::Six: return f(SixBits{});
    case Bits::Ones: return field.size == 8 ? f(Ones<2>{}) : field.size == 16 ? f(Ones<4>{}) : f(Ones<8>{});
    case Bits::Twos: return field.size == 8 ? f(Twos<2>{}) : f(Twos<4>{});
    case Bits::Sevens: return f(Sevens<8, 1>{});
    case Bits::SevensOfPairs: return f(Sevens<16, 2>{});
    case Bits::Ninths: return f(Ninths{});
  }
}

// The units of a field of 4 rows.
template <class Rearranged>
using Units = UnitVector<4>::Type[Rearranged::kUnits];

// Unit `unit` of row `row` of a tile's field.
std::size_t place_of(std::uint32_t unit, std::uint32_t row) { return (std::size_t{unit} * kTileRows + row) * 4; }

// Every four rows of a tile's field through rearrange(units before, units after); `to` may be `from`.
template <class Rearranged, class Function>
void rearrange_rows(const std::byte* from, std::byte* to, Function&& rearrange) {
  for (std::uint32_t r = 0; r < kTileRows; r += 4) {
    Units<Rearranged> before;
    Units<Rearranged> after;
    for (std::uint32_t u = 0; u < Rearranged::kUnits; ++u) std::memcpy(&before[u], from + place_of(u, r), 16);
    rearrange(before, after);
    for (std::uint32_t u = 0; u < Rearranged::kUnits; ++u) std::memcpy(to + place_of(u, r), &after[u], 16);
  }
}

// A field of 16 rows whose bits are rearranged, put together in the cache: what is streamed line by line is fast, but
// four rows are a quarter of many lines.
template <class Rearranged>
void interleave_rearranged(const std::byte* rows, std::size_t row_stride, std::byte* target) {
  constexpr std::size_t kSize = Rearranged::kUnits * 4;
  std::byte field[kTileRows * kSize];
  for (std::size_t i = 0; i + 16 <= kSize; i += 16) {
    interleave_step<4>(rows + i, row_stride, field + kTileRows * i,
                       [](std::byte* place, const void* source) { std::memcpy(place, source, 16); });
  }
  if constexpr (kSize < 16) interleave_some(rows, row_stride, kTileRows, kSize, 4, field);
  rearrange_rows<Rearranged>(field, field, [](const auto& file, auto& tile) { Rearranged::join(file, tile); });
  stream_all(target, field, kTileRows * kSize);
}

// The same of fewer rows.
template <class Rearranged>
void interleave_some_rearranged(const std::byte* rows, std::size_t row_stride, std::uint32_t count, std::byte* target) {
  interleave_some(rows, row_stride, count, Rearranged::kUnits * 4, 4, target);
  rearrange_rows<Rearranged>(target, target, [](const auto& file, auto& tile) { Rearranged::join(file, tile); });
}

// A byte of each of 16 rows out of its tile.
void separate_ones(const std::byte* source, std::uint64_t size, std::size_t row_stride, std::byte* target) {
  for (std::uint64_t i = 0; i < size; ++i) {
    for (std::uint32_t r = 0; r < kTileRows; ++r) target[r * row_stride + i] = source[kTileRows * i + r];
  }
}

// A field of 16 rows out of its tile, `size` bytes of each. Stores are what it costs: rows lie a power of two apart as
// often as not, and so compete for the same places in the cache.
void separate_twos(const std::byte* source, std::uint64_t size, std::size_t row_stride, std::byte* target) {
  for (std::uint32_t r = 0; r < kTileRows; ++r) {
    for (std::uint64_t i = 0; i < size; i += 2) std::memcpy(target + i, source + kTileRows * i, 2);
    source += 2;
    target += row_stride;
  }
}

// Four units of four rows at a time, turned in registers.
void separate_fours(const std::byte* source, std::uint64_t size, std::size_t row_stride, std::byte* target) {
  using Units = std::uint32_t __attribute__((vector_size(16)));
  constexpr std::uint64_t kStep = sizeof(Units);
  const std::uint64_t whole = size / kStep * kStep;
  for (std::uint64_t i = 0; i < whole; i += kStep) {
    for (std::uint32_t r = 0; r < kTileRows; r += 4) {
      Units u[4];
      for (std::uint32_t k = 0; k < 4; ++k) std::memcpy(&u[k], source + kTileRows * (i + 4 * k) + 4 * r, kStep);
      const Units low01 = __builtin_shufflevector(u[0], u[1], 0, 4, 1, 5);
      const Units low23 = __builtin_shufflevector(u[2], u[3], 0, 4, 1, 5);
      const Units high01 = __builtin_shufflevector(u[0], u[1], 2, 6, 3, 7);
      const Units high23 = __builtin_shufflevector(u[2], u[3], 2, 6, 3, 7);
      const Units rows[4] = {
          __builtin_shufflevector(low01, low23, 0, 1, 4, 5), __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
          __builtin_shufflevector(high01, high23, 0, 1, 4, 5), __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
      for (std::uint32_t k = 0; k < 4; ++k) std::memcpy(target + (r + k) * row_stride + i, &rows[k], kStep);
    }
  }
  for (std::uint64_t i = whole; i < size; i += 4) {
    for (std::uint32_t r = 0; r < kTileRows; ++r) {
      std::memcpy(target + r * row_stride + i, source + kTileRows * i + 4 * r, 4);
    }
  }
}

template <class Rearranged>
void separate_rearranged(const std::byte* source, std::size_t row_stride, std::byte* target) {
  constexpr std::uint64_t kSize = Rearranged::kUnits * 4;
  std::byte field[kTileRows * kSize];
  rearrange_rows<Rearranged>(source, field, [](const auto& tile, auto& file) { Rearranged::split(tile, file); });
  separate_fours(field, kSize, row_stride, target);
}

// The way back from `interleave`, for 16 rows.
void separate(const BlockLayout& layout, const std::byte* tile, std::uint64_t count, std::size_t row_stride,
              std::byte* file_rows) {
  // Blocks of one field are one long field; in parts whose tile stays in the first cache.
  const std::uint64_t together = layout.fields.size() == 1 ? 512 / layout.bytes : 1;
  for (std::uint64_t block = 0; block < count; block += together) {
    const std::uint64_t blocks = std::min(together, count - block);
    for (const LayoutField& field : layout.fields) {
      std::byte* target = file_rows + block * layout.bytes + field.offset;
      if (field.bits != Bits::AsInFile) {
        with_bits(field,
                  [&]<class Rearranged>(Rearranged) { separate_rearranged<Rearranged>(tile, row_stride, target); });
      } else {
        const auto separate_units = field.unit == 4 ? separate_fours : field.unit == 2 ? separate_twos : separate_ones;
        separate_units(tile, field.size * blocks, row_stride, target);
      }
      tile += kTileRows * field.size * blocks;
    }
  }
}

// The same of one row.
template <class Rearranged>
void split_in_place(std::byte* field) {
  std::uint32_t tile[Rearranged::kUnits];
  std::uint32_t file[Rearranged::kUnits];
  std::memcpy(tile, field, sizeof tile);
  Rearranged::split(tile, file);
  std::memcpy(field, file, sizeof file);
}

}  // namespace

const BlockLayout& block_layout(TensorType type) {
  if (type == TensorType::BF16) return kLayoutPair;
  switch (type) {
#define LOADLINE_FORMAT(name, id, elements, bytes) \
  case TensorType::name: return kLayout##name;
#include "quant/formats.inc"
#undef LOADLINE_FORMAT
  }
  assert(false && "a type outside the enumeration");
  return kSingle;
}

void interleave(const BlockLayout& layout, const std::byte* file_rows, std::size_t row_stride, std::uint32_t rows,
                std::uint64_t count, std::byte* tile) {
  // Blocks of one field are one long field.
  const std::uint64_t together = layout.fields.size() == 1 ? count : 1;
  for (std::uint64_t block = 0; block < count; block += together) {
    for (const LayoutField& field : layout.fields) {
      const std::byte* source = file_rows + block * layout.bytes + field.offset;
      const std::uint64_t size = field.size * together;
      if (field.bits != Bits::AsInFile) {
        with_bits(field, [&]<class Rearranged>(Rearranged) {
          rows < kTileRows ? interleave_some_rearranged<Rearranged>(source, row_stride, rows, tile)
                           : interleave_rearranged<Rearranged>(source, row_stride, tile);
        });
      } else if (rows < kTileRows) {
        interleave_some(source, row_stride, rows, size, field.unit, tile);
      } else if (field.unit == 1) {
        interleave_small(source, row_stride, size, 1, tile);
      } else if (field.unit == 4) {
        interleave_field<4>(source, row_stride, size, tile);
      } else {
        interleave_field<2>(source, row_stride, size, tile);
      }
      tile += kTileRows * size;
    }
  }
}

void repack_rows(TensorType type, std::uint64_t columns, std::uint64_t matrix_rows, std::uint64_t first_row,
                 std::uint64_t rows, const std::byte* file_rows, std::byte* target) {
  // Of other rows a tile would be written that goes beyond the matrix, or over its neighbours.
  const bool inside = first_row <= matrix_rows && rows <= matrix_rows - first_row;
  if (!inside || first_row % kTileRows != 0 || (rows % kTileRows != 0 && rows != matrix_rows - first_row)) {
    throw Error(ErrorCode::Internal, std::to_string(rows) + " rows from row " + std::to_string(first_row) +
                                         " on of a matrix of " + std::to_string(matrix_rows) +
                                         " cannot be laid out by themselves");
  }
  const BlockLayout& layout = block_layout(type);
  const std::size_t row_bytes = quant::size_of(type, columns).value;
  const std::uint64_t blocks = columns / layout.elements;
  const std::uint64_t tiled_rows = matrix_rows / kTileRows * kTileRows;
  std::byte* out = target + first_row * row_bytes;
  for (std::uint64_t row = 0; row < rows; row += kTileRows) {
    if (first_row + row >= tiled_rows) {
      std::memcpy(out, file_rows, (rows - row) * row_bytes);
      break;
    }
    interleave(layout, file_rows, row_bytes, kTileRows, blocks, out);
    if (columns % layout.elements != 0) {
      const std::size_t done = blocks * layout.bytes;
      interleave(kSingle, file_rows + done, row_bytes, kTileRows, 1, out + kTileRows * done);
    }
    file_rows += kTileRows * row_bytes;
    out += kTileRows * row_bytes;
  }
  streams_done();
}

void restore_rows(TensorType type, std::uint64_t columns, std::uint64_t matrix_rows, std::uint64_t first_row,
                  std::uint64_t rows, const std::byte* packed, std::byte* file_rows) {
  const BlockLayout& layout = block_layout(type);
  const std::size_t row_bytes = quant::size_of(type, columns).value;
  const std::uint64_t blocks = columns / layout.elements;
  const std::uint64_t tiled_rows = matrix_rows / kTileRows * kTileRows;
  const std::byte* tile = packed + first_row * row_bytes;
  for (std::uint64_t row = 0; row < rows; row += kTileRows) {
    if (first_row + row >= tiled_rows) {
      std::memcpy(file_rows, tile, (rows - row) * row_bytes);
      return;
    }
    separate(layout, tile, blocks, row_bytes, file_rows);
    if (columns % layout.elements != 0) {
      const std::size_t done = blocks * layout.bytes;
      separate(kSingle, tile + kTileRows * done, 1, row_bytes, file_rows + done);
    }
    tile += kTileRows * row_bytes;
    file_rows += kTileRows * row_bytes;
  }
}

void extract(const Matrix& matrix, std::uint64_t row, std::uint64_t first, std::uint64_t count, std::byte* target) {
  const BlockLayout& layout = block_layout(matrix.type);
  const std::size_t row_bytes = quant::size_of(matrix.type, matrix.columns).value;
  if (row >= matrix.rows / kTileRows * kTileRows) {
    const std::size_t skipped = quant::size_of(matrix.type, first).value;
    std::memcpy(target, matrix.data + row * row_bytes + skipped, quant::size_of(matrix.type, count).value);
    return;
  }
  const std::byte* tile = matrix.data + row / kTileRows * kTileRows * row_bytes;
  const std::uint64_t lane = row % kTileRows;
  for (std::uint64_t element = first; element < first + count;) {
    // An odd first value of BF16 would start inside a pair; whole blocks never do.
    const bool single = element + layout.elements > matrix.columns;
    const BlockLayout& part = single ? kSingle : layout;
    const std::byte* place = tile + kTileRows * (element / layout.elements) * layout.bytes;
    for (const LayoutField& field : part.fields) {
      for (std::uint32_t i = 0; i < field.size; i += field.unit) {
        std::memcpy(target + field.offset + i, place + kTileRows * i + lane * field.unit, field.unit);
      }
      place += kTileRows * field.size;
      with_bits(field, [&]<class Rearranged>(Rearranged) { split_in_place<Rearranged>(target + field.offset); });
    }
    target += part.bytes;
    element += part.elements;
  }
}

void decode_matrix_row(const Matrix& matrix, std::uint64_t row, float* out) {
  // In parts that are whole blocks of every format, so that the bytes fit on the stack.
  constexpr std::uint64_t kPart = 256;
  std::byte bytes[kPart * sizeof(float)];
  for (std::uint64_t first = 0; first < matrix.columns; first += kPart) {
    const std::uint64_t count = std::min(kPart, matrix.columns - first);
    extract(matrix, row, first, count, bytes);
    quant::decode_row(matrix.type, bytes, out + first, count);
  }
}

}  // namespace loadline::cpu

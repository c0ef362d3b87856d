#include "backend/cpu/layout.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "backend/cpu/kernel_cases.h"
#include "backend/cpu/tile.h"
#include "support/refusal.h"

namespace loadline::cpu::test {
namespace {

class Layout : public testing::TestWithParam<TensorType> {};

INSTANTIATE_TEST_SUITE_P(Formats, Layout, testing::ValuesIn(weight_types()),
                         [](const auto& row) { return std::string(quant::name_of(row.param)); });

TEST_P(Layout, fields_cover_every_byte_of_a_block_once) {
  const BlockLayout& layout = block_layout(GetParam());
  std::vector<int> covered(layout.bytes, 0);
  for (const LayoutField& field : layout.fields) {
    EXPECT_EQ(field.size % field.unit, 0U);
    for (std::uint32_t i = 0; i < field.size; ++i) ++covered.at(field.offset + i);
  }
  EXPECT_EQ(covered, std::vector<int>(layout.bytes, 1));
  EXPECT_EQ(quant::size_of(GetParam(), layout.elements).value, layout.bytes);
}

TEST_P(Layout, repacking_keeps_every_row) {
  Random random(1);
  const std::uint32_t block = quant::format_of(GetParam()).block_elements;
  for (const std::uint32_t rows : {1U, 15U, 16U, 17U, 47U, 64U}) {
    for (const std::uint32_t columns : {block, 3 * block, 11 * block}) {
      const TestMatrix m(GetParam(), rows, columns, Style::Normal, random);
      std::vector<float> row(columns);
      for (std::uint32_t r = 0; r < rows; ++r) {
        decode_matrix_row(m.matrix(), r, row.data());
        EXPECT_EQ(std::memcmp(row.data(), m.values.data() + std::size_t{r} * columns, columns * sizeof(float)), 0)
            << rows << " x " << columns << ", row " << r;
      }
    }
  }
}

TEST_P(Layout, repacking_in_parts_gives_the_same_bytes) {
  Random random(2);
  const std::uint32_t columns = 5 * quant::format_of(GetParam()).block_elements;
  const TestMatrix m(GetParam(), 70, columns, Style::Normal, random);
  const std::size_t row_bytes = quant::size_of(GetParam(), columns).value;
  Buffer parts(m.file.size());
  for (const auto& [first, count] : {std::pair{32U, 38U}, std::pair{0U, 16U}, std::pair{16U, 16U}}) {
    repack_rows(GetParam(), columns, 70, first, count, m.file.data() + first * row_bytes, parts.data());
  }
  EXPECT_EQ(std::memcmp(parts.data(), m.packed.data(), m.file.size()), 0);
}

TEST(Repacking, of_rows_that_are_no_whole_tiles_or_not_in_the_matrix_is_refused_before_anything_is_written) {
  constexpr std::uint32_t kColumns = 32;
  constexpr std::uint64_t kMatrixRows = 70;
  const std::vector<std::byte> file(128 * kColumns * sizeof(float));
  Buffer target(file.size());
  const auto repack = [&](std::uint64_t first_row, std::uint64_t rows) {
    repack_rows(TensorType::F32, kColumns, kMatrixRows, first_row, rows, file.data(), target.data());
  };
  constexpr std::uint64_t kHuge = std::uint64_t{0} - 16;
  for (const auto& [first_row, rows] : {std::pair<std::uint64_t, std::uint64_t>{0, 80},
                                        {0, 17},
                                        {8, 16},
                                        {8, 62},
                                        {64, 7},
                                        {64, 16},
                                        {80, 16},
                                        {kHuge, 32},
                                        {16, kHuge}}) {
    SCOPED_TRACE(testing::Message() << rows << " rows from " << first_row);
    EXPECT_THAT(loadline::test::refusal([&] { repack(first_row, rows); }, ErrorCode::Internal).sentence,
                testing::HasSubstr("of a matrix of 70"));
  }
  for (std::size_t i = 0; i < file.size(); ++i) ASSERT_EQ(target.data()[i], std::byte{0xCD}) << i;
  repack(64, 6);
  repack(0, 70);
}

TEST_P(Layout, restoring_any_rows_gives_the_files_bytes) {
  Random random(3);
  for (const std::uint32_t blocks : {1U, 5U}) {
    // With BF16 the last value of an odd row has no partner.
    const std::uint32_t columns = blocks * quant::format_of(GetParam()).block_elements;
    for (const std::uint32_t rows : {16U, 70U}) {
      const TestMatrix m(GetParam(), rows, columns, Style::Normal, random);
      const std::size_t row_bytes = quant::size_of(GetParam(), columns).value;
      for (std::uint32_t first = 0; first < rows; first += 16) {
        for (const std::uint32_t count : {std::min(16U, rows - first), rows - first}) {
          std::vector<std::byte> restored(count * row_bytes);
          restore_rows(GetParam(), columns, rows, first, count, m.packed.data(), restored.data());
          EXPECT_EQ(std::memcmp(restored.data(), m.file.data() + first * row_bytes, restored.size()), 0)
              << columns << " columns, rows " << first << " to " << first + count << " of " << rows;
        }
      }
    }
  }
}

// The header's formula, byte by byte, for rows long enough for every way of copying them.
TEST_P(Layout, every_byte_is_where_the_formula_says) {
  Random random(4);
  const BlockLayout& layout = block_layout(GetParam());
  for (const std::uint32_t blocks : {1U, 2U, 7U, 33U, 200U}) {
    const std::uint32_t columns = blocks * layout.elements;
    const TestMatrix m(GetParam(), 32, columns, Style::Normal, random);
    const std::size_t row_bytes = quant::size_of(GetParam(), columns).value;
    for (std::uint32_t row = 0; row < 32; ++row) {
      const std::byte* tile = m.packed.data() + row / 16 * 16 * row_bytes;
      for (std::uint32_t block = 0; block < blocks; ++block) {
        std::size_t before = std::size_t{block} * layout.bytes;
        const std::byte* file = m.file.data() + row * row_bytes + before;
        for (const LayoutField& field : layout.fields) {
          for (std::uint32_t i = 0; i < field.size && field.bits == Bits::AsInFile; ++i) {
            const std::size_t packed =
                16 * (before + i / field.unit * field.unit) + row % 16 * field.unit + i % field.unit;
            ASSERT_EQ(tile[packed], file[field.offset + i])
                << "row " << row << " of " << blocks << " blocks, block " << block << ", byte " << field.offset + i;
          }
          before += field.size;
        }
      }
    }
  }
}

// Bits of a weight, from the lowest: of which unit, and where in the byte.
struct BitPlace {
  std::uint32_t unit, bit;
};

std::vector<BitPlace> places_of_three_bits(std::uint32_t quad) {
  const std::uint32_t first = quad / 32 * 12;
  const std::uint32_t v = quad % 32;
  if (v < 12) return {{first + v, 0}, {first + v, 1}, {first + v, 2}};
  if (v < 24) return {{first + v - 12, 3}, {first + v - 12, 4}, {first + v - 12, 5}};
  const std::uint32_t unit = first + v % 4 * 3;
  if (v < 28) return {{unit + 2, 6}, {unit + 2, 7}, {unit + 1, 6}};
  return {{unit + 1, 7}, {unit, 6}, {unit, 7}};
}

std::vector<BitPlace> places_of_six_bits(std::uint32_t quad) {
  const std::uint32_t first = quad / 4 * 3;
  if (quad % 4 == 3) return {{first, 6}, {first, 7}, {first + 1, 6}, {first + 1, 7}, {first + 2, 6}, {first + 2, 7}};
  const std::uint32_t unit = first + quad % 4;
  return {{unit, 0}, {unit, 1}, {unit, 2}, {unit, 3}, {unit, 4}, {unit, 5}};
}

// Weight i of a block in the file, as ggml-common.h has it: hmask[32], qs[64]; and ql[128], qh[64].
std::uint32_t three_bits_in_file(const std::byte* block, std::uint32_t i) {
  const auto byte = [&](std::uint32_t at) { return std::to_integer<std::uint32_t>(block[at]); };
  return (byte(32 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3) | (byte(i % 32) >> i / 32 & 1) << 2;
}
std::uint32_t six_bits_in_file(const std::byte* block, std::uint32_t i) {
  const auto byte = [&](std::uint32_t at) { return std::to_integer<std::uint32_t>(block[at]); };
  return (byte(i / 128 * 64 + i % 64) >> i % 128 / 64 * 4 & 15) |
         (byte(128 + i / 128 * 32 + i % 32) >> i % 128 / 32 * 2 & 3) << 4;
}

// Bit by bit, for whole tiles and through copy_superblock.
TEST(RearrangedBits, every_bit_is_where_the_table_says) {
  struct Case {
    TensorType type;
    std::size_t before;  // bytes of a row's block in front of the weights
    std::vector<BitPlace> (*places)(std::uint32_t quad);
    std::uint32_t (*in_file)(const std::byte* block, std::uint32_t i);
  };
  Random random(5);
  for (const Case& c : {Case{TensorType::Q3_K, 0, places_of_three_bits, three_bits_in_file},
                        Case{TensorType::Q6_K, 16, places_of_six_bits, six_bits_in_file}}) {
    const std::size_t block_bytes = quant::size_of(c.type, 256).value;
    for (const std::uint32_t rows : {16U, 5U}) {
      const TestMatrix m(c.type, rows, 256, Style::Normal, random);
      Buffer tile(16 * block_bytes);
      copy_superblock(tile_of(m.matrix(), 0), 0, tile.data());
      for (std::uint32_t row = 0; row < rows; ++row) {
        for (std::uint32_t i = 0; i < 256; ++i) {
          std::uint32_t found = 0;
          std::uint32_t bit = 0;
          for (const BitPlace place : c.places(i / 4)) {
            const auto byte =
                std::to_integer<std::uint32_t>(tile.data()[16 * c.before + place.unit * 64 + row * 4 + i % 4]);
            found |= (byte >> place.bit & 1) << bit++;
          }
          ASSERT_EQ(found, c.in_file(m.file.data() + row * block_bytes, i))
              << quant::name_of(c.type) << ", " << rows << " rows, row " << row << ", weight " << i;
        }
      }
    }
  }
}

TEST(Layout, units_of_the_rows_alternate) {
  // One block of Q4_0: the scales of the 16 rows, then 4 bytes of each row in turn.
  std::vector<std::byte> file(16 * 18);
  for (std::size_t i = 0; i < file.size(); ++i) file[i] = static_cast<std::byte>(i);
  Buffer tile(file.size());
  repack_rows(TensorType::Q4_0, 32, 16, 0, 16, file.data(), tile.data());
  EXPECT_EQ(tile.data()[2 * 5 + 1], file[5 * 18 + 1]);
  EXPECT_EQ(tile.data()[32 + 64 * 2 + 4 * 7 + 3], file[7 * 18 + 2 + 4 * 2 + 3]);
}

}  // namespace
}  // namespace loadline::cpu::test

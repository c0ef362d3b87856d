// Pages of the cache go to other devices, and come back, with every value in its place.
#include "backend/cpu/cache_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/kv_layout.h"

namespace loadline::cpu {
namespace {

using quant::TensorType;

constexpr std::uint32_t kWidth = 64, kHeads = 3;

// No two values of a page are the same.
std::uint16_t mark(std::size_t head, std::size_t cell, std::size_t i) {
  return static_cast<std::uint16_t>((head * kCells + cell) * kWidth + i + 1);
}

std::size_t offset_here(bool keys, std::size_t cell, std::size_t i) {
  return keys ? k_index(i, cell) : v_index(kWidth, i, cell);
}

template <class Value>
void expect_each_in_its_place(TensorType type) {
  const std::size_t part = part_bytes(type, kWidth);
  for (const bool keys : {true, false}) {
    const PageParts parts{type, kWidth, kHeads, keys};
    std::vector<std::byte> page(kHeads * part);
    std::vector<std::byte> exported(page.size());
    std::vector<std::byte> back(page.size());
    const auto place = [&](std::byte* bytes, std::size_t head, std::size_t index) {
      return bytes + head * part + index * sizeof(Value);
    };
    for (std::size_t head = 0; head < kHeads; ++head) {
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        for (std::size_t i = 0; i < kWidth; ++i) {
          const auto value = static_cast<Value>(mark(head, cell, i));
          std::memcpy(place(page.data(), head, offset_here(keys, cell, i)), &value, sizeof value);
        }
      }
    }
    export_page(parts, page.data(), exported.data());
    for (std::size_t head = 0; head < kHeads; ++head) {
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        for (std::size_t i = 0; i < kWidth; ++i) {
          Value value;
          std::memcpy(&value, place(exported.data(), head, cell * kWidth + i), sizeof value);
          ASSERT_EQ(value, static_cast<Value>(mark(head, cell, i))) << "keys " << keys << ", cell " << cell;
        }
      }
    }
    import_page(parts, exported.data(), kCells, back.data());
    EXPECT_EQ(back, page);
  }
}

// What lies behind may be no number elsewhere, and is multiplied by nothing here.
TEST(CachePages, CellsThatHoldNothingBecomeZeros) {
  for (const TensorType type : {TensorType::F32, TensorType::F16, TensorType::Q8_0}) {
    for (const bool keys : {true, false}) {
      const PageParts parts{type, kWidth, kHeads, keys};
      const std::vector<std::byte> full(kHeads * part_bytes(type, kWidth), std::byte{0xFF});
      for (const std::uint32_t cells : {0U, 1U, 20U}) {
        std::vector<std::byte> page = full;
        import_page(parts, full.data(), cells, page.data());
        const auto set = static_cast<std::size_t>(std::ranges::count(page, std::byte{0xFF}));
        EXPECT_EQ(set * kCells, full.size() * cells) << keys << cells;
      }
    }
  }
}

TEST(CachePages, OfFloatsLieCellAfterCellElsewhere) { expect_each_in_its_place<float>(TensorType::F32); }
TEST(CachePages, OfHalvesLieCellAfterCellElsewhere) { expect_each_in_its_place<std::uint16_t>(TensorType::F16); }

TEST(CachePages, OfBytesHaveTheirScalesBehindThemElsewhere) {
  const std::size_t part = part_bytes(TensorType::Q8_0, kWidth);
  for (const bool keys : {true, false}) {
    const PageParts parts{TensorType::Q8_0, kWidth, kHeads, keys};
    std::vector<std::byte> page(kHeads * part);
    std::vector<std::byte> exported(page.size());
    std::vector<std::byte> back(page.size());
    for (std::size_t head = 0; head < kHeads; ++head) {
      std::byte* bytes = page.data() + head * part;
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        for (std::size_t i = 0; i < kWidth; ++i) {
          bytes[keys ? k_q8_value(i, cell) : v_q8_value(kWidth, i, cell)] =
              static_cast<std::byte>(mark(head, cell, i) % 251);
        }
        for (std::size_t i = 0; i < kWidth; i += 32) {
          const std::uint16_t scale = mark(head, cell, i);
          std::memcpy(bytes + (keys ? k_q8_scale(i, cell) : v_q8_scale(kWidth, i, cell)), &scale, 2);
        }
      }
    }
    export_page(parts, page.data(), exported.data());
    for (std::size_t head = 0; head < kHeads; ++head) {
      const std::byte* bytes = exported.data() + head * part;
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        for (std::size_t i = 0; i < kWidth; ++i) {
          ASSERT_EQ(bytes[cell * kWidth + i], static_cast<std::byte>(mark(head, cell, i) % 251)) << "keys " << keys;
        }
        for (std::size_t block = 0; block < kWidth / 32; ++block) {
          std::uint16_t scale;
          std::memcpy(&scale, bytes + kCells * kWidth + (cell * (kWidth / 32) + block) * 2, 2);
          ASSERT_EQ(scale, mark(head, cell, block * 32)) << "keys " << keys;
        }
      }
    }
    import_page(parts, exported.data(), kCells, back.data());
    EXPECT_EQ(back, page);
  }
}

}  // namespace
}  // namespace loadline::cpu

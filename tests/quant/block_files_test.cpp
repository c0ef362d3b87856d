// Raw blocks of each format and their values, from an independent implementation (shared/data/blocks): equal to the
// bit.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "quant/codebooks.h"
#include "quant/format.h"
#include "support/test_data.h"

namespace loadline::quant {
namespace {

std::vector<std::byte> bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes(chars.size());
  if (!chars.empty()) std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

class BlockFile : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Formats, BlockFile,
                         testing::Values("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "MXFP4",
                                         "NVFP4", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"),
                         [](const auto& name) { return std::string(name.param); });

TEST_P(BlockFile, decodes_to_the_bit) {
  LOADLINE_REQUIRE_SHARED(folder, "blocks");
  const std::vector<std::byte> blocks = bytes_of(folder / (std::string(GetParam()) + ".blocks"));
  const std::vector<std::byte> expected = bytes_of(folder / (std::string(GetParam()) + ".f32"));
  const Format* format = find_format(GetParam());
  ASSERT_NE(format, nullptr);
  const std::size_t count = blocks.size() / format->block_bytes;
  ASSERT_EQ(count, 200U);
  std::vector<float> values(count * format->block_elements);
  ASSERT_EQ(values.size() * sizeof(float), expected.size());
  decode_row(format->type, blocks.data(), values.data(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    float wanted = 0;
    std::memcpy(&wanted, expected.data() + i * sizeof(float), sizeof wanted);
    ASSERT_EQ(std::memcmp(&values[i], &wanted, sizeof wanted), 0)
        << "block " << i / format->block_elements << ", value " << i % format->block_elements << ": " << values[i]
        << " instead of " << wanted;
  }
}

template <class Grid>
void expect_grid(const std::filesystem::path& path, const Grid& grid, int offset) {
  const std::vector<std::byte> bytes = bytes_of(path);
  constexpr std::size_t kLength = sizeof(typename Grid::value_type);
  ASSERT_EQ(bytes.size(), grid.size() * kLength);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(grid_value(grid[i / kLength], static_cast<int>(i % kLength)) - offset, static_cast<std::int8_t>(bytes[i]))
        << path << ", entry " << i / kLength;
  }
}

TEST(Codebooks, have_the_values_of_the_files) {
  LOADLINE_REQUIRE_SHARED(folder, "grids");
  expect_grid(folder / "iq2_xxs.bin", kIq2XxsGrid, 0);
  expect_grid(folder / "iq2_xs.bin", kIq2XsGrid, 0);
  expect_grid(folder / "iq2_s.bin", kIq2SGrid, 0);
  expect_grid(folder / "iq3_xxs.bin", kIq3XxsGrid, 0);
  expect_grid(folder / "iq3_s.bin", kIq3SGrid, 0);
  expect_grid(folder / "iq1_s.bin", kIq1Grid, 1);
}

TEST(SignsOfSeven, make_the_number_of_negative_ones_even) {
  for (unsigned bits = 0; bits < 128; ++bits) {
    EXPECT_EQ(signs_of_seven(bits) & 127U, bits);
    EXPECT_EQ(__builtin_popcount(signs_of_seven(bits)) % 2, 0) << bits;
  }
}

// Encoders of formats that are written too, on what they can hold exactly.
TEST(Encode, finds_what_a_block_holds_exactly) {
  struct Case {
    const char* name;
    std::vector<float> levels;
  };
  for (const Case& c : {Case{"MXFP4", {0, 0.5F, 1, 1.5F, 2, 3, 4, 6, -0.5F, -1, -1.5F, -2, -3, -4, -6}},
                        Case{"NVFP4", {0, 0.5F, 1, 1.5F, 2, 3, 4, 6, -0.5F, -1, -1.5F, -2, -3, -4, -6}},
                        Case{"TQ1_0", {0, 0.75F, -0.75F}}, Case{"TQ2_0", {0, 0.75F, -0.75F}},
                        Case{"Q2_0", {0, 0.75F, -0.75F}}, Case{"Q1_0", {0.75F, -0.75F}}}) {
    const Format& format = *find_format(c.name);
    std::vector<float> values(256);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = c.levels[i * i % 7 * 5 % c.levels.size()];
    for (std::size_t i = 0; i < values.size(); i += 16) values[i] = c.levels.back();  // the peak in every group
    std::vector<std::byte> bytes(size_of(format.type, 256).value);
    encode_row(format.type, values.data(), bytes.data(), 256);
    std::vector<float> decoded(256);
    decode_row(format.type, bytes.data(), decoded.data(), 256);
    EXPECT_EQ(decoded, values) << c.name;
  }
}

TEST(Formats, that_need_an_importance_matrix_are_not_written) {
  for (const char* name : {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"}) {
    EXPECT_EQ(find_format(name)->encode, nullptr) << name;
  }
  for (const char* name : {"IQ3_S", "MXFP4", "NVFP4", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "IQ4_XS"}) {
    EXPECT_NE(find_format(name)->encode, nullptr) << name;
  }
}

}  // namespace
}  // namespace loadline::quant

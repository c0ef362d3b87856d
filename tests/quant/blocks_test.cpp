// Single blocks worked out by hand from the layouts in ggml-common.h, byte by byte, without using our structures.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/format.h"

namespace loadline::quant {
namespace {

// Half-precision bit patterns, low byte first.
constexpr std::array<int, 2> kHalf = {0x00, 0x38};
constexpr std::array<int, 2> kOne = {0x00, 0x3C};
constexpr std::array<int, 2> kTwo = {0x00, 0x40};
constexpr std::array<int, 2> kMinusOne = {0x00, 0xBC};

class BlockBytes {
 public:
  explicit BlockBytes(TensorType type) : type_(type), bytes_(format_of(type).block_bytes) {}

  BlockBytes& put(std::size_t offset, std::initializer_list<int> values) {
    for (const int value : values) bytes_.at(offset++) = static_cast<std::byte>(value);
    return *this;
  }
  BlockBytes& put(std::size_t offset, std::array<int, 2> half) { return put(offset, {half[0], half[1]}); }

  [[nodiscard]] std::vector<float> decode() const {
    std::vector<float> values(format_of(type_).block_elements);
    decode_row(type_, bytes_.data(), values.data(), values.size());
    return values;
  }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  TensorType type_;
  std::vector<std::byte> bytes_;
};

std::vector<std::byte> encode(TensorType type, const std::vector<float>& values) {
  std::vector<std::byte> bytes(size_of(type, values.size()).value);
  encode_row(type, values.data(), bytes.data(), values.size());
  return bytes;
}

TEST(DecodeF16, KeepsSubnormalsAndSigns) {
  EXPECT_EQ(BlockBytes(TensorType::F16).put(0, {0x01, 0x80}).decode()[0], -0x1p-24F);
  EXPECT_EQ(BlockBytes(TensorType::F16).put(0, {0xFF, 0x7B}).decode()[0], 65504.0F);
}

TEST(DecodeBF16, IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(BlockBytes(TensorType::BF16).put(0, {0x40, 0xC0}).decode()[0], -3.0F);
}

TEST(DecodeQ4_0, SubtractsEightAndSplitsHalves) {
  const auto values = BlockBytes(TensorType::Q4_0).put(0, kTwo).put(2, {0x3A}).decode();
  EXPECT_EQ(values[0], 4.0F);     // (10 - 8) * 2
  EXPECT_EQ(values[16], -10.0F);  // (3 - 8) * 2
  EXPECT_EQ(values[1], -16.0F);   // (0 - 8) * 2
}

TEST(DecodeQ4_1, AddsTheMinimum) {
  const auto values = BlockBytes(TensorType::Q4_1).put(0, kHalf).put(2, kMinusOne).put(4 + 15, {0xF2}).decode();
  EXPECT_EQ(values[15], 0.0F);  // 2 * 0.5 - 1
  EXPECT_EQ(values[31], 6.5F);  // 15 * 0.5 - 1
  EXPECT_EQ(values[0], -1.0F);
}

TEST(DecodeQ5_0, TakesTheFifthBitInOrderOfValues) {
  const auto values =
      BlockBytes(TensorType::Q5_0).put(0, kTwo).put(2, {0x02, 0x00, 0x04, 0x00}).put(6, {0x00, 0x05, 0x70}).decode();
  EXPECT_EQ(values[0], -32.0F);  // (0 - 16) * 2
  EXPECT_EQ(values[1], 10.0F);   // (5 + 16 - 16) * 2
  EXPECT_EQ(values[18], 14.0F);  // (7 + 16 - 16) * 2
}

TEST(DecodeQ5_1, TakesTheFifthBitInOrderOfValues) {
  const auto values = BlockBytes(TensorType::Q5_1)
                          .put(0, kHalf)
                          .put(2, kMinusOne)
                          .put(4, {0x00, 0x00, 0x00, 0x80})
                          .put(8 + 15, {0xF1})
                          .decode();
  EXPECT_EQ(values[15], -0.5F);  // 1 * 0.5 - 1
  EXPECT_EQ(values[31], 14.5F);  // 31 * 0.5 - 1
}

TEST(DecodeQ8_0, MultipliesSignedBytes) {
  const auto values = BlockBytes(TensorType::Q8_0).put(0, kHalf).put(2, {0x80, 0x7F}).decode();
  EXPECT_EQ(values[0], -64.0F);
  EXPECT_EQ(values[1], 63.5F);
}

TEST(DecodeQ2_K, HasSixteenGroupsAndTwoBitsAValue) {
  // Scales first, then 64 bytes of quants, scale 2, minimum scale 0.5.
  const auto values = BlockBytes(TensorType::Q2_K)
                          .put(0, {0x21, 0x00, 0x03})  // group 0: scale 1, minimum 2; group 2: scale 3
                          .put(15, {0xF5})             // group 15: scale 5, minimum 15
                          .put(16, {0xE4})             // values 0, 32, 64, 96: 0, 1, 2, 3
                          .put(16 + 63, {0xC0})        // value 255: 3
                          .put(80, kTwo)
                          .put(82, kHalf)
                          .decode();
  EXPECT_EQ(values[0], -1.0F);           // 2 * 1 * 0 - 0.5 * 2
  EXPECT_EQ(values[32], 6.0F);           // 2 * 3 * 1
  EXPECT_EQ(values[64], 0.0F);           // group 4 has scale 0
  EXPECT_EQ(values[255], 30.0F - 7.5F);  // 2 * 5 * 3 - 0.5 * 15
  EXPECT_EQ(values[254], -7.5F);
}

TEST(DecodeQ3_K, JoinsScalesAndThirdBits) {
  BlockBytes bytes(TensorType::Q3_K);
  bytes
      .put(0, {0x81})             // third bit of values 0 and 224 set
      .put(32, {0x03})            // low bits of value 0: 3
      .put(32 + 32, {0x40})       // low bits of value 224: 1
      .put(96, {0x01, 0x02})      // low halves of groups 0, 1 (and 8, 9)
      .put(96 + 6, {0xF0})        // low half of group 14: 15
      .put(96 + 8, {0x02, 0x03})  // upper bits: group 0: 2, group 1: 3
      .put(96 + 10, {0x80})       // group 14: 2
      .put(108, kTwo);
  const auto values = bytes.decode();
  EXPECT_EQ(values[0], 2.0F * (33 - 32) * 3);    // quant 7 - 4
  EXPECT_EQ(values[1], 2.0F * (33 - 32) * -4);   // quant 0 - 4
  EXPECT_EQ(values[16], 2.0F * (50 - 32) * -4);  // group 1: 3 * 16 + 2
  EXPECT_EQ(values[224], 2.0F * (47 - 32) * 1);  // quant 5 - 4, group 14: 2 * 16 + 15
  EXPECT_EQ(values[32], 2.0F * (0 - 32) * -4);
}

// Groups 0 and 5: scale 33 and 53, minimum 2 and 26.
void put_k_scales(BlockBytes& bytes, std::size_t offset) {
  bytes.put(offset, {33, 0xC0, 0, 0, 2, 0x40, 0, 0, 0, 0xA5});
}

TEST(DecodeQ4_K, JoinsSixBitScalesAndMinima) {
  BlockBytes bytes(TensorType::Q4_K);
  bytes.put(0, kTwo).put(2, kHalf);
  put_k_scales(bytes, 4);
  bytes.put(16, {0x07}).put(16 + 64 + 31, {0xC0});
  const auto values = bytes.decode();
  EXPECT_EQ(values[0], 2.0F * 33 * 7 - 1.0F);
  EXPECT_EQ(values[1], -1.0F);
  EXPECT_EQ(values[32], 0.0F);
  EXPECT_EQ(values[5 * 32 + 31], 2.0F * 53 * 12 - 13.0F);
  EXPECT_EQ(values[5 * 32], -13.0F);
}

TEST(DecodeQ5_K, AddsTheBitOfItsGroup) {
  BlockBytes bytes(TensorType::Q5_K);
  bytes.put(0, kTwo).put(2, kHalf);
  put_k_scales(bytes, 4);
  bytes.put(16, {0x01}).put(16 + 31, {0x20}).put(48, {0x07}).put(48 + 64 + 31, {0xC0});
  const auto values = bytes.decode();
  EXPECT_EQ(values[0], 2.0F * 33 * (7 + 16) - 1.0F);
  EXPECT_EQ(values[5 * 32 + 31], 2.0F * 53 * (12 + 16) - 13.0F);
  EXPECT_EQ(values[5 * 32], -13.0F);
}

TEST(DecodeQ6_K, JoinsFourLowAndTwoHighBits) {
  BlockBytes bytes(TensorType::Q6_K);
  bytes
      .put(0, {0x5F})             // low bits of value 0: 15, of value 64: 5
      .put(64 + 33, {0x20})       // low bits of value 128 + 97: 2
      .put(128, {0x30 | 0x02})    // high bits of value 0: 2, of value 64: 3
      .put(128 + 32 + 1, {0x40})  // high bits of value 128 + 97: 1
      .put(192, {3})              // group 0
      .put(192 + 4, {0xFE})       // group 4: -2
      .put(192 + 14, {0x80})      // group 14: -128
      .put(208, kHalf);
  const auto values = bytes.decode();
  EXPECT_EQ(values[0], 0.5F * 3 * (47 - 32));
  EXPECT_EQ(values[1], 0.5F * 3 * -32);
  EXPECT_EQ(values[64], 0.5F * -2 * (53 - 32));
  EXPECT_EQ(values[128 + 97], 0.5F * -128 * (18 - 32));
}

TEST(DecodeIQ4_NL, LooksLevelsUp) {
  const auto values = BlockBytes(TensorType::IQ4_NL).put(0, kTwo).put(2, {0xF8}).decode();
  EXPECT_EQ(values[0], 2.0F);     // level 8 is 1
  EXPECT_EQ(values[16], 226.0F);  // level 15 is 113
  EXPECT_EQ(values[1], -254.0F);  // level 0 is -127
}

TEST(DecodeIQ4_XS, JoinsSixBitScalesBelowZero) {
  const auto values = BlockBytes(TensorType::IQ4_XS)
                          .put(0, kOne)
                          .put(2, {0x03, 0x80})        // upper bits: group 0: 3, group 7: 2
                          .put(4, {0x01, 0, 0, 0x50})  // lower bits: group 0: 1, group 7: 5
                          .put(8, {0x08})              // value 0: level 8, value 16: level 0
                          .put(8 + 127, {0x90})        // value 255: level 9
                          .decode();
  EXPECT_EQ(values[0], 17.0F);  // (49 - 32) * 1
  EXPECT_EQ(values[16], 17.0F * -127.0F);
  EXPECT_EQ(values[255], 5.0F * 13.0F);     // (37 - 32) * 13
  EXPECT_EQ(values[32], -32.0F * -127.0F);  // group 1: (0 - 32) * level 0
}

TEST(EncodeQ4_0, GivesTheLargestMagnitudeTheLowestLevel) {
  std::vector<float> values(32);
  values[0] = 4.0F;   // the peak: scale -0.5, quant 0
  values[1] = -3.5F;  // 7 + 8
  values[17] = 1.0F;  // -2 + 8
  BlockBytes expected(TensorType::Q4_0);
  expected.put(0, {0x00, 0xB8});
  for (std::size_t i = 0; i < 16; ++i) expected.put(2 + i, {0x88});
  expected.put(2, {0x80, 0x6F});
  EXPECT_EQ(encode(TensorType::Q4_0, values), expected.bytes());
}

TEST(EncodeQ8_0, GivesTheLargestMagnitude127) {
  std::vector<float> values(32);
  for (std::size_t i = 0; i < 32; ++i) values[i] = static_cast<float>(i);
  values[31] = -63.5F;
  BlockBytes expected(TensorType::Q8_0);
  expected.put(0, kHalf);
  for (int i = 0; i < 31; ++i) expected.put(2 + static_cast<std::size_t>(i), {2 * i});
  expected.put(2 + 31, {-127 & 0xFF});
  EXPECT_EQ(encode(TensorType::Q8_0, values), expected.bytes());
}

TEST(EncodeQ4_1, SpansTheRange) {
  std::vector<float> values(32, -1.0F);
  values[3] = 6.5F;
  values[20] = 0.0F;
  BlockBytes expected(TensorType::Q4_1);
  expected.put(0, kHalf).put(2, kMinusOne).put(4 + 3, {0x0F, 0x20});
  EXPECT_EQ(encode(TensorType::Q4_1, values), expected.bytes());
}

TEST(EncodeF16AndBF16, RoundToNearestEven) {
  EXPECT_EQ(encode(TensorType::F16, {1.0F + 0x1p-11F}), BlockBytes(TensorType::F16).put(0, {0x00, 0x3C}).bytes());
  EXPECT_EQ(encode(TensorType::F16, {1.0F + 0x3p-11F}), BlockBytes(TensorType::F16).put(0, {0x02, 0x3C}).bytes());
  EXPECT_EQ(encode(TensorType::BF16, {1.0F + 0x1p-8F}), BlockBytes(TensorType::BF16).put(0, {0x80, 0x3F}).bytes());
  EXPECT_EQ(encode(TensorType::BF16, {1.0F + 0x3p-8F}), BlockBytes(TensorType::BF16).put(0, {0x82, 0x3F}).bytes());
}

// Values that lie exactly on a format's levels, with scales the searches must find, survive unchanged.
TEST(EncodeKFormats, FindABlockThatFitsExactly) {
  struct Case {
    TensorType type;
    int group;
    int lowest;
    int highest;
  };
  for (const Case& c :
       {Case{TensorType::Q4_K, 32, 0, 15}, Case{TensorType::Q5_K, 32, 0, 31}, Case{TensorType::Q2_K, 16, 0, 3},
        Case{TensorType::Q3_K, 16, -4, 3}, Case{TensorType::Q6_K, 16, -32, 31}}) {
    std::vector<float> values(256);
    for (int i = 0; i < 256; ++i) {
      values[static_cast<std::size_t>(i)] =
          0.25F * static_cast<float>(c.lowest + i % c.group * 7 % (c.highest - c.lowest + 1));
    }
    std::vector<float> decoded(256);
    decode_row(c.type, encode(c.type, values).data(), decoded.data(), 256);
    for (std::size_t i = 0; i < 256; ++i)
      EXPECT_NEAR(decoded[i], values[i], 0.002 * c.highest) << name_of(c.type) << " value " << i;
  }
}

}  // namespace
}  // namespace loadline::quant

// The table of formats, and the sizes derived from it.
#include "quant/format.h"

#include <gtest/gtest.h>

#include <set>

#include "quant/activation.h"

namespace loadline::quant {
namespace {

TEST(Formats, AreFoundByIdAndByNameInAnyCase) {
  EXPECT_EQ(all_formats().size(), 28U);
  for (const Format& format : all_formats()) {
    EXPECT_EQ(find_format(static_cast<std::uint32_t>(format.type)), &format);
    EXPECT_EQ(find_format(format.name), &format);
    EXPECT_EQ(name_of(format.type), format.name);
  }
  ASSERT_NE(find_format("iq4_nl"), nullptr);
  EXPECT_EQ(find_format("iq4_nl")->type, TensorType::IQ4_NL);
}

TEST(Formats, ThatDoNotExistAreNotFound) {
  EXPECT_EQ(find_format("Q4_K_M"), nullptr);
  EXPECT_EQ(find_format(""), nullptr);
  EXPECT_EQ(find_format(4U), nullptr);  // Q4_2, withdrawn
  EXPECT_EQ(find_format(~0U), nullptr);
}

TEST(GgmlTypeName, NamesForeignTypesAndUnknownIds) {
  EXPECT_EQ(ggml_type_name(12), "Q4_K");
  EXPECT_EQ(ggml_type_name(16), "IQ2_XXS");
  EXPECT_EQ(ggml_type_name(39), "MXFP4");
  EXPECT_EQ(ggml_type_name(31), "Q4_0_4_4");
  EXPECT_EQ(ggml_type_name(4000000000U), "type 4000000000");
  for (const Format& format : all_formats()) {
    EXPECT_EQ(ggml_type_name(static_cast<std::uint32_t>(format.type)), format.name);
  }
}

TEST(SizeOf, CountsWholeBlocks) {
  EXPECT_EQ(size_of(TensorType::F32, 7), Bytes(28));
  EXPECT_EQ(size_of(TensorType::Q8_0, 64), Bytes(68));
  EXPECT_EQ(size_of(TensorType::Q4_K, 4096), Bytes(16 * 144));
  // A row of 8192 of the largest models, times a vocabulary: beyond 32 bits.
  EXPECT_EQ(size_of(TensorType::F32, std::uint64_t{8192} * 152064), Bytes(std::uint64_t{8192} * 152064 * 4));
}

TEST(ActivationBytes, PadColumnsAndTheWhole) {
  EXPECT_EQ(activation_bytes(ActivationKind::Int8, 4096, 16), Bytes(16 * 16 * sizeof(Int8Block)));
  EXPECT_EQ(activation_bytes(ActivationKind::Int8, 4097, 1), Bytes(align_up(17 * sizeof(Int8Block), 64)));
  EXPECT_EQ(activation_bytes(ActivationKind::Float32, 5, 3), Bytes(192));
}

TEST(ActivationKind, FollowsTheWeights) {
  for (const Format& format : all_formats()) {
    const bool quantised = format.block_elements > 1;
    EXPECT_EQ(activation_kind(format.type) == ActivationKind::Int8, quantised) << format.name;
  }
}

}  // namespace
}  // namespace loadline::quant

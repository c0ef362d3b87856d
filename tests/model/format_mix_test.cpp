// Which format a mix gives each tensor: against files made by llama.cpp's quantiser, and rule by rule.
#include "model/format_mix.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "support/test_data.h"

namespace loadline::model {
namespace {

using quant::TensorType;

class GoldenMix : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Llama, GoldenMix,
                         testing::Values("Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_M", "Q6_K",
                                         "Q8_0", "IQ4_NL", "IQ4_XS", "F16", "BF16", "F32"),
                         [](const auto& mix) { return std::string(mix.param); });

TEST_P(GoldenMix, GivesEveryTensorTheTypeOfTheFile) {
  LOADLINE_REQUIRE_SHARED(golden, "golden");
  const gguf::Model model = gguf::open_model(golden / (std::string("llama-") + GetParam() + ".gguf"));
  const FormatMix* mix = find_mix(GetParam());
  ASSERT_NE(mix, nullptr);
  for (const gguf::TensorInfo& tensor : model.tensors) {
    EXPECT_EQ(quant::name_of(type_in_mix(*mix, mixed_model(model), tensor)), quant::name_of(tensor.type))
        << tensor.name;
  }
  EXPECT_EQ(size_in_mix(*mix, mixed_model(model), model.tensors), model.tensor_bytes());
}

class GoldenMixOfSecondSet : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Llama, GoldenMixOfSecondSet,
                         testing::Values("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_M", "IQ3_XXS", "IQ3_S", "TQ1_0",
                                         "TQ2_0", "Q1_0", "Q2_0"),
                         [](const auto& mix) { return std::string(mix.param); });

TEST_P(GoldenMixOfSecondSet, GivesEveryTensorTheTypeOfTheFile) {
  LOADLINE_REQUIRE_SHARED(golden, "golden2");
  const gguf::Model model = gguf::open_model(golden / (std::string("llama-") + GetParam() + ".gguf"));
  const FormatMix* mix = find_mix(GetParam());
  ASSERT_NE(mix, nullptr);
  EXPECT_EQ(model.metadata.get_unsigned("general.file_type"), mix->file_type);
  for (const gguf::TensorInfo& tensor : model.tensors) {
    EXPECT_EQ(quant::name_of(type_in_mix(*mix, mixed_model(model), tensor)), quant::name_of(tensor.type))
        << tensor.name;
  }
}

TEST(FormatMixes, GiveTheQwenFilesTheirTypes) {
  LOADLINE_REQUIRE_SHARED(golden, "golden");
  for (const char* name : {"qwen2", "qwen3"}) {
    const gguf::Model model = gguf::open_model(golden / (std::string(name) + "-Q4_K_M.gguf"));
    for (const gguf::TensorInfo& tensor : model.tensors) {
      EXPECT_EQ(type_in_mix(*find_mix("Q4_K_M"), mixed_model(model), tensor), tensor.type)
          << name << " " << tensor.name;
    }
  }
}

TEST(FormatMixes, AreFoundByNameInAnyCaseAndByFamily) {
  for (const FormatMix& mix : all_mixes()) EXPECT_EQ(find_mix(mix.name), &mix);
  EXPECT_EQ(find_mix("q4_k_m"), find_mix("Q4_K_M"));
  EXPECT_EQ(find_mix("Q3_K"), find_mix("Q3_K_M"));
  EXPECT_EQ(find_mix("q5_k"), find_mix("Q5_K_M"));
  EXPECT_EQ(find_mix("IQ5_XXS"), nullptr);
  EXPECT_EQ(find_mix(""), nullptr);
}

TEST(FormatMixes, HaveDistinctFileTypes) {
  std::set<std::uint32_t> seen;
  for (const FormatMix& mix : all_mixes()) EXPECT_TRUE(seen.insert(mix.file_type).second) << mix.name;
}

// A matrix of a 32-layer model with four query heads to a KV head, unless said otherwise.
TensorType type_of(const char* mix, const std::string& name, MixedModel model = {32, 32, 8, false},
                   std::uint64_t columns = 4096) {
  gguf::TensorInfo tensor;
  tensor.name = name;
  tensor.shape = {columns, 64, 1, 1};
  tensor.dimensions = 2;
  return type_in_mix(*find_mix(mix), model, tensor);
}

TEST(FormatMixes, GiveMoreBitsToTheFirstAndLastEighthAndEveryThirdBetween) {
  const std::set<int> more = {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31};
  for (int layer = 0; layer < 32; ++layer) {
    const std::string block = "blk." + std::to_string(layer);
    const bool wanted = more.contains(layer);
    EXPECT_EQ(type_of("Q4_K_M", block + ".ffn_down.weight"), wanted ? TensorType::Q6_K : TensorType::Q4_K) << layer;
    EXPECT_EQ(type_of("Q5_K_M", block + ".attn_v.weight"), wanted ? TensorType::Q6_K : TensorType::Q5_K) << layer;
    EXPECT_EQ(type_of("Q4_K_M", block + ".ffn_up.weight"), TensorType::Q4_K) << layer;
  }
}

TEST(FormatMixes, FavourSharedValueHeads) {
  const MixedModel unshared{32, 32, 32, false};
  EXPECT_EQ(type_of("Q2_K", "blk.9.attn_v.weight"), TensorType::Q4_K);
  EXPECT_EQ(type_of("Q2_K", "blk.9.attn_v.weight", unshared), TensorType::Q3_K);
  EXPECT_EQ(type_of("IQ4_XS", "blk.9.attn_v.weight"), TensorType::Q5_K);
  EXPECT_EQ(type_of("IQ4_XS", "blk.9.attn_v.weight", unshared), TensorType::IQ4_XS);
  const MixedModel of_80_layers{80, 64, 8, false};
  EXPECT_EQ(type_of("Q3_K_S", "blk.40.attn_v.weight", of_80_layers), TensorType::Q5_K);
  EXPECT_EQ(type_of("Q4_K_S", "blk.40.attn_v.weight", of_80_layers), TensorType::Q5_K);
}

TEST(FormatMixes, OfFewBitsKeepMoreForSome) {
  EXPECT_EQ(type_of("IQ3_XS", "blk.9.attn_q.weight"), TensorType::IQ3_XXS);
  EXPECT_EQ(type_of("IQ3_XS", "blk.9.ffn_up.weight"), TensorType::IQ3_XXS);
  EXPECT_EQ(type_of("IQ3_XS", "blk.3.ffn_up.weight"), TensorType::IQ3_S);
  EXPECT_EQ(type_of("IQ3_M", "blk.3.ffn_down.weight"), TensorType::Q4_K);
  EXPECT_EQ(type_of("IQ3_M", "blk.4.ffn_down.weight"), TensorType::IQ3_S);
  EXPECT_EQ(type_of("IQ2_S", "blk.3.ffn_down.weight"), TensorType::IQ3_S);
  EXPECT_EQ(type_of("IQ2_XS", "blk.3.ffn_down.weight"), TensorType::Q2_K);
  EXPECT_EQ(type_of("IQ1_M", "blk.9.attn_v.weight", {32, 32, 32, false}), TensorType::Q2_K);
  EXPECT_EQ(type_of("MXFP4", "blk.9.ffn_up.weight"), TensorType::MXFP4);
  EXPECT_EQ(type_of("MXFP4", "output.weight"), TensorType::Q8_0);
  EXPECT_EQ(type_of("TQ1_0", "blk.9.attn_q.weight", {24, 14, 2, false}, 896), TensorType::Q4_0);
}

TEST(FormatMixes, KeepSixBitsForTheOutput) {
  const MixedModel tied{16, 32, 8, true};
  EXPECT_EQ(type_of("Q2_K", "output.weight"), TensorType::Q6_K);
  EXPECT_EQ(type_of("Q4_0", "output.weight"), TensorType::Q6_K);
  EXPECT_EQ(type_of("Q8_0", "output.weight"), TensorType::Q8_0);
  EXPECT_EQ(type_of("F16", "output.weight"), TensorType::F16);
  EXPECT_EQ(type_of("Q4_0", "token_embd.weight"), TensorType::Q4_0);
  EXPECT_EQ(type_of("Q4_0", "token_embd.weight", tied), TensorType::Q6_K);
}

TEST(FormatMixes, TakeSmallerBlocksForRowsThatAreNotWholeOnes) {
  const MixedModel model{24, 14, 2, false};
  EXPECT_EQ(type_of("Q4_K_S", "blk.9.attn_q.weight", model, 896), TensorType::Q5_0);
  EXPECT_EQ(type_of("Q5_K_S", "blk.9.attn_q.weight", model, 896), TensorType::Q5_1);
  EXPECT_EQ(type_of("Q6_K", "blk.9.attn_q.weight", model, 896), TensorType::Q8_0);
  EXPECT_EQ(type_of("Q2_K", "blk.9.attn_q.weight", model, 896), TensorType::IQ4_NL);
  EXPECT_EQ(type_of("Q3_K_S", "blk.9.attn_q.weight", model, 896), TensorType::IQ4_NL);
  EXPECT_EQ(type_of("IQ4_XS", "blk.9.attn_q.weight", model, 896), TensorType::IQ4_NL);
  EXPECT_EQ(type_of("Q4_0", "output.weight", model, 896), TensorType::Q8_0);
  EXPECT_EQ(type_of("Q4_K_S", "blk.9.attn_q.weight", model, 100), TensorType::F16);
  EXPECT_EQ(type_of("Q4_0", "blk.9.attn_q.weight", model, 100), TensorType::F16);
}

TEST(FormatMixes, LeaveVectorsAndNormsAlone) {
  gguf::TensorInfo bias;
  bias.name = "blk.0.attn_q.bias";
  bias.shape = {4096, 1, 1, 1};
  bias.dimensions = 1;
  bias.type = TensorType::F32;
  EXPECT_EQ(type_in_mix(*find_mix("Q4_0"), {32, 32, 8, false}, bias), TensorType::F32);
  EXPECT_EQ(type_of("Q4_0", "blk.0.attn_norm.weight"), TensorType::F32);
  EXPECT_EQ(type_of("F16", "rope_freqs"), TensorType::F32);
}

TEST(FormatMixes, TreatNamesThatOnlyLookLikeLayersAsOthers) {
  for (const char* name : {"blk..attn_v.weight", "blk.99999999999.attn_v.weight", "blk.weight", ".weight", "weight"}) {
    EXPECT_NO_THROW(static_cast<void>(type_of("Q4_K_M", name))) << name;
  }
}

}  // namespace
}  // namespace loadline::model

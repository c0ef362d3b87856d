#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/program.h"
#include "model/small_model.h"

namespace loadline::model {
namespace {

using test::number;
using test::small_model;
using test::text;
using testing::HasSubstr;

// The sentence with which `model` is refused; empty if it is not.
std::string refusal(const gguf::Model& model) {
  try {
    build_program(model);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    return error.what();
  }
  return {};
}

TEST(ModelConfig, ReadsTheHyperParameters) {
  const ModelConfig config = read_config(small_model());
  EXPECT_EQ(config.layers, 2U);
  EXPECT_EQ(config.head_dim_k, 16U);
  EXPECT_EQ(config.head_dim_v, 16U);
  EXPECT_EQ(config.k_width(), 32U);
  EXPECT_EQ(config.rope.dimensions, 16U);
  EXPECT_EQ(config.rope.base, 10000.0F);
  EXPECT_EQ(config.trained_context, 128U);
}

TEST(ModelConfig, NamesEveryMissingKey) {
  for (const char* key : {"block_count", "context_length", "embedding_length", "feed_forward_length",
                          "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    gguf::Model model = small_model();
    gguf::Metadata fewer;
    for (const auto& [name, value] : model.metadata.entries()) {
      if (name != std::string("llama.") + key) fewer.set(name, value);
    }
    model.metadata = fewer;
    EXPECT_THAT(refusal(model), HasSubstr(std::string("llama.") + key));
  }
}

TEST(ModelConfig, HeadsDefaultToAsManyForKeysAndValues) {
  gguf::Model model = small_model();
  gguf::Metadata fewer;
  for (const auto& [name, value] : model.metadata.entries()) {
    if (name != "llama.attention.head_count_kv") fewer.set(name, value);
  }
  model.metadata = fewer;
  EXPECT_EQ(read_config(model).kv_heads, 4U);
}

struct Contradiction {
  const char* key;
  gguf::Value value;
  const char* named;
};

TEST(ModelConfig, RefusesWhatIsOutOfRangeOrContradictsItself) {
  const Contradiction cases[] = {
      {"llama.attention.head_count", number(0U), "llama.attention.head_count"},
      {"llama.attention.head_count", number(5U), "llama.attention.head_count_kv"},
      {"llama.attention.head_count_kv", number(3U), "llama.attention.head_count_kv"},
      {"llama.embedding_length", number(66U), "llama.embedding_length"},
      {"llama.embedding_length", number(1U << 30), "llama.embedding_length"},
      {"llama.block_count", number(1U << 20), "llama.block_count"},
      {"llama.rope.dimension_count", number(7U), "llama.rope.dimension_count"},
      {"llama.rope.dimension_count", number(32U), "llama.rope.dimension_count"},
      {"llama.rope.freq_base", number(-1.0F), "llama.rope.freq_base"},
      {"llama.attention.layer_norm_rms_epsilon", number(0.0F), "layer_norm_rms_epsilon"},
      {"llama.rope.scaling.type", text("yarn"), "llama.rope.scaling.factor"},
      {"llama.attention.key_length", number(2048U), "llama.attention.key_length"},
      {"llama.expert_count", number(8U), "llama.expert_used_count"},
  };
  for (const Contradiction& item : cases) {
    gguf::Model model = small_model();
    model.metadata.set(item.key, item.value);
    EXPECT_THAT(refusal(model), HasSubstr(item.named)) << item.key;
  }
}

TEST(ModelConfig, ReadsRopeScaling) {
  gguf::Model model = small_model();
  model.metadata.set("llama.rope.scaling.type", text("yarn"));
  model.metadata.set("llama.rope.scaling.factor", number(4.0F));
  model.metadata.set("llama.rope.scaling.original_context_length", number(32U));
  const ModelConfig config = read_config(model);
  EXPECT_EQ(config.rope.scaling, RopeConfig::Scaling::Yarn);
  EXPECT_EQ(config.rope.factor, 4.0F);
  EXPECT_EQ(config.rope.original_context, 32U);
  EXPECT_NEAR(config.rope.magnitude, 1.1386F, 1e-4F);  // 0.1 ln 4 + 1

  model.metadata.set("llama.rope.scaling.type", text("mystery"));
  EXPECT_THAT(refusal(model), HasSubstr("mystery"));
}

TEST(ModelConfig, RopeIsScaledLinearlyUnlessTheFileSaysOtherwise) {
  gguf::Model model = small_model();
  model.metadata.set("llama.rope.scaling.factor", number(2.0F));
  EXPECT_EQ(read_config(model).rope.scaling, RopeConfig::Scaling::Linear);
  EXPECT_EQ(read_config(model).rope.factor, 2.0F);
  model.metadata.set("llama.rope.scaling.type", text("none"));
  EXPECT_EQ(read_config(model).rope.scaling, RopeConfig::Scaling::None);
}

TEST(ModelConfig, YarnsMagnitudeFollowsTheLogarithmsMultiplier) {
  gguf::Model model = small_model();
  model.metadata.set("llama.rope.scaling.type", text("yarn"));
  model.metadata.set("llama.rope.scaling.factor", number(16.0F));
  model.metadata.set("llama.rope.scaling.yarn_log_multiplier", number(1.0F));
  EXPECT_FLOAT_EQ(read_config(model).rope.magnitude, 1.0F);
  model.metadata.set("llama.rope.scaling.yarn_log_multiplier", number(0.5F));
  model.metadata.set("llama.rope.scaling.attn_factor", number(2.0F));
  EXPECT_NEAR(read_config(model).rope.magnitude, 2 * 1.27726F / 1.13863F, 1e-4F);  // 0.1 ln 16 = 0.27726
}

gguf::Value list(std::vector<std::uint32_t> items) { return gguf::Value{gguf::Array::of(std::move(items))}; }

TEST(ModelConfig, TakesAListWithAnEntryForEachLayer) {
  gguf::Model model = small_model();
  model.metadata.set("llama.attention.head_count_kv", list({2, 4}));
  model.metadata.set("llama.feed_forward_length", list({96, 32}));
  const ModelConfig config = read_config(model);
  EXPECT_EQ(config.layer[0].kv_heads, 2U);
  EXPECT_EQ(config.layer[1].kv_heads, 4U);
  EXPECT_EQ(config.layer[1].feed_forward, 32U);
  EXPECT_EQ(config.kv_heads, 4U);
  EXPECT_EQ(config.feed_forward, 96U);
}

TEST(ModelConfig, RefusesAListOfAnotherLengthThanTheLayersWithBothNumbers) {
  for (const char* key : {"attention.head_count", "attention.head_count_kv", "feed_forward_length"}) {
    for (const std::vector<std::uint32_t>& items : {std::vector<std::uint32_t>{4}, {4, 4, 4}, {}}) {
      gguf::Model model = small_model();
      model.metadata.set(std::string("llama.") + key, list(items));
      EXPECT_THAT(refusal(model), testing::AllOf(HasSubstr(key), HasSubstr(std::to_string(items.size()) + " entries"),
                                                 HasSubstr("2 layers")));
    }
  }
}

}  // namespace
}  // namespace loadline::model

#include "model/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "model/small_model.h"
#include "model/support.h"

namespace loadline::model {
namespace {

using test::add_tensor;
using test::small_model;
using testing::HasSubstr;

std::string refusal(const gguf::Model& model) {
  try {
    build_program(model);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    return std::string(error.what()) + " | " + error.hint();
  }
  return {};
}

void remove_tensor(gguf::Model& model, const std::string& name) {
  std::erase_if(model.tensors, [&](const gguf::TensorInfo& tensor) { return tensor.name == name; });
}

TEST(Program, HasAGroupForTheEmbeddingEachHalfLayerAndTheOutput) {
  const Program program = build_program(small_model());
  std::vector<std::string> names;
  for (const Group& group : program.groups) names.push_back(group.name());
  EXPECT_THAT(names,
              testing::ElementsAre("token_embd", "blk.0.attn", "blk.0.ffn", "blk.1.attn", "blk.1.ffn", "output"));
}

TEST(Program, UsesEveryTensorOfTheModel) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const gguf::Model model = small_model(family);
    std::vector<TensorIndex> used;
    for (const Group& group : build_program(model).groups) {
      for (const TensorIndex tensor : group.tensors()) used.push_back(tensor);
    }
    std::ranges::sort(used);
    used.erase(std::ranges::unique(used).begin(), used.end());
    EXPECT_EQ(used.size(), model.tensors.size()) << family;
  }
}

TEST(Program, ValuesAreWrittenBeforeTheyAreRead) {
  const Program program = build_program(small_model("qwen3"));
  std::vector<bool> written(program.values.size());
  for (const Group& group : program.groups) {
    for (const Op& op : group.ops) {
      for (const ValueId value : op.inputs) EXPECT_TRUE(written[value]) << group.name() << " " << name_of(op.kind);
      for (const ValueId value : op.outputs) written[value] = true;
    }
    for (std::size_t i = 0; i < written.size(); ++i) written[i] = i == kHidden;  // only this one crosses groups
  }
}

TEST(Program, KeepsOnlyTheWantedRowsAfterTheLastAttention) {
  const Program program = build_program(small_model());
  for (const Group& group : program.groups) {
    for (const Op& op : group.ops) {
      const bool behind = (group.kind == GroupKind::FeedForward && group.layer == 1) || group.kind == GroupKind::Output;
      EXPECT_EQ(op.after_select, behind && op.kind != OpKind::SelectOutputs) << group.name();
    }
  }
}

// What stays after the pass is nobody else's: neither the logits nor what they are made from.
TEST(Program, WhatStaysAfterThePassIsWrittenByTheOutputAlone) {
  const Program program = build_program(small_model());
  EXPECT_TRUE(program.values[program.normed].outputs_only);
  for (std::size_t g = 0; g + 1 < program.groups.size(); ++g) {
    for (const Op& op : program.groups[g].ops) {
      for (const ValueId output : op.outputs) {
        EXPECT_NE(output, program.normed) << g;
        EXPECT_NE(output, program.logits) << g;
      }
    }
  }
}

TEST(Program, TiesTheOutputToTheEmbeddingWhereThereIsNoOutputMatrix) {
  gguf::Model model = small_model();
  EXPECT_FALSE(build_program(model).tied_embeddings);
  remove_tensor(model, "output.weight");
  const Program program = build_program(model);
  EXPECT_TRUE(program.tied_embeddings);
  EXPECT_EQ(program.groups.back().ops.back().parts()[0].tensor, model.find_tensor("token_embd.weight"));
}

TEST(Program, TakesBiasesWhereALlamaHasThem) {
  gguf::Model model = small_model();
  add_tensor(model, "blk.0.attn_q.bias", 64);
  const Program program = build_program(model);
  EXPECT_EQ(program.groups[1].ops[1].parts()[0].bias, model.find_tensor("blk.0.attn_q.bias"));
  EXPECT_EQ(program.groups[1].ops[1].parts()[1].bias, kNoTensor);
}

TEST(Program, RefusesATensorThatNothingReads) {
  gguf::Model model = small_model();
  add_tensor(model, "blk.1.attn_mystery.weight", 64);
  EXPECT_THAT(refusal(model), HasSubstr("blk.1.attn_mystery.weight"));
  add_tensor(model, "blk.1.another.weight", 64);
  EXPECT_THAT(refusal(model), HasSubstr("1 more"));
}

TEST(Program, LeavesTensorsAsideThatFollowFromTheMetadata) {
  gguf::Model model = small_model();
  add_tensor(model, "blk.0.attn_rot_embd.weight", 8);
  EXPECT_EQ(refusal(model), "");
}

TEST(Program, RefusesAKeyThatNothingReads) {
  gguf::Model model = small_model();
  model.metadata.set("llama.attention.mystery", test::number(1U));
  EXPECT_THAT(refusal(model), testing::AllOf(HasSubstr("llama.attention.mystery"), HasSubstr("\"llama\"")));
}

TEST(Program, LeavesKeysOfOthersAndThoseWithoutAMeaningAside) {
  gguf::Model model = small_model();
  model.metadata.set("qwen2.attention.mystery", test::number(1U));
  model.metadata.set("llama.vocab_size", test::number(32U));
  const Program program = build_program(model);
  EXPECT_THAT(program.remarks, testing::IsEmpty());
}

TEST(Program, SaysWhichKeysThisFamilyIgnores) {
  gguf::Model model = small_model();
  model.metadata.set("llama.rope.scaling.yarn_beta_fast", test::number(16.0F));
  EXPECT_THAT(build_program(model).remarks,
              testing::ElementsAre(HasSubstr("llama.rope.scaling.yarn_beta_fast is ignored")));
}

TEST(Program, TakesBiasesOfAFeedForwardWhereAFileHasThem) {
  gguf::Model model = small_model();
  add_tensor(model, "blk.0.ffn_up.bias", 96);
  const Program program = build_program(model);
  EXPECT_EQ(program.groups[2].ops[1].parts()[1].bias, model.find_tensor("blk.0.ffn_up.bias"));
  EXPECT_THAT(program.groups[2].ops[1].used_attributes(), testing::ElementsAre("bias"));
}

TEST(Support, NamesTheOperationOrTheAttributeThatIsNotKnown) {
  gguf::Model model = small_model();
  add_tensor(model, "blk.1.ffn_down.bias", 64);
  const Program program = build_program(model);
  const auto refused = [&](std::span<const Support> known) -> std::string {
    try {
      require_supported(program, known, "the abacus");
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  };
  std::vector<Support> known = {{OpKind::Embed, {}}, {OpKind::Norm, {}},      {OpKind::Linear, {"add", "bias"}},
                                {OpKind::Rope, {}},  {OpKind::Attention, {}}, {OpKind::SelectOutputs, {}}};
  EXPECT_THAT(refused(known), testing::AllOf(HasSubstr("the abacus"), HasSubstr("gated_linear")));
  known.push_back({OpKind::GatedLinear, {}});
  EXPECT_EQ(refused(known), "");
  known[2].attributes = {"add"};
  EXPECT_THAT(refused(known), testing::AllOf(HasSubstr("blk.1.ffn"), HasSubstr("linear with bias")));
}

TEST(Program, NamesAMissingTensor) {
  for (const char* name : {"token_embd.weight", "blk.1.ffn_down.weight", "output_norm.weight", "blk.0.attn_k.weight"}) {
    gguf::Model model = small_model();
    remove_tensor(model, name);
    EXPECT_THAT(refusal(model), HasSubstr(name));
  }
  gguf::Model model = small_model("qwen2");
  remove_tensor(model, "blk.1.attn_v.bias");
  EXPECT_THAT(refusal(model), HasSubstr("blk.1.attn_v.bias"));
}

TEST(Program, NamesATensorOfTheWrongShapeWithBothShapes) {
  gguf::Model model = small_model();
  remove_tensor(model, "blk.0.attn_k.weight");
  add_tensor(model, "blk.0.attn_k.weight", 64, 64);
  EXPECT_THAT(refusal(model),
              testing::AllOf(HasSubstr("blk.0.attn_k.weight"), HasSubstr("[64, 64]"), HasSubstr("[64, 32]")));
}

TEST(Program, RefusesAnUnknownFamilyAndNamesTheKnownOnes) {
  EXPECT_THAT(refusal(small_model("mystery")),
              testing::AllOf(HasSubstr("mystery"), HasSubstr("gemma3"), HasSubstr("llama"), HasSubstr("qwen3moe")));
}

TEST(Program, RefusesAVocabularyThatDoesNotMatchTheEmbedding) {
  gguf::Model model = small_model();
  gguf::Array tokens;
  tokens.element_type = gguf::ValueType::String;
  tokens.items = std::vector<std::string>(31, "x");
  model.metadata.set("tokenizer.ggml.tokens", gguf::Value{tokens});
  EXPECT_THAT(refusal(model), testing::AllOf(HasSubstr("32"), HasSubstr("31")));
}

}  // namespace
}  // namespace loadline::model

#include "model/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "model/small_model.h"

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

TEST(Program, UsesEveryTensorOfTheModelInEveryFamily) {
  for (const std::string_view family : known_families()) {
    const gguf::Model model = small_model(std::string(family));
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

TEST(Program, TiesTheOutputToTheEmbeddingWhereThereIsNoOutputMatrix) {
  gguf::Model model = small_model();
  EXPECT_FALSE(build_program(model).tied_embeddings);
  remove_tensor(model, "output.weight");
  const Program program = build_program(model);
  EXPECT_TRUE(program.tied_embeddings);
  EXPECT_EQ(program.groups.back().ops.back().tensors[0], model.find_tensor("token_embd.weight"));
}

TEST(Program, TakesBiasesWhereALlamaHasThem) {
  gguf::Model model = small_model();
  add_tensor(model, "blk.0.attn_q.bias", 64);
  const Program program = build_program(model);
  EXPECT_EQ(program.groups[1].ops[1].biases[0], model.find_tensor("blk.0.attn_q.bias"));
  EXPECT_EQ(program.groups[1].ops[1].biases[1], kNoTensor);
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
  EXPECT_THAT(refusal(small_model("mamba")), testing::AllOf(HasSubstr("mamba"), HasSubstr("llama, qwen2, qwen3")));
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

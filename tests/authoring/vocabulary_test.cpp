// Made-up vocabularies: of the right size, without duplicates, and such that every merge joins tokens that exist.
#include "authoring/vocabulary.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace loadline::authoring {
namespace {

struct Case {
  VocabularyKind kind;
  std::uint32_t size;
  std::uint32_t bos;
  std::uint32_t eos;
};

class Vocabulary : public testing::TestWithParam<Case> {
 protected:
  Vocabulary() { add_vocabulary(GetParam().kind, GetParam().size, metadata_); }
  gguf::Metadata metadata_;
};
INSTANTIATE_TEST_SUITE_P(
    Kinds, Vocabulary,
    testing::Values(Case{VocabularyKind::SentencePiece, 1024, 1, 2}, Case{VocabularyKind::SentencePiece, 32000, 1, 2},
                    Case{VocabularyKind::Llama3, 1024, 768, 777}, Case{VocabularyKind::Llama3, 128256, 128000, 128009},
                    Case{VocabularyKind::Qwen, 1024, 1002, 1004}, Case{VocabularyKind::Qwen, 151936, 151643, 151645},
                    Case{VocabularyKind::Qwen, 152064, 151643, 151645}));

TEST_P(Vocabulary, HasAsManyDistinctTokensAsAskedFor) {
  const auto& tokens = *metadata_.get_strings("tokenizer.ggml.tokens");
  EXPECT_EQ(tokens.size(), GetParam().size);
  const std::set<std::string> distinct(tokens.begin(), tokens.end());
  EXPECT_EQ(distinct.size(), tokens.size());
  EXPECT_EQ(metadata_.get_array("tokenizer.ggml.token_type")->size(), tokens.size());
}

TEST_P(Vocabulary, HasItsControlTokensWhereTheFamilyHasThem) {
  EXPECT_EQ(metadata_.get_unsigned("tokenizer.ggml.bos_token_id"), GetParam().bos);
  EXPECT_EQ(metadata_.get_unsigned("tokenizer.ggml.eos_token_id"), GetParam().eos);
  const auto& tokens = *metadata_.get_strings("tokenizer.ggml.tokens");
  const auto types = *metadata_.get_integers("tokenizer.ggml.token_type");
  constexpr std::int64_t kControl = 3;
  EXPECT_EQ(types[GetParam().bos], kControl);
  EXPECT_EQ(types[GetParam().eos], kControl);
  if (GetParam().kind == VocabularyKind::Llama3) {
    EXPECT_EQ(tokens[GetParam().bos], "<|begin_of_text|>");
    EXPECT_EQ(tokens[GetParam().eos], "<|eot_id|>");
  }
  if (GetParam().kind == VocabularyKind::Qwen) {
    EXPECT_EQ(tokens[GetParam().bos], "<|endoftext|>");
    EXPECT_EQ(tokens[GetParam().eos], "<|im_end|>");
  }
}

TEST_P(Vocabulary, JoinsOnlyTokensThatExistIntoTokensThatExist) {
  const auto* merges = metadata_.get_strings("tokenizer.ggml.merges");
  if (merges == nullptr) {
    EXPECT_EQ(GetParam().kind, VocabularyKind::SentencePiece);
    EXPECT_EQ(metadata_.get_array("tokenizer.ggml.scores")->size(), GetParam().size);
    return;
  }
  const auto& list = *metadata_.get_strings("tokenizer.ggml.tokens");
  const std::set<std::string> tokens(list.begin(), list.end());
  for (const std::string& merge : merges->to_vector()) {
    const std::size_t space = merge.find(' ');
    ASSERT_NE(space, std::string::npos) << merge;
    const std::string left = merge.substr(0, space);
    const std::string right = merge.substr(space + 1);
    ASSERT_TRUE(tokens.contains(left) && tokens.contains(right) && tokens.contains(left + right)) << merge;
  }
}

}  // namespace
}  // namespace loadline::authoring

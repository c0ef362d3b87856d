// A file may say anything about its tokenizer; what makes no sense is refused in one sentence that names the key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/vocabulary.h"

namespace loadline::tokenizer {
namespace {

using test::byte_pair_metadata;
using test::sentence_piece_metadata;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string refusal(const gguf::Metadata& metadata) {
  try {
    (void)Tokenizer::from_metadata(metadata);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    return error.what();
  }
  return "nothing was refused";
}

gguf::Metadata without(const gguf::Metadata& metadata, const std::string& key) {
  gguf::Metadata rest;
  for (const auto& [name, value] : metadata.entries()) {
    if (name != key) rest.set(name, value);
  }
  return rest;
}

const gguf::Metadata& good_bpe() {
  static const auto kMetadata = byte_pair_metadata("gpt-2", {"a b"});
  return kMetadata;
}
const gguf::Metadata& good_spm() {
  static const auto kMetadata = sentence_piece_metadata({{"a"}, {"b"}});
  return kMetadata;
}

TEST(BadMetadata, MissingKeysAreNamed) {
  EXPECT_THAT(refusal({}), HasSubstr("tokenizer.ggml.model is missing"));
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    EXPECT_THAT(refusal(without(good_bpe(), key)), HasSubstr(std::string(key) + " is missing"));
  }
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.scores"}) {
    EXPECT_THAT(refusal(without(good_spm(), key)), HasSubstr(std::string(key) + " is missing"));
  }
  EXPECT_EQ(refusal(without(good_spm(), "tokenizer.ggml.token_type")), "nothing was refused");
}

TEST(BadMetadata, UnknownKindsAreNamed) {
  auto metadata = good_bpe();
  test::set_string(metadata, "tokenizer.ggml.model", "bert\x1b[2J");
  EXPECT_THAT(refusal(metadata), AllOf(HasSubstr("tokenizer.ggml.model"), HasSubstr("bert"), Not(HasSubstr("\x1b"))));
  metadata = good_bpe();
  test::set_string(metadata, "tokenizer.ggml.pre", "no-such");
  EXPECT_THAT(refusal(metadata), AllOf(HasSubstr("tokenizer.ggml.pre"), HasSubstr("no-such")));
}

TEST(BadMetadata, EveryKeyOfAnotherTypeIsNamed) {
  for (const auto* good : {&good_bpe(), &good_spm()}) {
    for (const char* key :
         {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.bos_token_id",
          "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.unknown_token_id",
          "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"}) {
      auto metadata = *good;
      metadata.set(key, gguf::Value{1.5F});
      EXPECT_THAT(refusal(metadata), HasSubstr(key));
      test::set_floats(metadata, key, {1.5F});
      EXPECT_THAT(refusal(metadata), HasSubstr(key));
    }
  }
  for (const char* key : {"tokenizer.ggml.pre", "tokenizer.ggml.merges"}) {
    auto metadata = good_bpe();
    test::set_id(metadata, key, 1);
    EXPECT_THAT(refusal(metadata), HasSubstr(key));
  }
  for (const char* key : {"tokenizer.ggml.scores", "tokenizer.ggml.add_space_prefix"}) {
    auto metadata = good_spm();
    test::set_string(metadata, key, "1");
    EXPECT_THAT(refusal(metadata), HasSubstr(key));
  }
}

TEST(BadMetadata, ArraysOfAnotherLengthAreNamed) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{260}, std::size_t{262}}) {
    auto metadata = good_spm();
    test::set_integers(metadata, "tokenizer.ggml.token_type", std::vector<std::int32_t>(length, 1));
    EXPECT_THAT(refusal(metadata), HasSubstr("tokenizer.ggml.token_type"));
    metadata = good_spm();
    test::set_floats(metadata, "tokenizer.ggml.scores", std::vector<float>(length, 1));
    EXPECT_THAT(refusal(metadata), HasSubstr("tokenizer.ggml.scores"));
  }
}

TEST(BadMetadata, AnEmptyVocabularyIsRefused) {
  auto metadata = good_bpe();
  test::set_strings(metadata, "tokenizer.ggml.tokens", {});
  EXPECT_THAT(refusal(metadata), HasSubstr("tokenizer.ggml.tokens is empty"));
}

TEST(BadMetadata, TypesThatDoNotExistAreRefused) {
  for (const std::int32_t type : {-1, 7, INT32_MAX}) {
    auto metadata = good_bpe();
    std::vector<std::int32_t> types(257, 1);
    types[100] = type;
    test::set_integers(metadata, "tokenizer.ggml.token_type", types);
    EXPECT_THAT(refusal(metadata), AllOf(HasSubstr("tokenizer.ggml.token_type"), HasSubstr("token 100")));
  }
}

TEST(BadMetadata, AScoreThatIsNoNumberIsRefused) {
  auto metadata = good_spm();
  std::vector<float> scores(261, 0);
  scores[7] = std::numeric_limits<float>::quiet_NaN();
  test::set_floats(metadata, "tokenizer.ggml.scores", scores);
  EXPECT_THAT(refusal(metadata), AllOf(HasSubstr("tokenizer.ggml.scores"), HasSubstr("token 7")));
  scores[7] = -std::numeric_limits<float>::infinity();
  test::set_floats(metadata, "tokenizer.ggml.scores", scores);
  EXPECT_EQ(refusal(metadata), "nothing was refused");
}

std::vector<std::string> remarks(const gguf::Metadata& metadata) {
  return Tokenizer::from_metadata(metadata)->remarks();
}

TEST(BadMetadata, IdsOutsideTheVocabularyCountAsNoneAndAreSaidOnce) {
  EXPECT_THAT(remarks(good_bpe()), testing::IsEmpty());
  for (const char* key :
       {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.eom_token_id", "tokenizer.ggml.unknown_token_id", "tokenizer.ggml.fim_pad_token_id"}) {
    for (const std::uint32_t id : {257U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU}) {
      auto metadata = good_bpe();
      test::set_id(metadata, key, id);
      EXPECT_THAT(remarks(metadata), testing::ElementsAre(AllOf(HasSubstr(key), HasSubstr(std::to_string(id)))));
    }
    auto metadata = good_bpe();
    metadata.set(key, gguf::Value{std::int32_t{-1}});
    EXPECT_THAT(remarks(metadata), testing::ElementsAre(AllOf(HasSubstr(key), HasSubstr("is -1"))));
    metadata.set(key, gguf::Value{std::uint64_t{UINT64_MAX}});
    EXPECT_THAT(remarks(metadata), testing::ElementsAre(AllOf(HasSubstr(key), HasSubstr("18446744073709551615"))));
  }
  auto metadata = good_bpe();
  test::set_id(metadata, "tokenizer.ggml.eos_token_id", 0xFFFFFFFFU);
  EXPECT_EQ(Tokenizer::from_metadata(metadata)->eos(), -1);
}

TEST(BadMetadata, ABosThatIsWantedAndNotNamedIsLeftOutAndSaid) {
  auto metadata = good_bpe();
  test::set_bool(metadata, "tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(remarks(metadata),
              testing::ElementsAre(AllOf(HasSubstr("add_bos_token"), HasSubstr("tokenizer.ggml.bos_token_id"))));
  EXPECT_THAT(Tokenizer::from_metadata(metadata)->encode("a", {}), testing::ElementsAre('a'));
  metadata = good_bpe();
  test::set_bool(metadata, "tokenizer.ggml.add_eos_token", true);
  EXPECT_THAT(remarks(metadata),
              testing::ElementsAre(AllOf(HasSubstr("add_eos_token"), HasSubstr("tokenizer.ggml.eos_token_id"))));
  EXPECT_THAT(Tokenizer::from_metadata(metadata)->encode("a", {}), testing::ElementsAre('a'));
}

TEST(BadMetadata, AMissingPreTokeniserIsSaid) {
  const auto metadata = without(good_bpe(), "tokenizer.ggml.pre");
  EXPECT_THAT(remarks(metadata),
              testing::ElementsAre(AllOf(HasSubstr("tokenizer.ggml.pre is missing"), HasSubstr("\"default\""))));
}

TEST(BadMetadata, MergesOfUnknownTokensAreSkippedAndCounted) {
  const auto with_merges = [](const std::vector<std::string>& merges) {
    auto metadata = good_bpe();
    test::set_strings(metadata, "tokenizer.ggml.merges", merges);
    return metadata;
  };
  for (const char* merge : {"zz a", "a zz", "b a", "a  b", "a b c", "a "}) {
    const auto metadata = with_merges({merge, "a b", merge});
    EXPECT_THAT(remarks(metadata), testing::ElementsAre(AllOf(HasSubstr("tokenizer.ggml.merges: 2 of 3"),
                                                              HasSubstr('"' + std::string(merge) + '"'))));
    EXPECT_THAT(Tokenizer::from_metadata(metadata)->encode("ab", {}), testing::ElementsAre(256));
  }
  EXPECT_THAT(remarks(with_merges({"a b"})), testing::IsEmpty());
}

TEST(BadMetadata, AMergeMustBeTwoTexts) {
  for (const char* merge : {"ab", "", " ", "a", " a"}) {
    auto metadata = good_bpe();
    test::set_strings(metadata, "tokenizer.ggml.merges", {"a b", merge});
    EXPECT_THAT(refusal(metadata), AllOf(HasSubstr("tokenizer.ggml.merges"), HasSubstr("entry 1")))
        << '"' << merge << '"';
  }
}

TEST(BadMetadata, HugePiecesAreRefused) {
  auto metadata = byte_pair_metadata("gpt-2", {}, {{std::string(Vocabulary::kLongestPiece, 'x')}});
  EXPECT_EQ(refusal(metadata), "nothing was refused");
  metadata = byte_pair_metadata("gpt-2", {}, {{std::string(Vocabulary::kLongestPiece + 1, 'x')}});
  EXPECT_THAT(refusal(metadata), AllOf(HasSubstr("tokenizer.ggml.tokens"), HasSubstr("token 256")));
  std::vector<test::Piece> many(129, {std::string(Vocabulary::kLongestPiece, 'x'), 4});
  EXPECT_THAT(refusal(byte_pair_metadata("gpt-2", {}, many)), HasSubstr("tokenizer.ggml.tokens"));
}

TEST(BadMetadata, AByteTokenMustSpellAByte) {
  for (const char* text : {"<0x0>", "<0xGG>", "<0x0A", "0A", "", "<0x-1>", "<0x 1>"}) {
    EXPECT_THAT(refusal(sentence_piece_metadata({{text, 6}})), HasSubstr("tokenizer.ggml.tokens")) << text;
  }
  EXPECT_EQ(refusal(sentence_piece_metadata({{"<0x0a>", 6}})), "nothing was refused");
}

TEST(BadMetadata, EmptyAndRepeatedTextsAreAllowed) {
  EXPECT_EQ(refusal(sentence_piece_metadata({{"a"}, {"a"}, {""}, {"", 3}, {"", 4}, {"", 2}})), "nothing was refused");
  EXPECT_EQ(refusal(byte_pair_metadata("gpt-2", {"a b"}, {{"ab"}, {""}, {"", 4}})), "nothing was refused");
}

TEST(BadMetadata, TextsThatAreNotUtf8AreAllowed) {
  const auto metadata = byte_pair_metadata("gpt-2", {}, {{"\xFF\xC3"}});
  EXPECT_EQ(Tokenizer::from_metadata(metadata)->piece(256, false), "\xFF\xC3");
}

}  // namespace
}  // namespace loadline::tokenizer

// Byte-level BPE on small vocabularies whose merges were chosen so that the right answer can be seen.
#include "tokenizer/byte_pair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tokenizer/synthetic.h"

namespace loadline::tokenizer {
namespace {

using test::byte_pair_metadata;
using testing::ElementsAre;

const EncodeOptions kPlain = {.add_special = false};

// The tokens of `text`, as their bytes.
std::vector<std::string> pieces(const gguf::Metadata& metadata, const std::string& text,
                                EncodeOptions options = kPlain) {
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  std::vector<std::string> out;
  for (const Token token : tokenizer->encode(text, options)) out.push_back(tokenizer->piece(token, true));
  return out;
}

TEST(BytePair, MergesInTheOrderOfTheListNotOfTheText) {
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"b c", "a b"}), "abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"a b", "b c"}), "abc"), ElementsAre("ab", "c"));
}

TEST(BytePair, OfEqualMergesTheLeftmostComesFirst) {
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"a a"}), "aaaaa"), ElementsAre("aa", "aa", "a"));
}

TEST(BytePair, MergesMergedTokens) {
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"t h", "th e", "\u0120 the"}), " the then"),
              ElementsAre(" the", " the", "n"));
}

TEST(BytePair, DoesNotMergeOverTheEndOfAWord) {
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"a \u0120", "a 1"}), "a a1"), ElementsAre("a", " ", "a", "1"));
}

TEST(BytePair, MergesInsideACharacter) {
  // U+00E9 is C3 A9.
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"\u00C3 \u00A9"}), "\u00E9\u00C3"),
              ElementsAre("\u00E9", "\xC3", "\x83"));
}

TEST(BytePair, OnlyLlama3LikePreTokenisersTakeAWordThatIsATokenAsItIs) {
  // "abc" is a token, but no chain of merges leads to it from these bytes: "a b" comes first and nothing joins "ab"
  // "c".
  const std::vector<std::string> merges = {"a b", "b c", "a bc"};
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", merges), "abc"), ElementsAre("ab", "c"));
  EXPECT_THAT(pieces(byte_pair_metadata("llama-bpe", merges), "abc"), ElementsAre("abc"));
  EXPECT_THAT(pieces(byte_pair_metadata("llama-bpe", merges), "abcabc"), ElementsAre("ab", "c", "ab", "c"));
}

TEST(BytePair, OfRepeatedMergesTheFirstCounts) {
  EXPECT_THAT(pieces(byte_pair_metadata("gpt-2", {"a b", "b c", "a b"}), "abc"), ElementsAre("ab", "c"));
}

TEST(BytePair, OfTokensWithOneTextTheFirstCounts) {
  auto metadata = byte_pair_metadata("gpt-2", {"a b"}, {{"ab"}});
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  EXPECT_THAT(tokenizer->encode("ab", kPlain), ElementsAre(test::token_of(metadata, "ab")));
}

TEST(BytePair, ASpecialTokenSpelledLikeANormalOnesBytesDoesNotHideIt) {
  // The control token is written as it stands, the normal one in the byte alphabet; both are C3 A9.
  auto metadata = byte_pair_metadata("gpt-2", {"\u00C3 \u00A9"});
  auto tokens = metadata.get_strings("tokenizer.ggml.tokens")->to_vector();
  auto types = *metadata.get_integers("tokenizer.ggml.token_type");
  tokens.insert(tokens.begin(), "\u00E9");
  types.insert(types.begin(), 3);
  test::set_strings(metadata, "tokenizer.ggml.tokens", tokens);
  test::set_integers(metadata, "tokenizer.ggml.token_type", {types.begin(), types.end()});
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  EXPECT_THAT(tokenizer->encode("\u00E9", kPlain), ElementsAre(test::token_of(metadata, "\u00C3\u00A9")));
  EXPECT_THAT(tokenizer->encode("\u00E9", {.add_special = false, .parse_special = true}), ElementsAre(0));
}

TEST(BytePair, ARepeatedWordHasTheSameTokensEveryTime) {
  const auto metadata = byte_pair_metadata("gpt-2", {"a b"});
  EXPECT_THAT(pieces(metadata, "abb abb abb"), ElementsAre("ab", "b", " ", "ab", "b", " ", "ab", "b"));
}

TEST(BytePair, InvalidBytesAreTokensOfTheirOwnAndSeparateWords) {
  const auto metadata = byte_pair_metadata("gpt-2", {"a b", "\u00FF a"});
  EXPECT_THAT(pieces(metadata,
                     "a\xFF"
                     "ab\xC3"),
              ElementsAre("a", "\xFF", "ab", "\xC3"));
}

TEST(BytePair, ABosIsAddedWhereThePreTokeniserOrTheFileSaysSo) {
  auto metadata = byte_pair_metadata("gpt-2", {}, {{"<s>", 3}});
  test::set_id(metadata, "tokenizer.ggml.bos_token_id", 256);
  EXPECT_THAT(pieces(metadata, "a", {}), ElementsAre("a"));
  test::set_string(metadata, "tokenizer.ggml.pre", "llama-bpe");
  EXPECT_THAT(pieces(metadata, "a", {}), ElementsAre("<s>", "a"));
  EXPECT_THAT(pieces(metadata, "", {}), ElementsAre("<s>"));
  EXPECT_THAT(pieces(metadata, "a", kPlain), ElementsAre("a"));
  test::set_bool(metadata, "tokenizer.ggml.add_bos_token", false);
  EXPECT_THAT(pieces(metadata, "a", {}), ElementsAre("a"));
}

TEST(BytePair, WithoutAKeyThereIsNoBosNorEos) {
  const auto tokenizer = Tokenizer::from_metadata(byte_pair_metadata("gpt-2", {}));
  EXPECT_EQ(tokenizer->bos(), -1);
  EXPECT_EQ(tokenizer->eos(), -1);
  EXPECT_FALSE(tokenizer->is_end_of_generation(-1));
}

TEST(BytePair, AMissingPreTokeniserMeansDefault) {
  // Default takes punctuation out before GPT-2's expression sees the contraction.
  auto named = byte_pair_metadata("gpt-2", {"' s"});
  EXPECT_THAT(pieces(named, "it's"), ElementsAre("i", "t", "'s"));
  gguf::Metadata unnamed;
  for (const auto& [key, value] : named.entries()) {
    if (key != "tokenizer.ggml.pre") unnamed.set(key, value);
  }
  EXPECT_THAT(pieces(unnamed, "it's"), ElementsAre("i", "t", "'", "s"));
}

TEST(BytePair, ByteTokensWithoutATokenBecomeUnknownOrNothing) {
  gguf::Metadata metadata;
  test::set_string(metadata, "tokenizer.ggml.model", "gpt2");
  test::set_pieces(metadata, {{"a"}, {"b"}, {"<unk>", 2}});
  test::set_strings(metadata, "tokenizer.ggml.merges", {});
  EXPECT_THAT(pieces(metadata, "axb"), ElementsAre("a", "b"));
  test::set_id(metadata, "tokenizer.ggml.unknown_token_id", 2);
  EXPECT_THAT(pieces(metadata, "axb"), ElementsAre("a", "<unk>", "b"));
}

TEST(BytePair, TextOutsideTheByteAlphabetIsDecodedAsItStands) {
  const auto metadata = byte_pair_metadata("gpt-2", {}, {{"\u4E2D"}, {"\u0120\u0120x"}});
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  EXPECT_EQ(tokenizer->piece(256, false), "\u4E2D");
  EXPECT_EQ(tokenizer->piece(257, false), "  x");
}

}  // namespace
}  // namespace loadline::tokenizer

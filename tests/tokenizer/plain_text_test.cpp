// BPE over plain text (gemma4 and its like): characters instead of bytes, and blanks as U+2581 in the file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {
namespace {

using testing::ElementsAre;

const EncodeOptions kPlain = {.add_special = false};

// <bos>, a few characters, what merges make of them, and byte tokens.
gguf::Metadata metadata(const std::string& model, const std::string& pre) {
  std::vector<test::Piece> pieces = {{"<bos>", 3}, {"a"},    {"b"},  {"\u2581"},   {"\u2581a"},
                                     {"\n"},       {"\n\n"}, {"ab"}, {"\u2581ab"}, {"\u00E9"}};
  for (const int byte : {0xE2, 0x82, 0xAC}) {
    pieces.push_back({"<0x" + std::string(1, "0123456789ABCDEF"[byte / 16]) + "0123456789ABCDEF"[byte % 16] + ">", 6});
  }
  gguf::Metadata out;
  test::set_string(out, "tokenizer.ggml.model", model);
  test::set_string(out, "tokenizer.ggml.pre", pre);
  test::set_pieces(out, pieces);
  test::set_strings(out, "tokenizer.ggml.merges", {"a b", "\u2581 ab", "\u2581 a"});
  test::set_id(out, "tokenizer.ggml.bos_token_id", 0);
  test::set_bool(out, "tokenizer.ggml.add_bos_token", false);
  return out;
}

TEST(PlainText, MergesCharactersAndWritesBlanksAsTheFileDoes) {
  const auto tokenizer = Tokenizer::from_metadata(metadata("gemma4", "gemma4"));
  EXPECT_THAT(tokenizer->encode("ab ab a\u00E9", kPlain), ElementsAre(7, 8, 4, 9));
  EXPECT_EQ(tokenizer->decode(std::vector<Token>{7, 8, 4, 9}, false), "ab ab a\u00E9");
}

TEST(PlainText, ACharacterThatIsNoTokenBecomesItsBytes) {
  const auto tokenizer = Tokenizer::from_metadata(metadata("gemma4", "gemma4"));
  EXPECT_THAT(tokenizer->encode("\u20AC", kPlain), ElementsAre(10, 11, 12));
  EXPECT_EQ(tokenizer->decode(std::vector<Token>{10, 11, 12}, false), "\u20AC");
}

TEST(PlainText, ARunOfLineBreaksThatIsATokenIsTakenWholeByGemmaOnly) {
  EXPECT_THAT(Tokenizer::from_metadata(metadata("gemma4", "gemma4"))->encode("a\n\nb", kPlain), ElementsAre(1, 6, 2));
  EXPECT_THAT(Tokenizer::from_metadata(metadata("gpt2", "sarvam-moe"))->encode("a\n\nb", kPlain),
              ElementsAre(1, 5, 5, 2));
}

TEST(PlainText, GemmaAddsBosWhateverTheFileSays) {
  EXPECT_THAT(Tokenizer::from_metadata(metadata("gemma4", "default"))->encode("a", {}), ElementsAre(0, 1));
  EXPECT_THAT(Tokenizer::from_metadata(metadata("gpt2", "sarvam-moe"))->encode("a", {}), ElementsAre(1));
}

TEST(WithoutMerges, KimiJoinsTokensInTheOrderOfTheirIds) {
  const auto with = test::byte_pair_metadata("kimi-k2", {"b c", "a b", "ab c"});
  gguf::Metadata without;
  for (const auto& [name, value] : with.entries()) {
    if (name != "tokenizer.ggml.merges") without.set(name, value);
  }
  const auto tokenizer = Tokenizer::from_metadata(without);
  // "bc" before "ab": it was numbered first; then "a" and "bc" make "abc", whatever merges made that.
  EXPECT_THAT(tokenizer->encode("abcab", kPlain), ElementsAre(test::token_of(with, "abc"), test::token_of(with, "ab")));
}

}  // namespace
}  // namespace loadline::tokenizer

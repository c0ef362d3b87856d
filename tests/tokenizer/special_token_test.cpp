// Special tokens in texts, and the tokens that end a generation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {
namespace {

using test::byte_pair_metadata;
using test::token_of;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

const EncodeOptions kPlain = {.add_special = false};
const EncodeOptions kParsing = {.add_special = false, .parse_special = true};

TEST(SpecialTokens, ControlAndUnknownTokensAreRecognisedOnlyWhenAsked) {
  const auto metadata = byte_pair_metadata("llama-bpe", {}, {{"<ctl>", 3}, {"<huh>", 2}, {"<s>", 3}});
  auto with_bos = metadata;
  test::set_id(with_bos, "tokenizer.ggml.bos_token_id", 258);
  const auto tokenizer = Tokenizer::from_metadata(with_bos);
  EXPECT_THAT(tokenizer->encode("a<ctl>b<huh>", kParsing), ElementsAre('a', 256, 'b', 257));
  EXPECT_THAT(tokenizer->encode("<ctl>", kPlain), ElementsAre('<', 'c', 't', 'l', '>'));
  EXPECT_THAT(tokenizer->encode("<huh>", kPlain), ElementsAre('<', 'h', 'u', 'h', '>'));
  EXPECT_THAT(tokenizer->encode("<s>a", {.add_special = true, .parse_special = true}), ElementsAre(258, 258, 'a'))
      << "a BOS in the text is not taken for the one that is added";
}

TEST(SpecialTokens, UserDefinedTokensAreAlwaysRecognised) {
  const auto metadata = byte_pair_metadata("gpt-2", {"a b"}, {{"b c", 4}, {"b c d", 4}});
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  const Token ab = token_of(metadata, "ab");
  EXPECT_THAT(tokenizer->encode("ab c ab", kPlain), ElementsAre('a', token_of(metadata, "b c"), ' ', ab));
  EXPECT_THAT(tokenizer->encode("ab c d", kParsing), ElementsAre('a', token_of(metadata, "b c d")));
}

TEST(SpecialTokens, AWordThatIsAControlTokenIsMergedFromItsBytesUnlessAsked) {
  // tekken takes a whole word from the vocabulary, and "secret" is one word.
  auto metadata = byte_pair_metadata("tekken", {"s e"}, {{"secret", 3}});
  test::set_bool(metadata, "tokenizer.ggml.add_bos_token", false);
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  EXPECT_THAT(tokenizer->encode("secret", kPlain), ElementsAre(token_of(metadata, "se"), 'c', 'r', 'e', 't'));
  EXPECT_THAT(tokenizer->encode("secret", kParsing), ElementsAre(token_of(metadata, "secret")));
}

TEST(SpecialTokens, AMergeThatWouldMakeAControlTokenIsLeftOut) {
  auto metadata = byte_pair_metadata("gpt-2", {"a b", "ab c"});
  const Token abc = token_of(metadata, "abc");
  auto types = *metadata.get_integers("tokenizer.ggml.token_type");
  types[static_cast<std::size_t>(abc)] = 3;
  test::set_integers(metadata, "tokenizer.ggml.token_type", {types.begin(), types.end()});
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  EXPECT_THAT(tokenizer->encode("abc", kPlain), ElementsAre(token_of(metadata, "ab"), 'c'));
  EXPECT_THAT(tokenizer->encode("abc", kParsing), ElementsAre(abc));
}

TEST(SpecialTokens, ControlAndUnknownTokensHaveTextOnlyWhenAsked) {
  const auto tokenizer =
      Tokenizer::from_metadata(byte_pair_metadata("gpt-2", {}, {{"<c>", 3}, {"<u>", 2}, {"<d>", 4}}));
  EXPECT_EQ(tokenizer->decode(std::vector<Token>{'a', 256, 'b', 257, 'c', 258}, false), "abc<d>");
  EXPECT_EQ(tokenizer->decode(std::vector<Token>{'a', 256, 'b', 257, 'c', 258}, true), "a<c>b<u>c<d>");
  EXPECT_EQ(tokenizer->piece(256, false), "");
  EXPECT_EQ(tokenizer->piece(256, true), "<c>");
}

TEST(SpecialTokens, TextOfSpecialTokensIsNotInTheByteAlphabet) {
  const auto tokenizer = Tokenizer::from_metadata(byte_pair_metadata("gpt-2", {}, {{"\u00F8", 4}, {"<\u0120>", 3}}));
  EXPECT_EQ(tokenizer->piece(256, false), "\u00F8");
  EXPECT_EQ(tokenizer->piece(257, true), "<\u0120>");
  EXPECT_THAT(tokenizer->encode("\u00F8", kPlain), ElementsAre(256));
}

TEST(SpecialTokens, IdsOutsideTheVocabularyAreRefused) {
  const auto tokenizer = Tokenizer::from_metadata(byte_pair_metadata("gpt-2", {}));
  for (const Token token : {-1, 256, INT32_MAX, INT32_MIN}) {
    EXPECT_THROW((void)tokenizer->piece(token, true), Error) << token;
    EXPECT_THROW((void)tokenizer->decode(std::vector<Token>{token}, true), Error) << token;
    EXPECT_FALSE(tokenizer->is_end_of_generation(token));
  }
}

std::vector<Token> ends(const gguf::Metadata& metadata) {
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  std::vector<Token> out;
  for (Token token = 0; token < tokenizer->vocabulary_size(); ++token) {
    if (tokenizer->is_end_of_generation(token)) out.push_back(token);
  }
  return out;
}

TEST(EndOfGeneration, TheKeysOfTheFileName) {
  auto metadata = byte_pair_metadata("gpt-2", {}, {{"<1>", 3}, {"<2>", 3}, {"<3>", 3}, {"<4>", 3}, {"</x>", 3}});
  EXPECT_THAT(ends(metadata), ElementsAre());
  test::set_id(metadata, "tokenizer.ggml.eos_token_id", 256);
  EXPECT_THAT(ends(metadata), ElementsAre(256));
  test::set_id(metadata, "tokenizer.ggml.eot_token_id", 257);
  test::set_id(metadata, "tokenizer.ggml.eom_token_id", 258);
  test::set_id(metadata, "tokenizer.ggml.fim_pad_token_id", 259);
  EXPECT_THAT(ends(metadata), ElementsAre(256, 257, 258, 259));
}

TEST(EndOfGeneration, WellKnownTextsEndWhateverTheFileSays) {
  for (const char* text : {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>",
                           "<end_of_turn>", "<EOT>", "<\uFF5Cend\u2581of\u2581sentence\uFF5C>"}) {
    for (const int type : {1, 3, 4}) {
      auto metadata = byte_pair_metadata("gpt-2", {}, {{text, type}});
      EXPECT_THAT(ends(metadata), ElementsAre(256)) << text << " of type " << type;
      const auto tokenizer = Tokenizer::from_metadata(metadata);
      EXPECT_EQ(tokenizer->piece(256, false), "") << "they are control tokens then";
      EXPECT_EQ(tokenizer->piece(256, true), text);
      EXPECT_THAT(tokenizer->encode(text, kParsing), ElementsAre(256));
      EXPECT_THAT(tokenizer->encode(text, kPlain), Not(Contains(256)));
    }
  }
}

TEST(SpecialTokens, ATextThatGoesOnGetsNoEosAtItsEnd) {
  auto metadata = byte_pair_metadata("gpt-2", {}, {{"<1>", 3}, {"<2>", 3}});
  test::set_id(metadata, "tokenizer.ggml.bos_token_id", 256);
  test::set_id(metadata, "tokenizer.ggml.eos_token_id", 257);
  test::set_bool(metadata, "tokenizer.ggml.add_bos_token", true);
  test::set_bool(metadata, "tokenizer.ggml.add_eos_token", true);
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  EXPECT_THAT(tokenizer->encode("a", {}), ElementsAre(256, 'a', 257));
  EXPECT_THAT(tokenizer->encode("a", {.goes_on = true}), ElementsAre(256, 'a'));
}

TEST(SpecialTokens, PhiThreeTakesWhiteSpaceBehindItsMarksButNotBehindItsBos) {
  auto metadata = byte_pair_metadata("gpt-2", {}, {{"<s>", 3}, {"<|user|>", 3}, {"<|endoftext|>", 3}, {"<+>", 4}});
  const EncodeOptions parsing = {.add_special = false, .parse_special = true};
  const std::string text = "<s> \n<|user|> \t\r\na <|endoftext|> <+> b";
  EXPECT_EQ(Tokenizer::from_metadata(metadata)->encode(text, parsing).size(), 4U + 11U);
  test::set_string(metadata, "general.name", "My Phi-3 mini");
  EXPECT_THAT(Tokenizer::from_metadata(metadata)->encode(text, parsing),
              ElementsAre(256, ' ', '\n', 257, 'a', ' ', 258, ' ', 259, 'b'));
}

TEST(SpecialTokens, TheMaskOfJinasModelsTakesWhiteSpaceBeforeIt) {
  const auto tokenizer = Tokenizer::from_metadata(byte_pair_metadata("jina-v2-code", {}, {{"<mask>", 3}}));
  EXPECT_THAT(tokenizer->encode("a \n<mask> b", kParsing), ElementsAre('a', 256, ' ', 'b'));
}

TEST(SpecialTokens, ControlTokensKeptForLaterAreNotRecognised) {
  const auto tokenizer = Tokenizer::from_metadata(byte_pair_metadata("gpt-2", {}, {{"<unused1>", 3}}));
  EXPECT_THAT(tokenizer->encode("<unused1>", kParsing), Not(Contains(256)));
}

TEST(EndOfGeneration, InHarmonyVocabulariesEndClosesAMessageOnly) {
  const auto metadata = byte_pair_metadata("gpt-4o", {}, {{"<|return|>", 3}, {"<|call|>", 3}, {"<|end|>", 3}});
  EXPECT_THAT(ends(metadata), ElementsAre(256, 257));
}

}  // namespace
}  // namespace loadline::tokenizer

// SentencePiece on small vocabularies whose scores were chosen so that the right answer can be seen.
#include "tokenizer/sentence_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "tokenizer/synthetic.h"

namespace loadline::tokenizer {
namespace {

using test::Piece;
using test::sentence_piece_metadata;
using testing::ElementsAre;

const EncodeOptions kPlain = {.add_special = false};

std::vector<std::string> pieces(const gguf::Metadata& metadata, const std::string& text,
                                EncodeOptions options = kPlain) {
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  std::vector<std::string> out;
  for (const Token token : tokenizer->encode(text, options)) out.push_back(tokenizer->piece(token, true));
  return out;
}

gguf::Metadata without_prefix(const std::vector<Piece>& list) {
  auto metadata = sentence_piece_metadata(list);
  test::set_bool(metadata, "tokenizer.ggml.add_space_prefix", false);
  return metadata;
}

const std::vector<Piece> kLetters = {{"a", 1, -10}, {"b", 1, -11}, {"c", 1, -12}, {"\u2581", 1, -13}};

std::vector<Piece> letters_and(std::vector<Piece> more) {
  more.insert(more.begin(), kLetters.begin(), kLetters.end());
  return more;
}

TEST(SentencePiece, MergesTheHighestScoreFirst) {
  EXPECT_THAT(pieces(without_prefix(letters_and({{"ab", 1, -2}, {"bc", 1, -1}})), "abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(pieces(without_prefix(letters_and({{"ab", 1, -1}, {"bc", 1, -2}})), "abc"), ElementsAre("ab", "c"));
  EXPECT_THAT(pieces(without_prefix(letters_and({{"ab", 1, 0.5F}, {"bc", 1, 2}})), "abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(pieces(without_prefix(letters_and({{"ab", 1, -0.5F}, {"bc", 1, 2}})), "abc"), ElementsAre("a", "bc"));
}

TEST(SentencePiece, OfEqualScoresTheLeftmostComesFirst) {
  EXPECT_THAT(pieces(without_prefix(letters_and({{"ab", 1, -1}, {"bc", 1, -1}})), "abc"), ElementsAre("ab", "c"));
  EXPECT_THAT(pieces(without_prefix(letters_and({{"bc", 1, 0.0F}, {"ab", 1, -0.0F}})), "abc"), ElementsAre("ab", "c"));
}

TEST(SentencePiece, ATokenThatNoMergesLeadToIsNotFound) {
  EXPECT_THAT(pieces(without_prefix(letters_and({{"abc", 1, 0}})), "abc"), ElementsAre("a", "b", "c"));
}

TEST(SentencePiece, ABlankIsPutBeforeTextAtTheStartAndBehindSpecialTokens) {
  const auto metadata = sentence_piece_metadata(letters_and({{"\u2581"
                                                              "a",
                                                              1, -1},
                                                             {"<x>", 4}}));
  EXPECT_THAT(pieces(metadata, "a"), ElementsAre(" a"));
  EXPECT_THAT(pieces(metadata, " a"), ElementsAre(" ", " a"));
  EXPECT_THAT(pieces(metadata, "a<x>ab<x>"), ElementsAre(" a", "<x>", " a", "b", "<x>"));
  EXPECT_THAT(pieces(metadata, "<s>a", {.add_special = false, .parse_special = true}), ElementsAre("<s>", " a"));
  EXPECT_THAT(pieces(metadata, ""), ElementsAre());
  EXPECT_THAT(pieces(without_prefix(letters_and({{"\u2581"
                                                  "a",
                                                  1, -1}})),
                     "a a"),
              ElementsAre("a", " a"));
}

TEST(SentencePiece, TheBlankThatEncodingAddedIsTakenAwayInDecoding) {
  const auto metadata = sentence_piece_metadata(letters_and({{"\u2581"
                                                              "a",
                                                              1, -1},
                                                             {"<x>", 4},
                                                             {" ", 4}}));
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  for (const std::string text : {"a", " a", "  a", "a<x>a", "a<x> a", "<x>", "a a", " ", "b"}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, {}), false), text);
  }
  const Token a = test::token_of(metadata,
                                 "\u2581"
                                 "a");
  EXPECT_EQ(tokenizer->text_after(kStartOfText, a, false), "a");
  EXPECT_EQ(tokenizer->text_after(kInsideText, a, false), " a");
  EXPECT_EQ(tokenizer->text_after(a, a, false), " a");
  EXPECT_EQ(tokenizer->text_after(tokenizer->bos(), a, false), "a");
  EXPECT_EQ(tokenizer->piece(a, false), " a");
}

TEST(SentencePiece, WhatHasNoTokenIsWrittenInBytes) {
  EXPECT_THAT(pieces(without_prefix(kLetters),
                     "a\u00E9\xFF"
                     "b"),
              ElementsAre("a", "\xC3", "\xA9", "\xFF", "b"));
}

TEST(SentencePiece, WithoutByteTokensACharacterIsUnknownOnce) {
  gguf::Metadata metadata;
  test::set_string(metadata, "tokenizer.ggml.model", "llama");
  test::set_pieces(metadata, {{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}, {"a"}, {"\u2581"}, {"<0xC3>", 6}});
  EXPECT_THAT(pieces(metadata,
                     "a\u00E9\u4E2D"
                     "a"),
              ElementsAre(" ", "a", "<unk>", "<unk>", "a"));
}

TEST(SentencePiece, ABlockCharacterInTheTextIsABlank) {
  EXPECT_THAT(pieces(without_prefix(kLetters),
                     "a\u2581"
                     "b"),
              ElementsAre("a", " ", "b"));
}

TEST(SentencePiece, PlainTextNeverBecomesAControlUnknownOrByteToken) {
  // Each of these could be put together from characters that are tokens.
  const auto metadata = without_prefix({{"<", 1, -1},
                                        {"s", 1, -1},
                                        {">", 1, -1},
                                        {"<s", 1, -1},
                                        {"0", 1, -1},
                                        {"x", 1, -1},
                                        {"<0", 1, -1},
                                        {"<0x", 1, -1},
                                        {"<0x0", 1, -1},
                                        {"<0x00", 1, -1}});
  EXPECT_THAT(pieces(metadata, "<s>"), ElementsAre("<s", ">"));
  EXPECT_THAT(pieces(metadata, "<0x00>"), ElementsAre("<0x00", ">"));
}

TEST(SentencePiece, IdsOfLlamaAreAssumedWhereTheFileNamesNone) {
  const auto tokenizer = Tokenizer::from_metadata(sentence_piece_metadata(kLetters));
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->encode("", {}), std::vector<Token>{1}) << "and BOS is added";
}

TEST(SentencePiece, AnEosIsAddedWhereTheFileSaysSo) {
  auto metadata = sentence_piece_metadata(kLetters);
  test::set_bool(metadata, "tokenizer.ggml.add_eos_token", true);
  EXPECT_THAT(pieces(metadata, "a", {}), ElementsAre("<s>", " ", "a", "</s>"));
}

// Text is cut before blanks where no token reaches over the cut. A vocabulary with one token that does gets the whole
// text; that token never fits here, so both must agree.
RC_GTEST_PROP(SentencePiece, CuttingTheTextBeforeBlanksChangesNothing, ()) {
  const auto parts = *rc::gen::container<std::vector<std::string>>(
      rc::gen::element<std::string>("a", "b", "t", "h", "e", " ", "  ", "\u00E9", "aa", "the", " the", "\n"));
  const std::string text = std::accumulate(parts.begin(), parts.end(), std::string());
  auto cut = test::varied_sentence_piece_metadata();
  auto whole = cut;
  auto tokens = cut.get_strings("tokenizer.ggml.tokens")->to_vector();
  tokens.back() = "z\u2581z";
  auto types = *cut.get_integers("tokenizer.ggml.token_type");
  types.back() = 1;
  test::set_strings(whole, "tokenizer.ggml.tokens", tokens);
  test::set_integers(whole, "tokenizer.ggml.token_type", {types.begin(), types.end()});
  RC_ASSERT(Tokenizer::from_metadata(cut)->encode(text, {}) == Tokenizer::from_metadata(whole)->encode(text, {}));
}

TEST(SentencePiece, ATokenMayReachOverABlank) {
  const auto metadata = without_prefix(letters_and({{"a\u2581", 1, -1},
                                                    {"a\u2581"
                                                     "b",
                                                     1, -1}}));
  EXPECT_THAT(pieces(metadata, "ca bc"), ElementsAre("c", "a b", "c"));
}

}  // namespace
}  // namespace loadline::tokenizer

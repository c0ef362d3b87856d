// What was encoded is decoded: for any bytes, every pre-tokeniser, and in a stream however it is cut.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "support/test_data.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace loadline::tokenizer {
namespace {

const std::vector<std::string> kPreTokenizers = {"default",      "gpt-2",          "llama-bpe",   "qwen2",
                                                 "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon",
                                                 "starcoder",    "tekken",         "gpt-4o"};

const std::vector<std::unique_ptr<Tokenizer>>& synthetic_tokenizers() {
  static const auto kAll = [] {
    std::vector<std::unique_ptr<Tokenizer>> list;
    for (const std::string& pre : kPreTokenizers) {
      list.push_back(Tokenizer::from_metadata(test::varied_byte_pair_metadata(pre)));
    }
    list.push_back(Tokenizer::from_metadata(test::varied_sentence_piece_metadata()));
    auto without_prefix = test::varied_sentence_piece_metadata();
    test::set_bool(without_prefix, "tokenizer.ggml.add_space_prefix", false);
    list.push_back(Tokenizer::from_metadata(without_prefix));
    return list;
  }();
  return kAll;
}

// Text made of what the vocabularies know, of what they do not, of broken characters and of any bytes.
std::string arbitrary_text() {
  const auto parts = *rc::gen::container<std::vector<std::string>>(rc::gen::weightedOneOf<std::string>({
      {6,
       rc::gen::element<std::string>("the", " the", "th", "a", "aaaa", "ab", "ba", " ", "  ", "\n", "123", "'s", "!",
                                     "\u00E9", "\u4E2D", "\U0001F999", "<|user|>", "<|user|", "<|start|>", "<|end|>")},
      {2, rc::gen::element<std::string>("\xC3", "\xE4\xB8", "\xF0\x9F\xA6", "\x80", "\xFF", std::string(1, '\0'))},
      {1, rc::gen::arbitrary<std::string>()},
  }));
  std::string text = std::accumulate(parts.begin(), parts.end(), std::string());
  // The one thing SentencePiece cannot give back: U+2581 stands for a blank.
  for (std::size_t at = 0; (at = text.find("\u2581", at)) != std::string::npos;) text.erase(at, 3);
  return text;
}

RC_GTEST_PROP(RoundTrip, DecodingGivesBackWhatWasEncoded, (bool add_special, bool parse_special)) {
  const std::string text = arbitrary_text();
  for (const auto& tokenizer : synthetic_tokenizers()) {
    const auto tokens = tokenizer->encode(text, {.add_special = add_special, .parse_special = parse_special});
    for (const Token token : tokens) RC_ASSERT(token >= 0 && token < tokenizer->vocabulary_size());
    if (!parse_special) {
      RC_ASSERT(tokenizer->decode(tokens, false) == text);
    } else if (!add_special) {
      RC_ASSERT(tokenizer->decode(tokens, true) == text);
    }
  }
}

RC_GTEST_PROP(RoundTrip, PlainTextHasNoControlTokens, ()) {
  const std::string text = arbitrary_text();
  for (const auto& tokenizer : synthetic_tokenizers()) {
    for (const Token token : tokenizer->encode(text, {.add_special = false})) {
      RC_ASSERT(!tokenizer->piece(token, false).empty());
    }
  }
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<Token>& tokens, bool special) {
  StreamDecoder decoder(tokenizer, special);
  std::string text;
  for (const Token token : tokens) {
    const std::string part = decoder.push(token);
    EXPECT_EQ(valid_utf8_prefix(part), part.size()) << "a part ends inside a character";
    text += part;
  }
  const std::string rest = decoder.finish();
  EXPECT_EQ(valid_utf8_prefix(rest), rest.size());
  return text + rest;
}

RC_GTEST_PROP(StreamDecoder, GivesTheWholeTextWhateverTheTokensAre, (bool special)) {
  for (const auto& tokenizer : synthetic_tokenizers()) {
    const auto tokens =
        *rc::gen::container<std::vector<Token>>(rc::gen::inRange<Token>(0, tokenizer->vocabulary_size()));
    RC_ASSERT(streamed(*tokenizer, tokens, special) == replace_invalid_utf8(tokenizer->decode(tokens, special)));
  }
}

TEST(StreamDecoder, HoldsACharacterBackUntilItIsWhole) {
  const auto tokenizer = Tokenizer::from_metadata(test::byte_pair_metadata("gpt-2", {}));
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(0xF0), "");
  EXPECT_EQ(decoder.push(0x9F), "");
  EXPECT_EQ(decoder.push(0xA6), "");
  EXPECT_EQ(decoder.push(0x99), "\U0001F999");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, GivesUpOnACharacterAsSoonAsItCannotBecomeOne) {
  const auto tokenizer = Tokenizer::from_metadata(test::byte_pair_metadata("gpt-2", {}));
  StreamDecoder decoder(*tokenizer);
  EXPECT_EQ(decoder.push(0xE4), "");
  EXPECT_EQ(decoder.push(0xB8), "");
  EXPECT_EQ(decoder.push('x'), "\uFFFDx");
  EXPECT_EQ(decoder.push(0xFF), "\uFFFD");
  EXPECT_EQ(decoder.push(0xC3), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, ContinuesATextWithoutDroppingItsBlank) {
  const auto metadata = test::varied_sentence_piece_metadata();
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  const Token the = test::token_of(metadata, "\u2581the");
  EXPECT_EQ(StreamDecoder(*tokenizer).push(the), "the");
  EXPECT_EQ(StreamDecoder(*tokenizer, false, kInsideText).push(the), " the");
  EXPECT_EQ(StreamDecoder(*tokenizer, false, test::token_of(metadata, "<|end|>")).push(the), "the");
}

class RealVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(RealVocabulary, RoundTripsArbitraryText) {
  LOADLINE_REQUIRE_SHARED(path, std::string("vocab/ggml-vocab-") + GetParam() + ".gguf");
  const auto tokenizer = Tokenizer::from_metadata(gguf::open_model(path).metadata);
  const bool every_byte = std::string(GetParam()) != "deepseek-llm";  // has no tokens for bytes that UTF-8 never has
  EXPECT_TRUE(rc::check([&] {
    const std::string text = every_byte ? arbitrary_text() : replace_invalid_utf8(arbitrary_text());
    const auto tokens = tokenizer->encode(text, {});
    RC_ASSERT(tokenizer->decode(tokens, false) == text);
    RC_ASSERT(streamed(*tokenizer, tokens, false) == replace_invalid_utf8(text));
  }));
}

INSTANTIATE_TEST_SUITE_P(All, RealVocabulary, testing::Values("llama-spm", "phi-3", "gpt-2", "deepseek-llm"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace loadline::tokenizer

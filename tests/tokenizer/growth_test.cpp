// The work of encoding grows with the text, whatever the text: counted in pairs of symbols examined, never in time.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/test_data.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/table_tokenizer.h"

namespace loadline::tokenizer {
namespace {

std::string repeated(const std::string& part, std::size_t size) {
  std::string text;
  text.reserve(size + part.size());
  while (text.size() < size) text += part;
  text.resize(size);
  return text;
}

// Without a break for any pre-tokeniser, and without a short period.
std::string letters(std::size_t size) {
  std::string text(size, 'a');
  std::uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>('a' + (state >> 24) % 26);
  }
  return text;
}

std::string any_bytes(std::size_t size, unsigned least) {
  std::string text(size, ' ');
  std::uint32_t state = 7;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(least + (state >> 24) % (256 - least));
  }
  return text;
}

struct Shape {
  const char* name;
  std::string (*make)(std::size_t size);
};

const std::vector<Shape> kShapes = {
    {"one letter", [](std::size_t n) { return repeated("a", n); }},
    {"blanks", [](std::size_t n) { return repeated(" ", n); }},
    {"blanks before a digit", [](std::size_t n) { return repeated(" ", n - 1) + "1"; }},
    {"line ends", [](std::size_t n) { return repeated("\n", n); }},
    {"no break", letters},
    {"invalid UTF-8", [](std::size_t n) { return any_bytes(n, 0x80); }},
    {"any bytes", [](std::size_t n) { return any_bytes(n, 0); }},
    {"every other byte invalid", [](std::size_t n) { return repeated("a\xFF", n); }},
    {"two letters", [](std::size_t n) { return repeated("ab", n); }},
    {"blank words", [](std::size_t n) { return repeated(" a", n); }},
    {"digits", [](std::size_t n) { return repeated("1", n); }},
    {"capitals", [](std::size_t n) { return repeated("A", n); }},
    {"ideographs", [](std::size_t n) { return repeated("\u4E2D", n / 3 * 3); }},
    {"marks", [](std::size_t n) { return repeated("\u0301", n / 2 * 2); }},
    {"half a special token", [](std::size_t n) { return repeated("<|user", n); }},
    {"special tokens", [](std::size_t n) { return repeated("<|user|>", n / 8 * 8); }},
};

// A chain of merges that reaches over 2^12 letters, in an order that makes every merge wake its neighbours.
gguf::Metadata deep(const std::string& pre) {
  std::vector<std::string> merges;
  for (std::size_t length = 1; length <= 2048; length *= 2) {
    merges.push_back(std::string(length, 'a') + ' ' + std::string(length, 'a'));
  }
  for (std::size_t length = 1; length < 64; ++length) {
    merges.push_back(std::string(length, 'b') + " b");
  }
  merges.emplace_back("\u0120 \u0120");
  merges.emplace_back("\u0120\u0120 \u0120\u0120");
  return test::byte_pair_metadata(pre, merges, {{"<|user|>", 4}});
}

void expect_linear(const gguf::Metadata& metadata, const std::string& what) {
  const auto tokenizer = Tokenizer::from_metadata(metadata);
  const auto& counting = dynamic_cast<const TableTokenizer&>(*tokenizer);
  for (const Shape& shape : kShapes) {
    const std::string text = shape.make(std::size_t{1} << 16);
    std::uint64_t examined = 0;
    const auto tokens = counting.encode_counting(text, {.add_special = false}, examined);
    // n - 1 pairs at first, two more for each of at most n - 1 merges, and each of these taken from the queue once.
    EXPECT_LE(examined, 6 * text.size()) << what << ", " << shape.name;
    EXPECT_FALSE(tokens.empty());
  }
}

TEST(Growth, OfBytePairsIsLinearInTheLengthOfAnyText) {
  for (const char* pre : {"default", "gpt-2", "llama-bpe", "deepseek-llm", "deepseek-v3", "gpt-4o"}) {
    gguf::Metadata metadata = deep(pre);
    test::set_bool(metadata, "tokenizer.ggml.add_bos_token", false);
    expect_linear(metadata, pre);
  }
}

TEST(Growth, OfSentencePiecesIsLinearInTheLengthOfAnyText) {
  expect_linear(test::varied_sentence_piece_metadata(), "SentencePiece");
  // Without the cut before blanks: one token reaches over it.
  auto metadata = test::sentence_piece_metadata({{"\u2581", 1, -1}, {"a", 1, -2}, {"aa", 1, -3}, {"a\u2581", 1, -4}});
  expect_linear(metadata, "SentencePiece without words");
}

TEST(Growth, OfRealVocabulariesIsLinearInTheLengthOfAnyText) {
  for (const char* name : {"llama-spm", "gpt-2", "deepseek-llm"}) {
    LOADLINE_REQUIRE_SHARED(path, std::string("vocab/ggml-vocab-") + name + ".gguf");
    expect_linear(gguf::open_model(path).metadata, name);
  }
}

TEST(Growth, RepeatedWordsAreMergedOnce) {
  const auto tokenizer = Tokenizer::from_metadata(test::varied_byte_pair_metadata("gpt-2"));
  std::uint64_t examined = 0;
  (void)dynamic_cast<const TableTokenizer&>(*tokenizer).encode_counting(repeated("the band ", 1 << 20), {}, examined);
  EXPECT_LE(examined, 100U);
}

}  // namespace
}  // namespace loadline::tokenizer

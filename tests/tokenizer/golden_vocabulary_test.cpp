// Every text of shared/data/vocab is cut into the ids that the models' own tokenizers give.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "support/test_data.h"
#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {
namespace {

std::string read_all(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The .inp files: texts, each ended by a line "__ggml_vocab_test__".
std::vector<std::string> read_texts(const std::filesystem::path& path) {
  const std::string all = read_all(path);
  const std::string end_line = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = all.find(end_line, begin)) != std::string::npos; begin = end + end_line.size()) {
    texts.push_back(all.substr(begin, end - begin));
  }
  EXPECT_EQ(begin, all.size()) << "text behind the last separator";
  return texts;
}

// The .out files: a line of ids per text.
std::vector<std::vector<Token>> read_ids(const std::filesystem::path& path) {
  std::istringstream in(read_all(path));
  std::vector<std::vector<Token>> lines;
  for (std::string line; std::getline(in, line);) {
    std::istringstream numbers(line);
    lines.emplace_back(std::istream_iterator<Token>(numbers), std::istream_iterator<Token>());
  }
  return lines;
}

class GoldenVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(GoldenVocabulary, CutsEveryTextAsTheModelsOwnTokenizerDoes) {
  LOADLINE_REQUIRE_SHARED(folder, "vocab");
  const std::string name = std::string("ggml-vocab-") + GetParam() + ".gguf";
  const auto tokenizer = Tokenizer::from_metadata(gguf::open_model(folder / name).metadata);
  const auto texts = read_texts(folder / (name + ".inp"));
  const auto expected = read_ids(folder / (name + ".out"));
  ASSERT_EQ(texts.size(), expected.size());
  ASSERT_GE(texts.size(), 40U);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto ids = tokenizer->encode(texts[i], {.add_special = false});
    EXPECT_EQ(ids, expected[i]) << "text " << i << ": \"" << texts[i] << '"';
    EXPECT_EQ(tokenizer->decode(ids, false), texts[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenVocabulary, testing::Values("llama-spm", "phi-3", "gpt-2", "deepseek-llm"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace loadline::tokenizer

// What shared/data/vocab expects: words of every pre-tokeniser, ids of whole texts, and the tokens that end a
// generation.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "support/test_data.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {
namespace {

using nlohmann::json;

std::vector<json> read_lines(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::vector<json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(json::parse(line));
  return lines;
}

TEST(Vectors, EveryPreTokeniserCutsItsTextsIntoTheseWords) {
  LOADLINE_REQUIRE_SHARED(folder, "vocab");
  std::size_t names = 0;
  for (const json& line : read_lines(folder / "pretok-words.jsonl")) {
    for (const auto& name : line["names"]) {
      if (name == "whitespace") continue;  // belongs to a kind of vocabulary that is refused
      const PreTokenizer pretokenizer(name.get<std::string>());
      Splitter splitter(pretokenizer);
      ++names;
      for (const json& tested : line["cases"]) {
        const auto text = tested["text"].get<std::string>();
        std::vector<std::string> words;
        std::size_t begin = 0;
        for (const std::uint32_t length : splitter.split(text)) {
          words.push_back(text.substr(begin, length));
          begin += length;
        }
        EXPECT_EQ(json(words), tested["words"]) << name << ": " << text;
      }
    }
  }
  EXPECT_GE(names, 86U);
}

class VocabularyVectors : public testing::TestWithParam<const char*> {};

TEST_P(VocabularyVectors, TextsBecomeTheseIds) {
  LOADLINE_REQUIRE_SHARED(folder, "vocab");
  const auto tokenizer = Tokenizer::from_metadata(gguf::open_model(folder / GetParam()).metadata);
  const auto lines = read_lines(folder / (GetParam() + std::string(".vectors.jsonl")));
  ASSERT_GE(lines.size(), 100U);
  const json& info = lines[0]["info"];
  EXPECT_EQ(tokenizer->vocabulary_size(), info["n"]);
  EXPECT_EQ(json(tokenizer->special().end_of_generation), info["eog"]);
  EXPECT_EQ(tokenizer->special().add_bos, info["add_bos"]);
  EXPECT_EQ(tokenizer->special().fim_prefix, info["fim_pre"]);
  EXPECT_EQ(tokenizer->special().fim_pad, info["fim_pad"]);
  for (const json& line : lines) {
    if (!line.contains("text")) continue;
    const EncodeOptions options = {.add_special = line["add_special"], .parse_special = line["parse_special"]};
    EXPECT_EQ(json(tokenizer->encode(line["text"].get<std::string>(), options)), line["ids"]) << line["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(All, VocabularyVectors,
                         testing::Values("ggml-vocab-baichuan.gguf", "ggml-vocab-deepseek-llm.gguf",
                                         "ggml-vocab-gpt-2.gguf", "ggml-vocab-gpt-neox.gguf",
                                         "ggml-vocab-llama-spm.gguf", "ggml-vocab-phi-3.gguf", "synthetic-gemma4.gguf"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::ranges::replace_if(name, [](char c) { return c == '-' || c == '.'; }, '_');
                           return name;
                         });

TEST(Vectors, TheseTokensEndAGenerationOrFillGaps) {
  LOADLINE_REQUIRE_SHARED(folder, "vocab");
  for (const json& line : read_lines(folder / "eog.jsonl")) {
    SCOPED_TRACE(line["name"].get<std::string>());
    const auto texts = line["tokens"].get<std::vector<std::string>>();
    gguf::Metadata metadata;
    test::set_string(metadata, "tokenizer.ggml.model", "gpt2");
    test::set_string(metadata, "tokenizer.ggml.pre", "gpt-2");
    test::set_strings(metadata, "tokenizer.ggml.tokens", texts);
    test::set_integers(metadata, "tokenizer.ggml.token_type", line["token_type"].get<std::vector<std::int32_t>>());
    test::set_strings(metadata, "tokenizer.ggml.merges", {});
    for (const auto& [key, text] : line["keys"].items()) {
      const auto id = std::ranges::find(texts, text.get<std::string>()) - texts.begin();
      test::set_id(metadata, "tokenizer.ggml." + key, static_cast<std::uint32_t>(id));
    }
    const auto tokenizer = Tokenizer::from_metadata(metadata);
    const auto text_of = [&](Token token) { return token < 0 ? json() : json(texts[static_cast<std::size_t>(token)]); };
    std::set<std::string> ends;
    for (const Token token : tokenizer->special().end_of_generation) ends.insert(text_of(token).get<std::string>());
    EXPECT_EQ(ends, line["end_of_generation"].get<std::set<std::string>>());
    const SpecialTokens& special = tokenizer->special();
    EXPECT_EQ(text_of(special.eot), line["eot"]);
    EXPECT_EQ(text_of(special.fim_prefix), line["fim_pre"]);
    EXPECT_EQ(text_of(special.fim_suffix), line["fim_suf"]);
    EXPECT_EQ(text_of(special.fim_middle), line["fim_mid"]);
    EXPECT_EQ(text_of(special.fim_pad), line["fim_pad"]);
    EXPECT_EQ(text_of(special.fim_repository), line["fim_rep"]);
    EXPECT_EQ(text_of(special.fim_separator), line["fim_sep"]);
  }
}

}  // namespace
}  // namespace loadline::tokenizer

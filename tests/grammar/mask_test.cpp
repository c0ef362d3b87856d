// Which tokens may follow: the vectors in shared/data/grammar, against a definition, and what the work may cost.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <map>
#include <optional>

#include "base/error.h"
#include "grammar/gbnf.h"
#include "grammar/session.h"
#include "support/test_data.h"

namespace loadline::grammar {
namespace {

Grammar compiled(std::string_view text) {
  const Source source = read_gbnf(text);
  return Grammar::compile(source.expressions, source.root);
}

std::vector<Token> tokens_of(std::span<const std::uint64_t> mask) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < mask.size() * 64; ++i) {
    if ((mask[i / 64] >> (i % 64) & 1) != 0) tokens.push_back(static_cast<Token>(i));
  }
  return tokens;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Mask, AgreesWithTheVectors) {
  LOADLINE_REQUIRE_SHARED(path, "grammar/masks.jsonl");
  LOADLINE_REQUIRE_SHARED(vocabularies, "vocab");
  std::map<std::string, TokenIndex> indices;
  std::ifstream in(path);
  std::size_t cases = 0;
  for (std::string line; std::getline(in, line); ++cases) {
    const auto one = nlohmann::json::parse(line);
    const auto vocabulary = one.at("vocab").get<std::string>();
    SCOPED_TRACE(line.substr(0, 300));
    if (!indices.contains(vocabulary)) {
      const auto tokenizer = tokenizer::Tokenizer::from_metadata(gguf::open_model(vocabularies / vocabulary).metadata);
      indices.emplace(vocabulary, TokenIndex::of(*tokenizer));
    }
    const Grammar grammar = compiled(one.at("grammar").get<std::string>());
    Session session(grammar, indices.at(vocabulary));
    ASSERT_TRUE(session.accept_text(from_hex(one.at("prefix_hex"))));
    const std::vector<Token> allowed = tokens_of(session.mask());
    EXPECT_EQ(allowed.size(), one.at("allowed_count").get<std::size_t>());
    EXPECT_EQ(session.is_complete(), one.at("end_allowed").get<bool>());
    const bool all = one.contains("allowed");
    const auto expected = one.at(all ? "allowed" : "allowed_first_50").get<std::vector<Token>>();
    EXPECT_EQ(std::vector(allowed.begin(),
                          allowed.begin() + static_cast<std::ptrdiff_t>(std::min(allowed.size(), expected.size()))),
              expected);
  }
  EXPECT_GE(cases, 100U);
}

}  // namespace
}  // namespace loadline::grammar

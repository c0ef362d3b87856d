// GBNF: the vectors in shared/data/grammar, and what this reader adds to or refuses of llama.cpp's.
#include "grammar/gbnf.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

#include "base/error.h"
#include "grammar/text_check.h"
#include "support/test_data.h"

namespace loadline::grammar {
namespace {

Grammar compiled(std::string_view text) {
  const Source source = read_gbnf(text);
  return Grammar::compile(source.expressions, source.root);
}

TEST(Gbnf, AgreesWithTheVectors) {
  LOADLINE_REQUIRE_SHARED(path, "grammar/gbnf.jsonl");
  std::ifstream in(path);
  std::size_t cases = 0;
  for (std::string line; std::getline(in, line); ++cases) {
    const auto one = nlohmann::json::parse(line);
    const auto text = one.at("grammar").get<std::string>();
    SCOPED_TRACE(text.substr(0, 200));
    std::optional<Grammar> grammar;
    try {
      grammar.emplace(compiled(text));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::BadInput);
      EXPECT_TRUE(one.value("error", false) || one.value("may_refuse", false)) << error.what();
      continue;
    }
    EXPECT_FALSE(one.value("error", false));
    if (one.value("error", false)) continue;
    for (const auto& string : one.at("strings")) {
      const auto verdict = test::check_text(*grammar, string.at("text").get<std::string>());
      EXPECT_EQ(verdict.accepted, string.at("accepted").get<bool>()) << string.at("text");
      EXPECT_EQ(verdict.prefix, string.at("prefix").get<bool>()) << string.at("text");
    }
  }
  EXPECT_GE(cases, 90U);
}

}  // namespace
}  // namespace loadline::grammar

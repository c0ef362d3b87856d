// Whatever is drawn, what a schema's grammar lets through satisfies the schema: random walks over the masks of every
// schema in shared/data/grammar, checked by ajv, an independent validator (installed by ./dev setup).
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "base/error.h"
#include "grammar/json_schema.h"
#include "grammar/random_walk.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::grammar {

TokenIndex small_index() {
  std::vector<TokenIndex::Entry> entries;
  for (int byte = 1; byte < 256; ++byte) entries.push_back({std::string(1, static_cast<char>(byte)), false});
  for (const char* text :
       {"\",\"", "\":", "\":\"", "{\"",  "\"}",   "}}",   "]}",  "},{", "true", "null", "10",      "-1", "1.5",  "e-07",
        "ab",    "20",  "é",     "你好", "\\u00", "\\\"", "\\n", "[]",  "{}",   ",\"",  "\"a\":1", "[[", ":[1,2"}) {
    entries.push_back({text, false});
  }
  entries.push_back({"", true});
  return TokenIndex(entries);
}

std::optional<std::string> random_walk(Session& session, const TokenIndex& index, std::mt19937& random) {
  std::string text;
  for (int step = 0; step < 1500; ++step) {
    std::vector<Token> allowed;
    std::vector<Token> closing;
    const auto mask = session.mask();
    for (Token token = 0; token < static_cast<Token>(index.size()); ++token) {
      if ((mask[static_cast<std::size_t>(token) / 64] >> (token & 63) & 1) == 0) continue;
      allowed.push_back(token);
      const std::string_view bytes = index.text(token);
      if (bytes.empty() || bytes == "\"" || bytes == "]" || bytes == "}" || bytes == "null" || bytes == "1") {
        closing.push_back(token);
      }
    }
    EXPECT_FALSE(allowed.empty()) << "nothing may follow " << text;
    if (allowed.empty()) return std::nullopt;
    const bool close = !closing.empty() && random() % 100 < (step < 30 ? 10U : 70U);
    const auto& choices = close ? closing : allowed;
    const Token token = choices[random() % choices.size()];
    EXPECT_TRUE(session.accept(token));
    if (session.has_ended()) return text;
    text += index.text(token);
  }
  return std::nullopt;
}

namespace {

TEST(RandomWalks, SatisfyTheirSchemas) {
  LOADLINE_REQUIRE_SHARED(path, "grammar/jsonschema.jsonl");
  const auto folder = test::source_dir() / "tests/grammar";
  if (!std::filesystem::exists(folder / "node_modules/ajv"))
    GTEST_SKIP() << "ajv is not installed; ./dev setup does it";
  const test::TemporaryFolder scratch;
  const auto file = scratch.path() / "walks.jsonl";
  std::ofstream out(file);
  const TokenIndex index = small_index();
  std::mt19937 random(20261129);
  std::ifstream in(path);
  std::size_t walks = 0;
  for (std::string line; std::getline(in, line);) {
    const Json one = Json::parse(line);
    std::optional<Grammar> grammar;
    try {
      const Source source = read_json_schema(one.at("schema"));
      grammar.emplace(Grammar::compile(source.expressions, source.root));
    } catch (const Error&) {
      continue;
    }
    Session session(*grammar, index);
    for (int i = 0; i < 12; ++i) {
      session.reset();
      const auto text = random_walk(session, index, random);
      if (!text) continue;
      ++walks;
      out << Json{{"schema", one.at("schema")}, {"draft", one.at("draft")}, {"text", *text}}.dump() << "\n";
    }
  }
  out.close();
  EXPECT_GT(walks, 1000U);
  const auto result = test::run_process({"/usr/bin/env", "node", folder / "check_walks.mjs", file});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "checked " + std::to_string(walks) + "\n");
}

}  // namespace
}  // namespace loadline::grammar

// Llama 3's tokenizer against an independent one, the npm package llama3-tokenizer-js (installed by ./dev setup).
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "support/process.h"
#include "support/test_data.h"
#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {
namespace {

TEST(Llama3, AgreesWithAnIndependentTokenizer) {
  const auto folder = test::source_dir() / "tests/tokenizer";
  if (!std::filesystem::exists(folder / "node_modules/llama3-tokenizer-js")) {
    GTEST_SKIP() << "llama3-tokenizer-js is not installed; ./dev setup does it";
  }
  if (test::run_process({"/usr/bin/env", "node", "--version"}).exit_code != 0) {
    GTEST_SKIP() << "node is not installed; ./dev setup does it";
  }
  const test::TemporaryFolder scratch;
  const auto vocabulary = scratch.path() / "llama3.gguf";
  const auto cases_file = scratch.path() / "cases.json";
  const auto result =
      test::run_process({"/usr/bin/env", "node", folder / "llama3_reference.mjs", vocabulary, cases_file});
  ASSERT_EQ(result.exit_code, 0) << result.err;

  const auto tokenizer = Tokenizer::from_metadata(gguf::open_model(vocabulary).metadata);
  EXPECT_EQ(tokenizer->vocabulary_size(), 128256);
  std::ifstream in(cases_file);
  const nlohmann::json cases = nlohmann::json::parse(in);
  ASSERT_GE(cases.size(), 4000U);
  std::size_t different = 0;
  for (const auto& one : cases) {
    const auto text = one.at("text").get<std::string>();
    const auto ids = tokenizer->encode(text, {.add_special = true, .parse_special = true});
    if (ids != one.at("ids").get<std::vector<Token>>() && ++different <= 10) {
      ADD_FAILURE() << "text: " << one.at("text") << "\nexpected: " << one.at("ids")
                    << "\ngot:      " << nlohmann::json(ids);
    }
    EXPECT_EQ(tokenizer->decode(std::span(ids).subspan(1), true), text);
  }
  EXPECT_EQ(different, 0U) << "of " << cases.size() << " texts";
}

}  // namespace
}  // namespace loadline::tokenizer

// `loadline grammar` as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

#include "gguf/writer.h"
#include "support/process.h"
#include "support/test_data.h"
#include "tokenizer/synthetic.h"

namespace loadline::test {
namespace {

using testing::HasSubstr;

class GrammarCommand : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    const auto path = scratch_.path() / name;
    std::ofstream(path) << text;
    return path.string();
  }
  static ProcessResult grammar(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), "grammar");
    ProcessOptions options;
    options.input = input;
    return run_loadline(arguments, options);
  }
  // A vocabulary and no weights.
  std::string vocabulary() const {
    auto metadata = sentence_piece_metadata(
        {{"\u2581", 1, -9}, {"h", 1, -9}, {"i", 1, -9}, {"hi", 1, -1}, {"\u2581hi", 1, -2}, {"<|end|>", 3}});
    set_string(metadata, "general.architecture", "llama");
    const auto path = (scratch_.path() / "model.gguf").string();
    gguf::Writer writer(path, metadata, {});
    writer.finish();
    return path;
  }
  TemporaryFolder scratch_;
};

TEST_F(GrammarCommand, SaysWhetherATextMatches) {
  const std::string file = write("list.gbnf", "root ::= \"a\" (\",\" \"a\")*\n");
  EXPECT_EQ(grammar({"--grammar", file, "--text", "-"}, "a,a").out, "{\"accepted\":true,\"prefix\":true}\n");
  EXPECT_EQ(grammar({"--grammar", file, "--text", "-"}, "a,").out, "{\"accepted\":false,\"prefix\":true}\n");
  EXPECT_EQ(grammar({"--grammar", file, "--text", write("text", "b")}).out, "{\"accepted\":false,\"prefix\":false}\n");
  EXPECT_EQ(grammar({"--regex", "a+", "--text", "-"}, "aa").out, "{\"accepted\":true,\"prefix\":true}\n");
  EXPECT_EQ(grammar({"--json-schema", write("s.json", "{\"type\":\"integer\"}"), "--text", "-"}, "12").out,
            "{\"accepted\":true,\"prefix\":true}\n");
}

TEST_F(GrammarCommand, SaysWhatIsWrongAndWhere) {
  const auto gbnf = grammar({"--grammar", write("bad.gbnf", "root ::= \"a\"\nfoo = 1\n"), "--text", "-"}, "");
  EXPECT_EQ(gbnf.exit_code, 2);
  EXPECT_THAT(gbnf.err, HasSubstr("bad.gbnf: grammar, line 2, column 5: ::= expected"));
  const auto schema = grammar({"--json-schema", write("bad.json", "{\"type\":\"x\"}"), "--text", "-"}, "");
  EXPECT_EQ(schema.exit_code, 2);
  EXPECT_THAT(schema.err, HasSubstr("#/type: there is no type \"x\""));
  EXPECT_EQ(grammar({"--text", "-"}, "").exit_code, 2);
  EXPECT_EQ(grammar({"--regex", "a", "--mask", "--text", "-"}, "").exit_code, 2);
  EXPECT_TRUE(gbnf.out.empty());
}

TEST_F(GrammarCommand, ListsTheTokensThatMayFollow) {
  const auto result = grammar({"--regex", "(hi)?( hi)*", "--text", "-", "--mask", "-m", vocabulary()}, "");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.size(), 4U);
  EXPECT_TRUE(json.at("end_allowed").get<bool>());
  // The vocabulary begins with its unknown, begin and end tokens; then there are blank, h, hi and blank-hi.
  EXPECT_EQ(json.at("allowed_count").get<std::size_t>(), json.at("allowed_first_50").size());
  EXPECT_GE(json.at("allowed_count").get<std::size_t>(), 4U);
  EXPECT_EQ(json.at("allowed_sha256").get<std::string>().size(), 64U);
}

}  // namespace
}  // namespace loadline::test

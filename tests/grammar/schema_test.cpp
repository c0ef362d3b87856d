// JSON schemas: the vectors in shared/data/grammar, and what is refused by name.
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "grammar/json_schema.h"
#include "grammar/text_check.h"
#include "support/test_data.h"

namespace loadline::grammar {
namespace {

Grammar compiled(const Json& schema) {
  const Source source = read_json_schema(schema);
  return Grammar::compile(source.expressions, source.root);
}

// The text with a blank behind every ":" and "," outside strings, as most models write JSON.
std::string spaced(const std::string& json) {
  std::string text;
  bool inside = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    text.push_back(json[i]);
    if (inside && json[i] == '\\') {
      text.push_back(json[++i]);
    } else if (json[i] == '"') {
      inside = !inside;
    } else if (!inside && (json[i] == ':' || json[i] == ',')) {
      text.push_back(' ');
    }
  }
  return text;
}

TEST(JsonSchema, ABlankMayFollowColonsAndCommas) {
  const Grammar grammar = compiled(Json::parse(
      R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"}},"b":{}},"required":["a"]})"));
  EXPECT_TRUE(test::check_text(grammar, R"({"a": [1, 2,3], "b": {"c":1, "d": 2}})").accepted);
  EXPECT_FALSE(test::check_text(grammar, R"({"a":  [1]})").accepted);
  EXPECT_FALSE(test::check_text(grammar, R"({ "a": [1]})").accepted);
}

TEST(JsonSchema, AgreesWithTheVectors) {
  LOADLINE_REQUIRE_SHARED(path, "grammar/jsonschema.jsonl");
  std::ifstream in(path);
  std::size_t honoured = 0;
  std::size_t refused = 0;
  for (std::string line; std::getline(in, line);) {
    const auto one = Json::parse(line);
    const auto level = one.at("level").get<std::string>();
    SCOPED_TRACE(one.at("schema").dump().substr(0, 300));
    std::optional<Grammar> grammar;
    try {
      grammar.emplace(compiled(one.at("schema")));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::BadInput);
      EXPECT_NE(level, "must") << error.what();
      ++refused;
      continue;
    }
    EXPECT_NE(level, "must_refuse");
    ++honoured;
    for (const auto& instance : one.at("instances")) {
      const auto text = instance.at("json_text").get<std::string>();
      const bool accepted = test::check_text(*grammar, text).accepted;
      if (!instance.at("valid").get<bool>()) {
        EXPECT_FALSE(accepted) << text << "  " << instance.at("about");
      } else if (!instance.contains("may_reject")) {
        EXPECT_TRUE(accepted) << text << "  " << instance.at("about");
        // (What enum and const name is written as it stands.)
        const std::string schema = one.at("schema").dump();
        const bool fixed = schema.contains("\"const\"") || schema.contains("\"enum\"");
        if (!fixed) EXPECT_TRUE(test::check_text(*grammar, spaced(text)).accepted) << spaced(text);
      }
    }
  }
  EXPECT_GE(honoured, 130U);
  RecordProperty("honoured", static_cast<int>(honoured));
  std::cout << honoured << " honoured, " << refused << " refused\n";
}

}  // namespace
}  // namespace loadline::grammar

// The renderer against shared/data/templates: real templates with conversations, and what jinja2 makes of them.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "chat/conversation.h"
#include "chat/template.h"
#include "support/test_data.h"

namespace loadline::chat {
namespace {

using Json = nlohmann::ordered_json;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

std::string text(const Json& object, const char* member) { return object.at(member).get<std::string>(); }

// Empty where the case came out as it should, else what is wrong.
std::string problem_of(const Json& expected, const std::string& source, const std::string& variables,
                       const std::string& now) {
  RenderOptions options;
  options.now = parse_time(now);
  const std::string kind = expected.value("error_kind", "");
  try {
    const std::string out = Template(source).render(variables, options);
    if (expected.contains("expected") && out == text(expected, "expected")) return {};
    if (expected.contains("expected_extended") && out == text(expected, "expected_extended")) return {};
    return "rendered " + out.substr(0, 500);
  } catch (const TemplateError& error) {
    if (expected.contains("expected")) return std::string("failed: ") + error.what();
    if (kind.starts_with("compile:")) return error.kind() == TemplateError::Kind::Unparsable ? "" : error.what();
    if (kind == "raise_exception") {
      const bool same = error.kind() == TemplateError::Kind::Refused && error.detail() == text(expected, "error");
      return same ? "" : std::string("another sentence: ") + error.what();
    }
    return error.kind() == TemplateError::Kind::Refused ? std::string("refused: ") + error.what() : "";
  }
}

TEST(template_data, every_case_renders_to_the_byte_or_fails_as_expected) {
  LOADLINE_REQUIRE_SHARED(folder, "templates");
  std::size_t cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const Json file = Json::parse(read(entry.path()));
    const bool micro = entry.path().filename() == "_micro.json";
    const std::string source = micro ? "" : read(std::filesystem::path(entry.path()).replace_extension(".jinja"));
    for (const Json& one : file["cases"]) {
      Json variables = micro ? file["context"] : one["input"];
      for (const char* key : {"bos_token", "eos_token"}) {
        if (!micro && !file[key].is_null()) variables[key] = file[key];
      }
      const std::string problem = problem_of(one, micro ? one["template"].get<std::string>() : source, variables.dump(),
                                             file["now"].get<std::string>());
      EXPECT_EQ(problem, "") << entry.path().filename() << " " << one.value(micro ? "id" : "name", "");
      ++cases;
    }
  }
  EXPECT_GT(cases, 1000U);
}

TEST(template_data, the_last_answer_is_left_open_as_transformers_does) {
  LOADLINE_REQUIRE_SHARED(folder, "templates");
  std::size_t cases = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".json" || entry.path().filename() == "_micro.json") continue;
    const Json file = Json::parse(read(entry.path()));
    const std::string source = read(std::filesystem::path(entry.path()).replace_extension(".jinja"));
    for (const Json& one : file["cases"]) {
      if (!one.contains("expected_continued") || !one["expected_continued"].is_string()) continue;
      Json variables = one["input"];
      for (const char* key : {"bos_token", "eos_token"}) {
        if (!file[key].is_null()) variables[key] = file[key];
      }
      Conversation conversation;
      conversation.set_all(variables.dump());
      RenderOptions options;
      options.now = parse_time(file["now"].get<std::string>());
      std::string out;
      try {
        out = conversation.render(Template(source), options, true);
      } catch (const Error& error) {
        out = std::string("failed: ") + error.what();
      }
      EXPECT_EQ(out, one["expected_continued"].get<std::string>()) << entry.path().filename() << " " << one["name"];
      ++cases;
    }
  }
  EXPECT_GT(cases, 50U);
}

}  // namespace
}  // namespace loadline::chat

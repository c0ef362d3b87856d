// The self-test: its rows, what it says when the time is up, and that it names a shader that computes something else.
// On a software device, a few checks at a time.
#include "selftest/selftest.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>

#include "backend/vulkan/gpu.h"
#include "backend/vulkan/shader_code.h"
#include "support/refusal.h"

namespace loadline::selftest {
namespace {

using testing::Each;
using testing::Field;
using testing::HasSubstr;

const StopFlag kNeverStop{false};

class SelfTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!vulkan::test::no_gpu().empty()) GTEST_SKIP() << vulkan::test::no_gpu();
    vulkan::test::Messages unused;
    options_.device = vulkan::test::options_for_tests(unused).device;
  }
  Report report_of(std::vector<std::string> only, const std::string& broken = {}) {
    options_.only = std::move(only);
    options_.broken_shader = broken;
    return run(options_, {}, kNeverStop);
  }

  Options options_;
};

std::vector<std::string> names_of(const Report& report) {
  std::vector<std::string> names;
  for (const Row& row : report.cards.at(0).rows) names.push_back(row.section + " " + row.name);
  return names;
}

TEST_F(SelfTest, gives_a_row_for_each_check_with_figures_and_nothing_failed) {
  const std::filesystem::path own = testing::TempDir() + "loadline_selftest_leaves_nothing";
  std::filesystem::create_directories(own);
  ::setenv("TMPDIR", own.c_str(), 1);
  std::vector<Row> told;
  options_.only = {"card capabilities", "shader Norm", "model tiny F32", "memory driver's bytes"};
  const Report report =
      run(options_, {.card = {}, .row = [&](const Row& row) { told.push_back(row); }, .progress = {}}, kNeverStop);
  ::unsetenv("TMPDIR");
  EXPECT_TRUE(std::filesystem::is_empty(own)) << "it leaves files behind";
  std::filesystem::remove_all(own);
  EXPECT_THAT(names_of(report), testing::UnorderedElementsAre("card capabilities", "shader Norm", "model tiny F32",
                                                              "memory driver's bytes"));
  EXPECT_EQ(told.size(), 4U);
  EXPECT_FALSE(any_failed(report)) << summary_of(report.cards[0], report);
  for (const Row& row : report.cards[0].rows) {
    EXPECT_FALSE(row.said.empty()) << row.name;
    EXPECT_THAT(line_of(row), HasSubstr(row.name));
  }
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json.at("failed"), false);
  EXPECT_EQ(json.at("cards").at(0).at("rows").size(), 4U);
  EXPECT_EQ(json.at("cards").at(0).at("software"), true);
}

// Whatever shader is wrong, a user's report names it.
TEST(SelfTestChecks, look_at_every_shader_alone) {
  const std::vector<std::string> names = check_names();
  for (const vulkan::ShaderCode& code : vulkan::all_shaders()) {
    EXPECT_THAT(names, testing::Contains("shader " + std::string(vulkan::name_of(code.shader))));
  }
}

// Which checks see it is all that a user has to go by.
TEST_F(SelfTest, names_the_shader_that_computes_something_else) {
  for (const std::string broken : {"Norm", "Rope", "Heads", "SumExperts", "Convolution", "DeltaNet", "StateSpace"}) {
    const Report report = report_of({"shader Norm", "shader " + broken}, broken);
    for (const Row& row : report.cards.at(0).rows) {
      EXPECT_EQ(row.verdict == Verdict::Failed, row.name == broken) << row.name << " with a broken " << broken;
    }
    EXPECT_TRUE(any_failed(report));
    EXPECT_THAT(summary_of(report.cards[0], report), HasSubstr(std::string("failed: shader ") + broken));
  }
}

TEST_F(SelfTest, names_the_format_whose_shader_computes_something_else) {
  const Report embed = report_of({"shader Embed"}, "EmbedQ4_1");
  const Report matmul = report_of({"shader Matmul"}, "MatmulF16");
  EXPECT_EQ(embed.cards.at(0).rows.at(0).verdict, Verdict::Failed);
  EXPECT_THAT(embed.cards.at(0).rows.at(0).said, HasSubstr("Q4_1"));
  EXPECT_EQ(matmul.cards.at(0).rows.at(0).verdict, Verdict::Failed);
  EXPECT_THAT(matmul.cards.at(0).rows.at(0).said, HasSubstr("F16"));
}

TEST_F(SelfTest, leaves_out_what_the_time_does_not_suffice_for_and_says_so) {
  options_.minutes = 1e-9;
  const Report report = report_of({"shader Norm", "model tiny F32", "speed prompt"});
  EXPECT_THAT(report.cards.at(0).rows, Each(Field(&Row::verdict, Verdict::LeftOut)));
  EXPECT_THAT(report.cards.at(0).rows, Each(Field(&Row::said, "the time is up")));
  EXPECT_FALSE(any_failed(report));
  const std::string summary = summary_of(report.cards[0], report);
  for (const char* name : {"left out", "shader Norm", "model tiny F32", "speed prompt"}) {
    EXPECT_THAT(summary, HasSubstr(name));
  }
}

TEST_F(SelfTest, ends_when_it_is_interrupted) {
  const StopFlag interrupted{true};
  options_.only = {"shader Norm"};
  const Report report = run(options_, {}, interrupted);
  EXPECT_TRUE(report.interrupted);
  EXPECT_EQ(report.cards.at(0).rows.at(0).said, "stopped by the user");
  EXPECT_THAT(summary_of(report.cards[0], report), HasSubstr("left out, stopped by the user: shader Norm"));
}

TEST_F(SelfTest, refuses_checks_and_devices_that_there_are_not) {
  EXPECT_THAT(loadline::test::refusal([&] { return report_of({"shader Voodoo"}); }).sentence, HasSubstr("Voodoo"));
  options_.device = "Voodoo 2";
  EXPECT_THAT(loadline::test::refusal([&] { return report_of({}); }).sentence, HasSubstr("Voodoo 2"));
}

TEST(SelfTestReport, counts_verdicts_and_names_what_failed) {
  Report report;
  Card& card = report.cards.emplace_back();
  card.name = "a card\x1b[2J";
  for (const Verdict verdict :
       {Verdict::Passed, Verdict::Missed, Verdict::LeftOut, Verdict::Measured, Verdict::NotHere}) {
    card.rows.push_back({"shader", std::string("s") + std::string(name_of(verdict)), verdict, "seen", {}, 0});
  }
  EXPECT_FALSE(any_failed(report)) << "neither what is slow nor what was left out has failed";
  EXPECT_THAT(summary_of(card, report), HasSubstr("1 ok, 0 failed, 1 missed, 1 seen, 1 not here, 1 left out"));
  card.rows.push_back({"model", "whole", Verdict::Failed, "wrong\nin two lines", {{"kl", 0.5, "nats"}}, 1.5});
  EXPECT_TRUE(any_failed(report));
  EXPECT_THAT(summary_of(card, report), HasSubstr("failed: model whole"));
  EXPECT_THAT(line_of(card.rows.back()), testing::Not(HasSubstr("\n")));
  EXPECT_THAT(heading_of(card), testing::Not(HasSubstr("\x1b")));
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json.at("failed"), true);
  EXPECT_EQ(json.at("cards").at(0).at("counts").at("FAILED"), 1);
  EXPECT_EQ(json.at("cards").at(0).at("rows").at(5).at("figures").at(0).at("value"), 0.5);
}

}  // namespace
}  // namespace loadline::selftest

#include "support/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <stdexcept>

namespace loadline::test {
namespace {

TEST(Process, CollectsBothStreamsAndTheExitCode) {
  const ProcessResult result = run_process({"/bin/sh", "-c", "echo data; echo trouble >&2; exit 7"});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.out, "data\n");
  EXPECT_EQ(result.err, "trouble\n");
}

TEST(Process, PassesArgumentsWithoutAShell) {
  const ProcessResult result = run_process({"/usr/bin/printf", "%s|", "a b", "$HOME", ""});
  EXPECT_EQ(result.out, "a b|$HOME||");
}

TEST(Process, FeedsMoreInputThanAPipeHoldsWhileReadingTheOutput) {
  ProcessOptions options;
  options.input = std::string(3 << 20, 'x');
  const ProcessResult result = run_process({"/bin/cat"}, options);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, options.input);
}

TEST(Process, SurvivesAProgramThatDoesNotReadItsInput) {
  ProcessOptions options;
  options.input = std::string(3 << 20, 'x');
  EXPECT_EQ(run_process({"/bin/true"}, options).exit_code, 0);
}

TEST(Process, SetsVariablesOverTheTestsOwn) {
  ProcessOptions options;
  options.variables = {{"HOME", "/nowhere"}};
  EXPECT_EQ(run_process({"/usr/bin/printenv", "HOME"}, options).out, "/nowhere\n");
}

TEST(Process, ReportsTheSignalThatEndedAProgram) {
  Process process({"/bin/sh", "-c", "echo ready; exec sleep 600"});
  ASSERT_TRUE(process.wait_for_out("ready"));
  process.signal(SIGTERM);
  EXPECT_EQ(process.finish().exit_code, 128 + SIGTERM);
}

TEST(Process, SaysWhenTheProgramEndedBeforeTheTextCame) {
  Process process({"/bin/sh", "-c", "echo something >&2"});
  EXPECT_FALSE(process.wait_for_err("something else"));
  EXPECT_EQ(process.finish().err, "something\n");
}

TEST(Process, KillsAProgramThatOutlivesItsLimit) {
  ProcessOptions options;
  options.limit_seconds = 0;
  const ProcessResult result = run_process({"/bin/sleep", "600"}, options);
  EXPECT_EQ(result.exit_code, 128 + SIGKILL);
  EXPECT_THAT(result.err, testing::HasSubstr("killed by the test"));
}

TEST(Process, ThrowsForAProgramThatIsNotThere) { EXPECT_THROW(run_process({"/no/such/program"}), std::runtime_error); }

}  // namespace
}  // namespace loadline::test

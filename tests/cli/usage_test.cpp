// The program's behaviour before any command runs: help, version, and what it says to a mistyped command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/process.h"

namespace loadline::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Usage, HelpAndVersionAreDataAndSucceed) {
  const ProcessResult help = run_loadline({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("--version"));
  EXPECT_EQ(help.err, "");
  const ProcessResult version = run_loadline({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.out, StartsWith("loadline "));
}

TEST(Usage, AMistypedCommandLineIsBadInputAndPointsToTheHelp) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, {"--no-such-flag"}, {"no-such-command"}}) {
    const ProcessResult result = run_loadline(arguments);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, StartsWith("loadline: "));
    EXPECT_THAT(result.err, HasSubstr("loadline --help"));
  }
}

}  // namespace
}  // namespace loadline::test

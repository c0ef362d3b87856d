// `loadline run`, `plan` and `bench` with a GPU, as a user gives it: llvmpipe, watched by the validation layer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <fstream>

#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

const std::string& model() {
  static const std::string kPath = source_dir() / "models/demo.gguf";
  return kPath;
}

ProcessResult run(std::vector<std::string> more, std::vector<std::string> command = {"run"}) {
  command.insert(command.end(), {"-m", model(), "-c", "64"});
  command.insert(command.end(), more.begin(), more.end());
  ProcessOptions options;
  options.variables["LOADLINE_VULKAN_VALIDATION"] = "1";
  return run_loadline(std::move(command), std::move(options));
}
ProcessResult tell(std::vector<std::string> more) {
  more.insert(more.end(), {"-p", "Once upon a time", "--temp", "0", "-n", "12"});
  return run(std::move(more));
}

class GpuRun : public testing::Test {
 protected:
  void SetUp() override {
    const ProcessResult devices = run_loadline({"devices"});
    if (devices.out.find("llvmpipe") == std::string::npos) GTEST_SKIP() << "there is no llvmpipe here";
  }
};

TEST_F(GpuRun, TellsTheSameStoryWhereverTheLayersAre) {
  const std::string story = tell({"--dev", "none"}).out;
  ASSERT_THAT(story, HasSubstr("Once upon a time"));
  const std::vector<std::vector<std::string>> places = {
      {"--ngl", "all"},
      {"--ngl", "3", "--no-kv-offload"},
      {"--ot", "ffn_down=GPU0", "--ot", "attn=CPU"},
  };
  for (std::vector<std::string> place : places) {
    place.insert(place.end(), {"--dev", "vulkan0"});
    const ProcessResult told = tell(place);
    EXPECT_EQ(told.exit_code, 0) << told.err;
    EXPECT_EQ(told.out, story) << place[1];
    EXPECT_THAT(told.err, HasSubstr("GPU 0 (llvmpipe"));
    EXPECT_THAT(told.err, HasSubstr("busy"));
    EXPECT_THAT(told.err, Not(HasSubstr("not verified"))) << "a software GPU's driver is measured";
  }
  const ProcessResult two =
      tell({"--dev", "vulkan0,vulkan0", "--ot", "blk\\.[01]\\.=GPU0", "--ot", "blk\\.[23]\\.=GPU1"});
  EXPECT_EQ(two.out, story) << two.err;
  EXPECT_THAT(two.err, HasSubstr("GPU 1 (llvmpipe"));
}

TEST_F(GpuRun, ABudgetIsExactToTheByte) {
  const ProcessResult planned = run({"--dev", "vulkan0", "--ngl", "all", "--json"}, {"plan"});
  ASSERT_EQ(planned.exit_code, 0) << planned.err;
  const std::uint64_t total = nlohmann::json::parse(planned.out).at("tiers").at(1).at("total");
  EXPECT_EQ(tell({"--dev", "vulkan0", "--ngl", "all", "--vram", std::to_string(total)}).exit_code, 0);
  const ProcessResult refused = tell({"--dev", "vulkan0", "--ngl", "all", "--vram", std::to_string(total - 1)});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr(std::to_string(total) + " bytes"));
}

TEST_F(GpuRun, NamesWhatIsNotThere) {
  for (const auto& [flag, value] : {std::pair{"--dev", "vulkan7"}, {"--dev", "Voodoo 2"}}) {
    const ProcessResult result = tell({flag, value});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr(value));
    EXPECT_THAT(result.err, HasSubstr("vulkan0 (llvmpipe"));
  }
  EXPECT_EQ(tell({"--dev", "vulkan0", "--ot", "ffn=GPU3"}).exit_code, 2);
  EXPECT_EQ(tell({"--dev", "vulkan0", "--vram", "3=1GiB"}).exit_code, 2);
}

TEST_F(GpuRun, StopsWhenInterruptedAndSaysSo) {
  Process process({program(), "run", "-m", model(), "--dev", "vulkan0", "--ngl", "all", "-p", "Once upon a time", "-n",
                   "-1", "--ignore-eos", "-c", "4096"});
  ASSERT_TRUE(process.wait_for_out("Once upon a time "));
  process.signal(SIGINT);
  const ProcessResult result = process.finish();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, HasSubstr("stopped after"));
}

TEST_F(GpuRun, BenchHasARowForEachDeviceAtWork) {
  const ProcessResult result =
      run({"--dev", "vulkan0", "--ngl", "2", "--n-prompt", "16", "--n-gen", "2", "--repetitions", "1"}, {"bench"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\n  CPU "));
  EXPECT_THAT(result.out, HasSubstr("\n  GPU 0 "));
}

TEST_F(GpuRun, TakesTheLoaderThatIsNamed) {
  ProcessOptions carried;
  carried.variables["LOADLINE_VULKAN_LIBRARY"] = "libvulkan.so.1";
  EXPECT_EQ(run_loadline({"devices", "-dev", "llvmpipe"}, carried).exit_code, 0);
  carried.variables["LOADLINE_VULKAN_LIBRARY"] = "/no/such/loader.so";
  const ProcessResult missing = run_loadline({"devices", "-dev", "llvmpipe"}, carried);
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("/no/such/loader.so"));
}

TEST_F(GpuRun, TestsItselfAndWritesAReport) {
  const TemporaryFolder folder;
  const std::string out = (folder.path() / "report.json").string();
  const ProcessResult result = run_loadline(
      {"selftest", "--device", "llvmpipe", "--only", "shader Norm", "--only", "model tiny F32", "--out", out});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, ContainsRegex("ok +shader +Norm"));
  EXPECT_THAT(result.out, HasSubstr("2 ok, 0 failed"));
  const auto report = nlohmann::json::parse(std::ifstream(out));
  EXPECT_EQ(report.at("cards").at(0).at("rows").size(), 2U);
  const ProcessResult late =
      run_loadline({"selftest", "--device", "llvmpipe", "--minutes", "0.000001", "--only", "shader", "--json"});
  EXPECT_EQ(late.exit_code, 0) << late.err;
  const auto cards = nlohmann::json::parse(late.out).at("cards");
  EXPECT_EQ(cards.at(0).at("counts").at("left out"), cards.at(0).at("rows").size());
  EXPECT_EQ(run_loadline({"selftest", "--device", "Voodoo 2"}).exit_code, 2);
  EXPECT_EQ(run_loadline({"selftest", "--device", "llvmpipe", "--minutes", "0"}).exit_code, 2);
}

// A software device is measured only where it is named; plans then know it. (What others leave of the processors
// decides how much is remembered, so that a busy machine ends this test.)
TEST_F(GpuRun, IsMeasuredWhenItIsNamedAndRememberedForPlans) {
  const TemporaryFolder cache;
  ProcessOptions own_cache;
  own_cache.variables = {{"XDG_CACHE_HOME", cache.path().string()}};
  const auto busy = [](const ProcessResult& result) {
    return result.err.contains("other programs had the processors");
  };
  const ProcessResult unnamed = run_loadline({"devices", "--measure"}, own_cache);
  ASSERT_EQ(unnamed.exit_code, 0) << unnamed.err;
  EXPECT_THAT(unnamed.out, Not(HasSubstr("from RAM")));
  if (busy(unnamed)) GTEST_SKIP() << "the machine is busy, so that not all is remembered: " << unnamed.err;
  EXPECT_THAT(unnamed.out, HasSubstr("measured 20"));
  const std::vector<std::string> plan = {"plan", "-m", model(), "-dev", "llvmpipe"};
  EXPECT_THAT(run_loadline(plan, own_cache).out, HasSubstr("assumed: llvmpipe"));
  const ProcessResult named = run_loadline({"devices", "--measure", "-dev", "llvmpipe"}, own_cache);
  ASSERT_EQ(named.exit_code, 0) << named.err;
  if (busy(named)) GTEST_SKIP() << "the machine is busy, so that not all is remembered: " << named.err;
  EXPECT_THAT(named.out, ContainsRegex("llvmpipe.* read .* from RAM .* float32"));
  const ProcessResult later = run_loadline({"devices"}, own_cache);
  EXPECT_THAT(later.out, ContainsRegex("llvmpipe.* read .* from RAM .* float32"));
  EXPECT_THAT(run_loadline(plan, own_cache).out, Not(HasSubstr("assumed")));
}

TEST_F(GpuRun, ADeviceThatIsNotThereIsRefused) {
  EXPECT_EQ(run_loadline({"devices", "-dev", "Voodoo 2"}).exit_code, 2);
}

}  // namespace
}  // namespace loadline::test

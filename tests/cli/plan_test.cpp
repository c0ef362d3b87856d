// `loadline plan` and `loadline devices` as a user meets them: tables, JSON, refusals, and suggestions that work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <regex>
#include <sstream>

#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Arguments = std::vector<std::string>;

Arguments joined(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class PlanCommand : public testing::Test {
 protected:
  // Headers only: sparse files of the true shapes.
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    synthesise("llama-3-8b", "Q4_K_M");
    synthesise("tiny-llama3", "Q4_K_M");
    std::ofstream(folder_->path() / "pc.json") << R"({
      "cpu": {"model": "Test CPU", "cores": 8, "instruction_sets": ["avx2"], "int8_ops": 2e12, "float_ops": 5e11},
      "ram": {"total": 17179869184, "available": 15032385536, "read_bandwidth": [14e9, 28e9, 40e9, 40e9, 40e9, 40e9, 40e9, 40e9]},
      "gpus": [], "disk": {"name": "ext4 on nvme0n1", "read_bandwidth": 3e9}, "measured": "2026-01-02"})";
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static std::string model(const std::string& shape, const std::string& type = "Q4_K_M") {
    return path(shape + "-" + type + ".gguf");
  }
  static void synthesise(const std::string& shape, const std::string& type) {
    if (std::filesystem::exists(model(shape, type))) return;
    const ProcessResult result =
        run_loadline({"synth", "--shape", shape, "--type", type, "--header-only", model(shape, type)});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }

  static ProcessResult plan(const Arguments& arguments, const std::string& shape = "llama-3-8b") {
    return run_loadline(joined({"plan", "-m", model(shape), "--hardware", path("pc.json")}, arguments));
  }

  static TemporaryFolder* folder_;
};
TemporaryFolder* PlanCommand::folder_ = nullptr;

TEST_F(PlanCommand, PrintsATableThatAddsUp) {
  const ProcessResult result = plan({"--gpu", "rtx 3050 ti mobile"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, AllOf(HasSubstr("Llama 3 8B"), HasSubstr("context 4096 · batch 512 · KV cache f16"),
                                HasSubstr("RTX 3050 Ti Mobile"), HasSubstr("of 33 layers"), HasSubstr("weights"),
                                HasSubstr("headroom"), HasSubstr("predicted: prompt "), HasSubstr("bound by"),
                                HasSubstr("faster alternatives")));
  EXPECT_THAT(result.out, Not(HasSubstr("█"))) << "bars are for terminals";
  EXPECT_THAT(result.out, Not(HasSubstr("assumed"))) << "everything of that machine is measured";
}

TEST_F(PlanCommand, PrintsJsonWhoseSumsAreTheBudgets) {
  const ProcessResult result = plan({"--gpu", "RTX 3060", "--gpu", "RTX 3050 Ti Mobile", "--json"});
  ASSERT_EQ(result.exit_code, 0);
  const json file = json::parse(result.out);
  ASSERT_EQ(file["tiers"].size(), 4U);
  std::vector<std::uint64_t> totals(4);
  for (const json& arena : file["arenas"]) totals[arena["tier"]] += arena["size"].get<std::uint64_t>();
  for (std::size_t tier = 0; tier < 3; ++tier) EXPECT_LE(totals[tier], file["tiers"][tier]["budget"]);
  EXPECT_GT(totals[1], 0U);
}

TEST_F(PlanCommand, SaysWhetherTheCostOfAContextIsMeasured) {
  for (const bool measured : {true, false}) {
    json machine = json::parse(std::ifstream(path("pc.json")));
    machine["gpus"] = {{{"name", "Test GPU"},
                        {"id", "vulkan0"},
                        {"total", 8ULL << 30},
                        {"memory_bandwidth", 2e11},
                        {"context_memory", 200ULL << 20},
                        {"context_measured", measured}}};
    std::ofstream(folder_->path() / "gpu.json") << machine;
    const ProcessResult result =
        run_loadline({"plan", "-m", model("llama-3-8b"), "--hardware", path("gpu.json"), "-v"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("209715200  device context"));
    EXPECT_EQ(result.out.find("Test GPU context 200 MiB") == std::string::npos, measured);
    EXPECT_EQ(result.out.find("device context (assumed)") == std::string::npos, measured);
  }
}

TEST_F(PlanCommand, ListsEveryRegionWhenAsked) {
  const ProcessResult result = plan({"--verbose"}, "tiny-llama3");
  EXPECT_THAT(result.out, AllOf(HasSubstr("blk.2.ffn_down.weight"), HasSubstr("blk.2.k"), HasSubstr("allocator slack"),
                                HasSubstr("(repacked)")));
}

TEST_F(PlanCommand, TakesContextsBatchesAndTypes) {
  EXPECT_THAT(plan({"-c", "8192", "-np", "4", "-b", "1024", "-ub", "256", "-ctk", "q8_0"}).out,
              HasSubstr("context 8192 for 4 sequences · batch 256 · KV cache q8_0 and f16"));
  EXPECT_THAT(plan({"-c", "max"}).out, HasSubstr("context 8192 · "));
  EXPECT_THAT(plan({"-c", "max", "--ram", "5.4GiB", "--disk", "off"}).out, Not(HasSubstr("context 8192 · ")));
  const ProcessResult in_ram = plan({"--gpu", "RTX 3060", "--no-kv-offload", "--json"});
  const json file = json::parse(in_ram.out);
  for (const json& arena : file["arenas"]) EXPECT_TRUE(arena["purpose"] != "kv_cache" || arena["tier"] == 0);
  const ProcessResult overridden = plan({"--gpu", "RTX 3060", "-ot", "blk\\.[0-9]\\.ffn=CPU", "--json"});
  EXPECT_EQ(json::parse(overridden.out)["groups"][2]["device"], 0);
}

TEST_F(PlanCommand, SaysThatExpertsCannotStayInRamWhereThereAreNone) {
  EXPECT_THAT(plan({"--cpu-moe"}).out, HasSubstr("\n--cpu-moe has no effect: the model has no experts\n"));
  EXPECT_THAT(plan({"--n-cpu-moe", "3"}).out, HasSubstr("\n--n-cpu-moe has no effect: the model has no experts\n"));
  EXPECT_THAT(plan({"--n-cpu-moe", "0"}).out, Not(HasSubstr("has no effect")));
}

TEST_F(PlanCommand, SaysThatThreadsBeyondTheProcessorsWaitForEachOther) {
  const auto here = [](const char* threads) {
    return run_loadline({"plan", "-m", model("tiny-llama3"), "--no-tuned", "-t", threads});
  };
  EXPECT_THAT(here("999").out, HasSubstr("999 threads are more than the "));
  EXPECT_THAT(here("1").out, Not(HasSubstr("threads are more than")));
  EXPECT_THAT(plan({"-t", "999"}).out, Not(HasSubstr("threads are more than"))) << "another machine may have them";
}

TEST_F(PlanCommand, WatchesOnATerminalAloneAndWithoutWhatIsPrintedOnce) {
  EXPECT_THAT(plan({"--watch"}).out, HasSubstr("context 4096"));
  for (const Arguments& other : {Arguments{"--json"}, {"--explain"}, {"-v"}, {"-o", path("out.json")}}) {
    EXPECT_EQ(plan(joined({"--watch"}, other)).exit_code, 2) << other.front();
  }
  EXPECT_EQ(plan({"--watch", "--interval", "0"}).exit_code, 2);
  EXPECT_EQ(plan({"--watch", "--plan", path("pc.json")}).exit_code, 2);
}

TEST_F(PlanCommand, LeavesTheHeadroomItIsTold) {
  const json file = json::parse(plan({"--headroom", "3GiB", "--json"}).out);
  EXPECT_EQ(file["tiers"][0]["headroom"], 3221225472U);
  EXPECT_EQ(file["tiers"][0]["budget"], 15032385536U - 3221225472U);
}

// What is named is the most to take; there may be less, and then the plan says so.
TEST_F(PlanCommand, ABudgetAboveWhatIsAvailableIsLoweredAndSaysSo) {
  const ProcessResult result = plan({"--ram", "16GiB"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("\n--ram 16.0 GiB is more than is available: the budget is 14.0 GiB (15032385536 "
                                    "bytes)\n"));
  EXPECT_EQ(json::parse(plan({"--ram", "16GiB", "--json"}).out)["tiers"][0]["budget"], 15032385536U);
  EXPECT_THAT(plan({"--ram", "14GiB"}).out, Not(HasSubstr("is more than")));
  // A profile's GPU with a budget: that one is lowered, by index.
  std::ofstream(path("two.json")) << R"({"ram": {"total": 17179869184}, "gpus": [
      {"name": "A", "id": "vulkan0", "total": 4294967296, "free": 3221225472},
      {"name": "B", "id": "vulkan1", "total": 8589934592, "free": 8589934592}]})";
  const Arguments two = {"plan", "-m", model("llama-3-8b"), "--hardware", path("two.json"), "--vram", "4GiB"};
  EXPECT_THAT(run_loadline(two).out,
              AllOf(HasSubstr("--vram 4.00 GiB is more than is available on GPU 0: the budget is 3.00 GiB"),
                    Not(HasSubstr("on GPU 1:"))));
  const json file = json::parse(run_loadline(joined(two, {"--json"})).out);
  EXPECT_EQ(file["tiers"][1]["budget"], 3221225472U);
  EXPECT_EQ(file["tiers"][2]["budget"], 4294967296U);
  EXPECT_THAT(plan({"--vram", "4GiB"}).out, HasSubstr("\n--vram has no effect: there is no GPU to use\n"));
  // And what does not fit even so is told what there is.
  const ProcessResult refused = plan({"--ram", "16GiB", "--disk", "off", "-c", "131072"});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, HasSubstr("and only 14.0 GiB (15032385536 bytes) are available"));
}

TEST_F(PlanCommand, BadInputIsOneSentenceAndTwo) {
  for (const auto& [arguments, says] : std::vector<std::pair<Arguments, std::string>>{
           {{"--vram", "12parsecs"}, "--vram is not a size: \"12parsecs\""},
           {{"--vram", "3=1GiB"}, "a budget is named for GPU 3"},
           {{"--vram", "0=1GiB,2"}, "--vram"},
           {{"-c", "-4096"}, "-c is not a whole number"},
           {{"-c", "many"}, "-c is not a whole number"},
           {{"-c", "100000000000"}, "-c is too large"},
           {{"-np", "0"}, "-np"},
           {{"-b", "0"}, "-b"},
           {{"-ctk", "q5_1"}, "-ctk"},
           {{"-ngl", "-1"}, "-ngl"},
           {{"-ngl", "3"}, "layers are asked for on a GPU, and there is none"},
           {{"-ot", "ffn"}, "-ot"},
           {{"-ot", "nothing_like_this=CPU"}, "no tensor's name matches \"nothing_like_this\""},
           {{"-ot", "(=CPU"}, "\"(\" is not a regular expression"},
           {{"--n-cpu-moe", "some"}, "--n-cpu-moe is not a whole number"},
           {{"--disk", "perhaps"}, "--disk"},
           {{"--headroom", "some"}, "--headroom"},
           {{"--gpu", "Voodoo 2"}, "no graphics card \"Voodoo 2\""},
           {{"--gpu", "3080"}, "\"3080\" can be several graphics cards"},
           {{"--hardware", "/no/such/file.json"}, "/no/such/file.json"},
           {{"--plan", "/no/such/plan.json"}, "/no/such/plan.json"},
       }) {
    const Arguments base = arguments[0] == "--hardware"
                               ? Arguments{"plan", "-m", model("tiny-llama3")}
                               : Arguments{"plan", "-m", model("tiny-llama3"), "--hardware", path("pc.json")};
    const ProcessResult result = run_loadline(joined(base, arguments));
    EXPECT_EQ(result.exit_code, 2) << says;
    EXPECT_EQ(result.out, "");
    const std::string sentence = result.err.substr(0, result.err.find('\n'));
    EXPECT_THAT(sentence, AllOf(StartsWith("loadline: "), HasSubstr(says)));
  }
}

// Made for a machine of 256 TiB: before anything is allocated it is held against what is free here.
TEST_F(PlanCommand, AStoredPlanThatTakesMoreThanIsFreeIsRefusedBeforeLoading) {
  std::ofstream(path("huge.json")) << R"({"cpu": {"model": "Test CPU", "cores": 8, "instruction_sets": ["avx2"]},
    "ram": {"total": 281474976710656, "available": 281474976710656}, "gpus": []})";
  const std::string file = path("huge-plan.json");
  const ProcessResult made = run_loadline(
      {"plan", "-m", model("llama-3-8b"), "--hardware", path("huge.json"), "-c", "67108864", "--out", file});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const ProcessResult refused = run_loadline({"run", "-m", model("llama-3-8b"), "--plan", file, "-p", "x", "-n", "1"});
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("the plan takes"), HasSubstr("are free now")));
}

TEST_F(PlanCommand, AStoredPlanIsShownAndRefusedForAnotherModelOrWhenEdited) {
  const std::string file = path("plan.json");
  ASSERT_EQ(plan({"-c", "512", "--out", file}, "tiny-llama3").exit_code, 0);
  const ProcessResult shown = plan({"--plan", file}, "tiny-llama3");
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("context 512"));

  const ProcessResult other = plan({"--plan", file});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("was made for another model"));

  std::ifstream stored(file);
  json edited = json::parse(stored);
  edited["regions"][1]["offset"] = edited["regions"][0]["offset"];
  std::ofstream(path("edited.json")) << edited;
  const ProcessResult overlapping =
      run_loadline({"run", "-m", model("tiny-llama3"), "--plan", path("edited.json"), "-p", "x"});
  EXPECT_EQ(overlapping.exit_code, 2);
  EXPECT_THAT(overlapping.err, HasSubstr("over each other"));
  edited["regions"][1]["offset"] = std::uint64_t{1} << 40;
  std::ofstream(path("edited.json")) << edited;
  EXPECT_EQ(plan({"--plan", path("edited.json")}, "tiny-llama3").exit_code, 2);
}

// "  KV cache q8_0   20 layers on the GPU   11.9 tok/s  -ctk q8_0 -ctv q8_0" as what and how.
struct Suggested {
  std::string what, rate, how;
};
std::vector<Suggested> suggestions_in(const std::string& text) {
  static const std::regex kLine(R"(^  (.*\S)\s+([0-9.]+ tok/s)\s*(.*)$)");
  std::vector<Suggested> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kLine)) found.push_back({match[1], match[2], match[3]});
  }
  return found;
}

// Flags and values with those of the second list instead of the first's where both have one.
Arguments replaced(const Arguments& flags, const Arguments& by) {
  Arguments result;
  for (std::size_t i = 0; i + 1 < flags.size(); i += 2) {
    if (std::ranges::find(by, flags[i]) == by.end()) result.insert(result.end(), {flags[i], flags[i + 1]});
  }
  return joined(result, by);
}

// Every way out that a refusal names is taken, and leads to the speed that it names.
TEST_F(PlanCommand, FollowingASuggestionWorks) {
  std::size_t followed = 0;
  for (const Arguments& refused : std::vector<Arguments>{{"--gpu", "RTX 3050 Ti Mobile", "-ngl", "33"},
                                                         {"--disk", "off", "--ram", "5GiB"},
                                                         {"--disk", "off", "--ram", "5.3GiB", "-c", "8192"}}) {
    const ProcessResult result = plan(refused);
    ASSERT_EQ(result.exit_code, 3);
    ASSERT_THAT(result.err, HasSubstr("What fits:"));
    for (const Suggested& one : suggestions_in(result.err)) {
      SCOPED_TRACE(one.what + ": " + one.how);
      Arguments flags = refused;
      std::string file = model("llama-3-8b");
      const std::size_t of = one.what.find(" of this model");
      if (of != std::string::npos) {
        const std::string type = one.what.substr(0, of);
        synthesise("llama-3-8b", type);
        file = model("llama-3-8b", type);
      }
      if (one.how.starts_with("-")) {
        std::istringstream words(one.how);
        flags = replaced(flags, {std::istream_iterator<std::string>(words), {}});
      } else if (one.how.starts_with("without -ngl") || one.how == "leave -ngl out") {
        flags = replaced(flags, {"-ngl", "auto"});
      } else if (of == std::string::npos) {
        continue;  // more memory than there is
      }
      const ProcessResult after = run_loadline(joined({"plan", "-m", file, "--hardware", path("pc.json")}, flags));
      EXPECT_EQ(after.exit_code, 0) << after.err;
      EXPECT_THAT(after.out, HasSubstr("generation " + one.rate));
      ++followed;
    }
  }
  EXPECT_GE(followed, 12U);
}

TEST_F(PlanCommand, RunRefusesWhatDoesNotFitBeforeItReadsAWeight) {
  // The file has no weights at all: had one been wanted, this would have ended otherwise.
  const ProcessResult result =
      run_loadline({"run", "-m", model("llama-3-8b"), "--ram", "4GiB", "--disk", "off", "-p", "x"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(StartsWith("loadline: this needs 5."), HasSubstr("the budget is 4.00 GiB"),
                                HasSubstr("What fits:"), HasSubstr("Q2_K")));
}

TEST_F(PlanCommand, RunRefusesToBePressedIntoAnotherPlanThanTheOneThatIsNamed) {
  const auto pressed = [](const Arguments& more) {
    return run_loadline(joined({"run", "-m", model("tiny-llama3"), "-p", "x", "-n", "1", "--on-pressure"}, more));
  };
  EXPECT_EQ(pressed({"panic"}).exit_code, 2);
  const ProcessResult named = pressed({"shrink", "--plan", path("pc.json")});
  EXPECT_EQ(named.exit_code, 2);
  EXPECT_THAT(named.err, HasSubstr("--on-pressure shrink"));
}

TEST(DevicesCommand, SaysWhatThereIs) {
  const TemporaryFolder cache;
  ProcessOptions own_cache;
  own_cache.variables = {{"XDG_CACHE_HOME", cache.path().string()}};
  const ProcessResult text = run_loadline({"devices"}, own_cache);
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, AllOf(StartsWith("CPU    "), HasSubstr("\nRAM    "), HasSubstr("cgroup limit"),
                              HasSubstr("\ndisk   "), HasSubstr("not measured yet")));
  const ProcessResult data = run_loadline({"devices", "--json"}, own_cache);
  const json profile = json::parse(data.out);
  EXPECT_GT(profile["ram"]["total"], 0);
  EXPECT_GE(profile["cpu"]["cores"], 1);
  EXPECT_EQ(run_loadline({"devices", "-m", "/no/such/file"}, own_cache).exit_code, 2);
}

// What one machine writes, another plans for.
TEST(DevicesCommand, WritesWhatHardwareReads) {
  const TemporaryFolder folder;
  ProcessOptions own_cache;
  own_cache.variables = {{"XDG_CACHE_HOME", folder.path().string()}};
  const std::string file = (folder.path() / "this.json").string();
  std::ofstream(file) << run_loadline({"devices", "--json"}, own_cache).out;
  const ProcessResult result = run_loadline({"plan", "--hardware", file, "--disk", "auto"}, own_cache);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("assumed: RAM bandwidth")) << "nobody measured it";
}

}  // namespace
}  // namespace loadline::test

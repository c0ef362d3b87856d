// Situations that users of such programs reported, as they look from outside: what is said, what is assumed, and what
// is taken in place of the model's own metadata.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <sstream>

#include "gguf/gguf.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Faults : public testing::Test {
 protected:
  static ProcessResult run(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"run", "-t", "1", "--temp", "0", "-n", "4"});
    ProcessOptions options;
    options.input = input;
    return run_loadline(std::move(arguments), options);
  }
  static ProcessResult plan(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "plan");
    return run_loadline(std::move(arguments));
  }
  std::string at(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(at(name), std::ios::binary) << text;
    return at(name);
  }
  static std::string demo() { return (source_dir() / "models" / "demo.gguf").string(); }

  TemporaryFolder folder_;
};

TEST_F(Faults, EscapesAreReadInAPromptOfTheCommandLineAndNowhereElse) {
  EXPECT_THAT(run({"-p", R"(one\ntwo)"}).out, StartsWith("one\ntwo"));
  EXPECT_THAT(run({"-p", R"(one\ntwo)", "--no-escape"}).out, StartsWith(R"(one\ntwo)"));
  EXPECT_THAT(run({"-f", write("p.txt", R"(one\ntwo)")}).out, StartsWith(R"(one\ntwo)"));
  EXPECT_THAT(run({}, R"(one\ntwo)").out, StartsWith(R"(one\ntwo)"));
}

TEST_F(Faults, AByteOrderMarkAndTheLastEndOfLineAreNotPartOfAPrompt) {
  const std::string expected = run({"-p", R"(one\r\ntwo)"}).out;
  for (const char* text : {"\xEF\xBB\xBFone\r\ntwo\r\n", "one\r\ntwo\n", "one\r\ntwo"}) {
    EXPECT_EQ(run({"-f", write("p.txt", text)}).out, expected);
    EXPECT_EQ(run({"-f", "-"}, text).out, expected);
  }
}

TEST_F(Faults, AnUnsetVariableIsNotTheDemoModel) {
  for (const char* command : {"run", "plan", "bench"}) {
    const ProcessResult result = run_loadline({command, "-m", ""});
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_THAT(result.err, HasSubstr("-m was given an empty value")) << command;
  }
}

TEST_F(Faults, FlagsOfLlamaCppAreTakenOverOrRefusedByName) {
  const ProcessResult taken = run({"-fa", "on", "-sm", "none", "-tb", "2", "--no-mmap", "-p", "Once"});
  EXPECT_EQ(taken.exit_code, 0);
  EXPECT_THAT(taken.err, AllOf(HasSubstr("-fa on is ignored"), HasSubstr("-tb 2 is ignored")));
  const ProcessResult refused = run({"--lora", "x.gguf", "-p", "Once"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--lora is not supported yet"));
  EXPECT_THAT(run({"--promt", "x"}).err, AllOf(HasSubstr("run has no flag --promt"), HasSubstr("--prompt")));
  EXPECT_THAT(run({"-p", "a", "-p", "b"}).out, StartsWith("b"));
}

TEST_F(Faults, WhatALibraryRefusesNamesTheFlagThatSetsIt) {
  const ProcessResult result = run({"-p", "Once", "--temp", "-1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, AllOf(HasSubstr("the temperature is -1"), HasSubstr("It is set with --temp.")));
}

TEST_F(Faults, AContextBeyondWhatTheModelWasTrainedForIsSaidWithBothNumbers) {
  const std::string trained = std::to_string(*gguf::open_model(demo()).metadata.get_unsigned("llama.context_length"));
  const std::string says = "the context of 8192 tokens is longer than the " + trained;
  EXPECT_THAT(plan({"-c", "8192"}).out, HasSubstr(says));
  EXPECT_THAT(run({"-c", "8192", "-p", "Once"}).err, HasSubstr(says));
  EXPECT_THAT(plan({"-c", trained}).out, Not(HasSubstr("longer than")));
  EXPECT_THAT(plan({"-c", "8192", "--rope-scaling", "linear", "--rope-scale", "16"}).out, Not(HasSubstr("longer")));
}

TEST_F(Faults, OverriddenMetadataAreUsedAndSaid) {
  const ProcessResult said = plan({"--override-kv", "llama.rope.freq_base=float:5000"});
  EXPECT_EQ(said.exit_code, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("llama.rope.freq_base is 5000, by the command line; the file says"));
  const std::string usual = run({"-p", "Once upon a time there was", "-n", "12"}).out;
  EXPECT_NE(run({"-p", "Once upon a time there was", "-n", "12", "--rope-freq-base", "100"}).out, usual);
  EXPECT_NE(run({"-p", "Once upon a time there was", "-n", "12", "--rope-scale", "8"}).out, usual);
  EXPECT_EQ(run({"-p", "Once upon a time there was", "-n", "12", "--rope-scale", "8"}).out,
            run({"-p", "Once upon a time there was", "-n", "12", "--rope-freq-scale", "0.125"}).out);
  const auto ids = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"tokenize", demo(), "--text", "Once", "--ids"});
    return run_loadline(more).out;
  };
  EXPECT_EQ(ids({"--override-kv", "tokenizer.ggml.add_bos_token=bool:false"}), ids({"--no-bos"}));
}

TEST_F(Faults, RecommendationsForSamplingCanBeOverridden) {
  const std::vector<std::string> story = {"run", "-t", "1", "-p", "Once upon a time", "-n", "24"};
  std::vector<std::string> greedy = story;
  greedy.insert(greedy.end(), {"--temp", "0"});
  std::vector<std::string> overridden = story;
  overridden.insert(overridden.end(), {"--override-kv", "general.sampling.temp=float:0"});
  const ProcessResult result = run_loadline(overridden);
  EXPECT_EQ(result.out, run_loadline(greedy).out);
  EXPECT_THAT(result.err, HasSubstr("temp 0"));
  for (const char* text : {"general.sampling.temp=float:-1", "general.sampling.top_k=float:1.5",
                           "general.sampling.top_k=str:all", "general.sampling.warmth=float:1"}) {
    const ProcessResult refused = run({"-p", "Once", "-n", "1", "--override-kv", text});
    EXPECT_EQ(refused.exit_code, 2) << text;
    EXPECT_THAT(refused.err, HasSubstr(std::string(text).substr(0, std::string(text).find('=')))) << text;
  }
}

TEST_F(Faults, AnOverrideThatNothingReadsIsRefused) {
  for (const char* text : {"llama.rope.freq_bas=float:5000", "general.author=str:x", "tokenizer.ggml.nothing=int:1"}) {
    const ProcessResult result = plan({"--override-kv", text});
    EXPECT_EQ(result.exit_code, 2) << text;
    EXPECT_THAT(result.err, StartsWith("loadline: ")) << text;
  }
  EXPECT_EQ(plan({"--override-kv", "llama.rope.freq_base=float:-1"}).exit_code, 2);
  EXPECT_EQ(plan({"--rope-scaling", "sideways", "--rope-scale", "2"}).exit_code, 2);
  EXPECT_EQ(plan({"--rope-freq-scale", "0"}).exit_code, 2);
}

TEST_F(Faults, QuantisingSaysWhichTensorsGotAnotherFormat) {
  LOADLINE_REQUIRE_SHARED(data, "faults");
  const ProcessResult result =
      run_loadline({"quantize", (data / "10-rows-of-64.gguf").string(), at("q.gguf"), "Q4_K_M"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err,
              testing::ContainsRegex("[0-9]+ tensors got Q5_0 instead of Q4_K, whose blocks of 256 values"));
  EXPECT_THAT(run_loadline({"quantize", demo(), at("d.gguf"), "Q8_0"}).err, Not(HasSubstr("instead of")));
}

// The most memory that a run of the program with these arguments had resident; `code`: its exit code.
Bytes most_resident(const std::vector<std::string>& arguments, int& code) {
  const ProcessResult result =
      run_process({"/usr/bin/env", "python3", "-c",
                   "import resource, subprocess, sys\n"
                   "p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
                   "print(p.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n",
                   program().string(), arguments.at(0), arguments.at(1)});
  long kib = 0;
  std::istringstream(result.out) >> code >> kib;
  return Bytes(static_cast<std::uint64_t>(kib)) * 1024;
}

// Bytes of a header that ends in an array of `count` strings.
std::string array_header(std::uint64_t count) {
  std::string header = "GGUF";
  const auto put = [&](auto number) {
    std::array<char, sizeof number> bytes{};
    std::memcpy(bytes.data(), &number, sizeof number);
    header.append(bytes.data(), bytes.size());
  };
  put(std::uint32_t{3});
  put(std::uint64_t{0});
  put(std::uint64_t{1});
  put(std::uint64_t{4});
  header += "list";
  put(static_cast<std::uint32_t>(gguf::ValueType::Array));
  put(static_cast<std::uint32_t>(gguf::ValueType::String));
  put(count);
  return header;
}

TEST_F(Faults, AHeaderThatClaimsMillionsOfStringsIsRefusedInLittleMemory) {
  int code = 0;
  const Bytes usual = most_resident({"inspect", demo()}, code);
  for (const std::uint64_t size : {256U, 600U}) {
    write("bomb.gguf", array_header((size - 1) * (std::uint64_t{1} << 20) / 8));
    fs::resize_file(at("bomb.gguf"), size << 20);  // zeros: empty strings
    EXPECT_LT(most_resident({"inspect", at("bomb.gguf")}, code), usual + 96 * kMiB) << size;
    EXPECT_EQ(code, 2) << size;
  }
}

}  // namespace
}  // namespace loadline::test

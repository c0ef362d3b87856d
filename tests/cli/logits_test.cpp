// `loadline logits` as a user runs it, against golden logits and against its own oracle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/golden.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string with_commas(const std::vector<std::int32_t>& tokens) {
  std::string text;
  for (const std::int32_t token : tokens) text += (text.empty() ? "" : ",") + std::to_string(token);
  return text;
}

class Logits : public testing::Test {
 protected:
  ProcessResult write_logits(const fs::path& model, const std::string& tokens, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"logits", model.string(), "--tokens", tokens, "--out", out_.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_loadline(arguments);
  }
  std::vector<float> logits(const fs::path& model, const std::string& tokens, std::vector<std::string> more = {}) {
    const ProcessResult result = write_logits(model, tokens, std::move(more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.out, "");
    return read_floats(out_);
  }

  TemporaryFolder folder_;
  fs::path out_ = folder_.path() / "out.f32";
};

TEST_F(Logits, AgreeWithTheGoldenFileAndWithTheReference) {
  LOADLINE_REQUIRE_SHARED(folder, "golden");
  const auto tokens = golden_tokens(folder);
  const std::string ids = with_commas(tokens);
  for (const char* name : {"llama-F32", "llama-Q4_K_M"}) {
    SCOPED_TRACE(name);
    const auto golden = std::ranges::find(golden_files(), name, &Golden::name);
    ASSERT_NE(golden, golden_files().end());
    const auto expected = golden_logits(folder, *golden);
    const fs::path model = folder / (golden->name + ".gguf");
    const auto fast = logits(model, ids, {"-ctk", "f32", "-ctv", "f32"});
    ASSERT_EQ(fast.size(), expected.size());
    expect_within(compare(expected, fast, tokens.size()), *golden);
    const auto reference = logits(model, ids, {"--backend-reference"});
    ASSERT_EQ(reference.size(), expected.size());
    expect_within(compare(expected, reference, tokens.size()), *golden);
    expect_within(compare(reference, fast, tokens.size()), *golden);
    EXPECT_NE(fast, reference);  // these were not the same computation twice
  }
}

TEST_F(Logits, BadUseIsOneSentenceAndLeavesNoFile) {
  const fs::path demo = source_dir() / "models/demo.gguf";
  const auto expect_refused = [&](const ProcessResult& result, const std::string& part) {
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, AllOf(StartsWith("loadline: "), HasSubstr(part)));
    EXPECT_TRUE(fs::is_empty(folder_.path())) << part;
  };
  expect_refused(write_logits(demo, "1,two"), "\"two\" is not a token id");
  expect_refused(write_logits(demo, "1,,2"), "\"\" is not a token id");
  expect_refused(write_logits(demo, ""), "--tokens was given an empty value");
  for (const std::vector<std::string>& backend : {std::vector<std::string>{}, {"--backend-reference"}}) {
    expect_refused(write_logits(demo, "1,1536", backend), "1536");
    expect_refused(write_logits(demo, "-1", backend), "-1");
  }
  expect_refused(write_logits(folder_.path() / "missing.gguf", "1"), "missing.gguf: no such file");
  out_ = folder_.path() / "no/such/folder.f32";
  expect_refused(write_logits(demo, "1"), "cannot be written");
}

// By the engine and by the oracle: nothing is written then, and the exit code says so.
TEST_F(Logits, AnInterruptLeavesNothingAndSaysSo) {
  const TemporaryFolder folder;
  const std::string model = (folder.path() / "model.gguf").string();  // its data are a hole
  ASSERT_EQ(run_loadline({"synth", "--shape", "qwen3-0.6b", "--type", "Q8_0", "--header-only", model}).exit_code, 0);
  const fs::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string tokens = "1";
  for (int i = 0; i < 40; ++i) tokens += ",2";
  for (const bool oracle : {false, true}) {
    std::vector<std::string> arguments = {program().string(), "logits", model, "--tokens", tokens, "--out",
                                          pipe.string()};
    if (oracle) arguments.emplace_back("--backend-reference");
    Process process(arguments);
    std::ifstream written(pipe, std::ios::binary);  // open when the program has it open, before anything is computed
    process.signal(SIGINT);
    EXPECT_EQ(process.finish().exit_code, 130);
    EXPECT_EQ(written.get(), std::ifstream::traits_type::eof());
  }
}

}  // namespace
}  // namespace loadline::test

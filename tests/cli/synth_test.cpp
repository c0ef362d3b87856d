// loadline synth and loadline quantize, as a user runs them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "gguf/gguf.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(Synth, WritesAModelThatQuantizeRewrites) {
  const TemporaryFolder folder;
  const std::string model = folder.path() / "tiny.gguf";
  const ProcessResult made = run_loadline({"synth", "--shape", "tiny", "--type", "F16", model});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.out, "");
  EXPECT_THAT(made.err, HasSubstr("random weights"));
  const std::string smaller = folder.path() / "smaller.gguf";
  const ProcessResult rewritten = run_loadline({"quantize", model, smaller, "q4_k_m"});
  EXPECT_EQ(rewritten.exit_code, 0) << rewritten.err;
  EXPECT_EQ(gguf::open_model(smaller).metadata.get_unsigned("general.file_type"), 15U);
  const std::string smallest = folder.path() / "smallest.gguf";
  EXPECT_THAT(run_loadline({"quantize", smaller, smallest, "Q2_K"}).err, HasSubstr("had been quantised before"));
  EXPECT_EQ(gguf::open_model(smallest).metadata.get_unsigned("general.file_type"), 10U);
}

TEST(Synth, ListsShapesOnStandardOutput) {
  const ProcessResult list = run_loadline({"synth", "--list", "--type", "Q2_K"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, HasSubstr("llama-3-8b"));
  EXPECT_THAT(list.out, HasSubstr("2.95 GiB"));
  EXPECT_EQ(list.err, "");
}

TEST(Synth, RefusesWhatItDoesNotKnow) {
  const TemporaryFolder folder;
  const std::string out = folder.path() / "out.gguf";
  const std::string text = folder.path() / "text.gguf";
  std::ofstream(text) << "not a model";
  struct Case {
    std::vector<std::string> arguments;
    const char* expected;
  };
  for (const Case& c :
       {Case{{"synth", "--shape", "llama-9-8b", out}, "llama-9-8b"},
        Case{{"synth", "--shape", "tiny", "--type", "Q9_Z", out}, "Q9_Z"}, Case{{"synth", "--shape", "tiny"}, "--list"},
        Case{{"synth", "--shape", "tiny", "--seed", "-1", out}, "--seed"},
        Case{{"synth", "--shape", "tiny", folder.path()}, "not a file"},
        Case{{"synth", "--shape", "tiny", "/no/such/folder/out.gguf"}, "/no/such/folder"},
        Case{{"quantize", text, out, "Q4_0"}, "text file"}, Case{{"quantize", out, out, "Q4_0"}, "out.gguf"},
        Case{{"quantize", text, out, "Q9_Z"}, "Q9_Z"}, Case{{"quantize", text}, "OUT"}}) {
    const ProcessResult result = run_loadline(c.arguments);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, StartsWith("loadline: "));
    EXPECT_THAT(result.err, HasSubstr(c.expected));
    EXPECT_FALSE(std::filesystem::exists(out));
  }
}

}  // namespace
}  // namespace loadline::test

// `loadline inspect` as a user runs it, on models that are right and on everything else people point it at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/process.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

class Inspect : public testing::Test {
 protected:
  // What bad input looks like to the user: nothing on standard output, one line that names the file, perhaps one more
  // that says what to do, exit code 2.
  static void expect_refused(const ProcessResult& result, const std::filesystem::path& path, const std::string& why) {
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_THAT(result.err, StartsWith("loadline: " + path.string() + ": "));
    EXPECT_THAT(result.err, HasSubstr(why));
    EXPECT_LE(std::ranges::count(result.err, '\n'), 2);
  }
  std::filesystem::path file_with(std::string_view text) const {
    const auto path = folder_.path() / "file.gguf";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  TemporaryFolder folder_;
};

TEST_F(Inspect, ShowsTheModelItsMetadataAndItsTensorsByLayer) {
  const auto path = folder_.path() / "small.gguf";
  write_model(path);
  const ProcessResult result = run_loadline({"inspect", path.string()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, StartsWith("Small Test · llama · Q4_K_M · 166 k parameters · "));
  EXPECT_THAT(result.out, HasSubstr("llama.context_length"));
  EXPECT_THAT(result.out, HasSubstr("4 x string: [\"<s>\", \"</s>\", \"a\", \"\\xff\"]"));
  EXPECT_THAT(result.out, HasSubstr("layers 0, 1"));
  EXPECT_THAT(result.out, HasSubstr("output_norm.weight"));
  EXPECT_THAT(result.out, HasSubstr("2 x array: [2 x uint8: [1, 2], 1 x string: [\"three\"]]"));
}

TEST_F(Inspect, ListsEveryTensorWhenAsked) {
  const auto path = folder_.path() / "small.gguf";
  write_model(path);
  const ProcessResult result = run_loadline({"inspect", path.string(), "--tensors"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("  blk.1.attn_v.weight       Q6_K   256 x 64  13.1 KiB\n"));
}

TEST_F(Inspect, PrintsJson) {
  const auto path = folder_.path() / "small.gguf";
  write_model(path);
  const ProcessResult result = run_loadline({"inspect", "--json", path.string()});
  EXPECT_EQ(result.exit_code, 0);
  const auto data = nlohmann::json::parse(result.out);
  EXPECT_EQ(data["name"], "Small Test");
  EXPECT_EQ(data["format"], "Q4_K_M");
  EXPECT_EQ(data["metadata"]["llama.block_count"]["value"], 2);
  EXPECT_EQ(data["metadata"]["llama.attention.layer_norm_rms_epsilon"]["value"], 1e-5);
  EXPECT_EQ(data["metadata"]["tokenizer.ggml.tokens"]["count"], 4);
  EXPECT_EQ(data["metadata"]["tokenizer.ggml.tokens"]["values"][3], "\uFFFD");  // not UTF-8 in the file
  EXPECT_EQ(data["metadata"]["test.flags"]["values"], nlohmann::json({true, false, true}));
  EXPECT_EQ(data["metadata"]["test.nested"]["values"][0]["of"], "uint8");
  ASSERT_EQ(data["tensors"].size(), small_tensors().size());
  EXPECT_EQ(data["tensors"][2]["name"], "blk.0.attn_q.weight");
  EXPECT_EQ(data["tensors"][2]["shape"], nlohmann::json({256, 256}));
  EXPECT_EQ(data["tensors"][2]["layer"], 0);
  EXPECT_EQ(data["tensors"][2]["bytes"], 256 * 144);
  EXPECT_EQ(data["formats"]["Q4_K"]["bytes"], 2 * 256 * 144);
}

TEST_F(Inspect, AbbreviatesLongArraysUnlessAskedForAll) {
  const auto path = folder_.path() / "vocabulary.gguf";
  gguf::Metadata metadata;
  metadata.set("tokens", {gguf::Array::of(std::vector<std::string>(5000, "word"))});
  write_model(path, metadata, {});
  const ProcessResult brief = run_loadline({"inspect", path.string()});
  EXPECT_THAT(brief.out, HasSubstr("5 000 x string: [\"word\", "));
  EXPECT_LT(brief.out.size(), 1000U);
  EXPECT_GT(run_loadline({"inspect", path.string(), "--full"}).out.size(), 5000 * 8U);
  const auto values = [&](std::vector<std::string> arguments) {
    return nlohmann::json::parse(run_loadline(std::move(arguments)).out)["metadata"]["tokens"]["values"].size();
  };
  EXPECT_EQ(values({"inspect", path.string(), "--json"}), 6U);
  EXPECT_EQ(values({"inspect", path.string(), "--json", "--full"}), 5000U);
}

TEST_F(Inspect, FindsTheOtherPartsOfASplitModel) {
  const auto parts = write_split_model(folder_.path(), "small", 3);
  const ProcessResult result = run_loadline({"inspect", parts[0].string()});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("in 3 files"));
  expect_refused(run_loadline({"inspect", parts[2].string()}), parts[2], "Give the first part: " + parts[0].string());
}

TEST_F(Inspect, RefusesWhatIsNotAModelInOneSentence) {
  const auto missing = folder_.path() / "missing.gguf";
  expect_refused(run_loadline({"inspect", missing.string()}), missing, "no such file");
  expect_refused(run_loadline({"inspect", folder_.path().string()}), folder_.path(), "a directory");
  auto path = file_with("Dear diary,\n");
  expect_refused(run_loadline({"inspect", path.string()}), path, "a text file");
  path = file_with("");
  expect_refused(run_loadline({"inspect", path.string()}), path, "is empty");
}

TEST_F(Inspect, SaysThatATruncatedModelIsIncomplete) {
  const auto path = folder_.path() / "broken.gguf";
  write_model(path);
  const auto size = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, size / 2);
  const ProcessResult result = run_loadline({"inspect", path.string()});
  expect_refused(result, path, "The download is incomplete; fetch it again.");
  EXPECT_THAT(result.err, MatchesRegex("loadline: .*: tensor blk\\.[^ ]* ends at byte [0-9 ]*, but the file has [0-9 "
                                       "]* bytes\nThe download is incomplete; fetch it again\\.\n"));
  std::filesystem::resize_file(path, 300);
  expect_refused(run_loadline({"inspect", path.string()}), path, "fetch it again");
}

TEST_F(Inspect, DoesNotObeyControlCharactersInAModel) {
  const auto path = folder_.path() / "hostile.gguf";
  gguf::Metadata metadata;
  metadata.set("general.name", {std::string("\x1B]0;title\x07\x1B[2Jname")});
  metadata.set("key\x1B[31m", {std::string("\x1B[31m")});
  write_model(path, metadata, std::vector<gguf::NewTensor>{{"tensor\x1B[31m", quant::TensorType::F32, {1}}});
  for (const char* flag : {"--tensors", "--full", "--json"}) {
    const ProcessResult result = run_loadline({"inspect", path.string(), flag});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.out, AllOf(HasSubstr("name"), Not(HasSubstr("\x1B")), Not(HasSubstr("\x07"))));
  }
}

TEST_F(Inspect, ExplainsItself) {
  const ProcessResult help = run_loadline({"inspect", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("MODEL"));
  const ProcessResult nothing = run_loadline({"inspect"});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("MODEL"));
}

}  // namespace
}  // namespace loadline::test

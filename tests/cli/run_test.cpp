// `loadline run` as a user runs it, on the demo model of the repository.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "authoring/shapes.h"
#include "authoring/synthesize.h"
#include "model/format_mix.h"
#include "support/process.h"
#include "support/small_models.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr const char* kPrompt = "Once upon a time there was a ship";

// With one thread unless the test says otherwise: on a busy machine two spend their time waiting for each other.
ProcessResult run(std::vector<std::string> arguments, const std::string& input = "") {
  const bool threads_named = std::ranges::find(arguments, "-t") != arguments.end();
  if (!threads_named) arguments.insert(arguments.begin(), {"-t", "1"});
  arguments.insert(arguments.begin(), "run");
  ProcessOptions options;
  options.input = input;
  return run_loadline(arguments, options);
}

class RunCommand : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    const auto path = folder_.path() / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  [[nodiscard]] std::string in_folder(const std::string& name) const { return (folder_.path() / name).string(); }

  TemporaryFolder folder_;
};

TEST_F(RunCommand, WithoutOptionsTheDemoModelTellsAStory) {
  const ProcessResult result = run({"--seed", "1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(StartsWith("Once upon a time"), EndsWith(".\n")));
  EXPECT_GT(result.out.size(), 200U);
  EXPECT_THAT(result.err, AllOf(StartsWith("demo model · "), HasSubstr("in RAM · context 512\n"),
                                HasSubstr(" tok/s · generated "), HasSubstr(" (predicted "), HasSubstr("loaded in ")));
}

TEST_F(RunCommand, TheTextToContinueComesFromAnOptionAFileOrStandardInput) {
  const std::vector<std::string> greedy = {"--temp", "0", "-n", "8"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), greedy.begin(), greedy.end());
    return arguments;
  };
  const std::string expected = run(with({"-p", kPrompt})).out;
  EXPECT_THAT(expected, StartsWith(kPrompt));
  EXPECT_GT(expected.size(), std::string(kPrompt).size() + 8);
  // The end of line that editors leave is not part of the text.
  EXPECT_EQ(run(with({"-f", write("prompt.txt", std::string(kPrompt) + "\n")})).out, expected);
  EXPECT_EQ(run(with({"-f", "-"}), std::string(kPrompt) + "\n").out, expected);
  EXPECT_EQ(run(with({}), kPrompt).out, expected);
  EXPECT_EQ(run(with({"-p", kPrompt}), "not this").out, expected);
  EXPECT_EQ(kPrompt + run(with({"-p", kPrompt, "--no-display-prompt"})).out, expected);
}

TEST_F(RunCommand, OneSeedGivesOneTextWhateverTheNumberOfThreads) {
  const auto with_seed = [](const char* seed, const char* threads) {
    return run({"-p", kPrompt, "-n", "16", "--temp", "1.2", "--seed", seed, "-t", threads}).out;
  };
  const std::string text = with_seed("7", "1");
  EXPECT_EQ(with_seed("7", "1"), text);
  EXPECT_EQ(with_seed("7", "2"), text);
  EXPECT_EQ(with_seed("7", "3"), text);
  EXPECT_NE(with_seed("8", "2"), text);
}

TEST_F(RunCommand, GeneratesAsManyTokensAsAskedFor) {
  EXPECT_THAT(run({"-p", kPrompt, "-n", "5"}).err, HasSubstr("generated 5 tokens"));
  const ProcessResult none = run({"-p", kPrompt, "-n", "0"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(none.out, std::string(kPrompt) + "\n");
}

TEST_F(RunCommand, SaysWhenTheContextIsFull) {
  const ProcessResult result = run({"-p", kPrompt, "-c", "64", "--ignore-eos"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("the context is full"));
}

TEST_F(RunCommand, QuietPrintsTheTextAlone) {
  const ProcessResult result = run({"-p", kPrompt, "-n", "5", "--temp", "0", "--quiet"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, run({"-p", kPrompt, "-n", "5", "--temp", "0"}).out);
  EXPECT_THAT(result.err, IsEmpty());
}

TEST_F(RunCommand, AnInterruptEndsTheTextAndStillPrintsTheFigures) {
  Process process({program().string(), "run", "-t", "1", "-c", "60000", "--ignore-eos"});
  ASSERT_TRUE(process.wait_for_out("Once upon a time there"));
  process.signal(SIGINT);
  const ProcessResult result = process.finish();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.out, EndsWith("\n"));
  EXPECT_THAT(result.err, AllOf(HasSubstr("stopped after "), HasSubstr(" tok/s"), Not(HasSubstr("context is full"))));
}

TEST_F(RunCommand, AnInterruptStopsThePromptToo) {
  std::string prompt;
  for (int i = 0; i < 8000; ++i) prompt += "one more time ";
  Process process({program().string(), "run", "-t", "1", "-c", "60000", "-f", write("long.txt", prompt + "THE-END")});
  ASSERT_TRUE(process.wait_for_out("THE-END"));  // printed before it is read by the model
  process.signal(SIGINT);
  const ProcessResult result = process.finish();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, AllOf(HasSubstr("stopped after 0 tokens"), HasSubstr("generated 0 tokens")));
}

TEST_F(RunCommand, AnInterruptStopsLoading) {
  const std::string model = in_folder("model.gguf");  // its data are a hole, so it takes no room on the disk
  ASSERT_EQ(run_loadline({"synth", "--shape", "qwen3-0.6b", "--type", "Q8_0", "--header-only", model}).exit_code, 0);
  Process process({program().string(), "run", "-m", model, "-p", "hello", "-c", "256"});
  ASSERT_TRUE(process.wait_for_err("context 256"));  // printed before loading
  process.signal(SIGTERM);
  const ProcessResult result = process.finish();
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_THAT(result.err, HasSubstr("stopped after "));
}

TEST_F(RunCommand, OutputThatCannotBeWrittenIsAnError) {
  const ProcessResult result = run_process({"/bin/sh", "-c", program().string() + " run -n 3 </dev/null >/dev/full"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("standard output cannot be written"));
}

// What a user gets wrong: the arguments, and what the sentence must say.
struct Mistake {
  std::vector<std::string> arguments;
  std::string part;
};

void expect_one_sentence(const Mistake& mistake) {
  const ProcessResult result = run(mistake.arguments);
  SCOPED_TRACE(testing::PrintToString(mistake.arguments));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, AllOf(StartsWith("loadline: "), HasSubstr(mistake.part)));
  EXPECT_LE(std::count(result.err.begin(), result.err.end(), '\n'), 2) << result.err;  // the sentence, and a hint
}

TEST_F(RunCommand, AFileThatIsNoModelIsOneSentence) {
  const std::string demo = (source_dir() / "models/demo.gguf").string();
  const auto whole = read_bytes(demo);
  write_bytes(in_folder("cut.gguf"), std::span(whole).first(whole.size() - 1000));
  write_bytes(in_folder("header.gguf"), std::span(whole).first(2000));
  gguf::Metadata other = small_metadata();
  other.set("general.architecture", gguf::Value{std::string("mamba")});
  write_model(in_folder("other.gguf"), other);
  const std::vector<Mistake> mistakes = {
      {{"-m", in_folder("missing.gguf")}, "missing.gguf: no such file"},
      {{"-m", folder_.path().string()}, "is a directory"},
      {{"-m", write("text.gguf", "Dear model,\nhow are you?\n")}, "text.gguf: is a text file"},
      {{"-m", write("empty.gguf", "")}, "empty.gguf: is empty"},
      {{"-m", write("bytes.gguf", std::string("\x01\x02\x03\x00\xFF", 5))}, "bytes.gguf"},
      {{"-m", in_folder("cut.gguf")}, "but the file has"},
      {{"-m", in_folder("header.gguf")}, "header.gguf"},
      {{"-m", in_folder("other.gguf")}, "architecture \"mamba\" is not supported"},
  };
  for (Mistake mistake : mistakes) {
    mistake.arguments.insert(mistake.arguments.end(), {"-p", "hello"});
    expect_one_sentence(mistake);
  }
}

TEST_F(RunCommand, AMistypedFlagOrNumberIsOneSentence) {
  const std::vector<Mistake> mistakes = {
      {{"--no-such-flag"}, "--no-such-flag"},
      {{"stray"}, "stray"},
      {{"-n", "many"}, "\"many\" is not a whole number"},
      {{"-n", "1.5"}, "\"1.5\" is not a whole number"},
      {{"-n", "-2"}, "-2 is out of range"},
      {{"-n", "99999999999999999999"}, "out of range"},
      {{"-n"}, "needs a value"},
      {{"-c", "x"}, "-c"},
      {{"-c", "-5"}, "-c"},
      {{"-b", "0"}, "-b"},
      {{"-t", "0"}, "-t"},
      {{"-t", "two"}, "-t"},
      {{"--temp", "hot"}, "\"hot\" is not a number"},
      {{"--temp", "-1"}, "--temp"},
      {{"--top-k", "-3"}, "--top-k"},
      {{"--top-k", "99999999999"}, "--top-k: 99999999999 is out of range"},
      {{"--top-p", "1.5"}, "--top-p"},
      {{"--seed", "today"}, "\"today\" is not a whole number"},
      {{"--logit-bias", "7"}, "--logit-bias"},
      {{"--logit-bias", "99999+1"}, "99999"},
      {{"-ctk", "q4_0"}, "-ctk"},
      {{"-p", "a", "-f", "b"}, "--file"},
      {{"--ram", "much"}, "--ram"},
  };
  for (const Mistake& mistake : mistakes) expect_one_sentence(mistake);
}

TEST_F(RunCommand, APromptThatCannotBeReadIsOneSentence) {
  const std::vector<Mistake> mistakes = {
      {{"-f", in_folder("missing.txt")}, "missing.txt: no such file"},
      {{"-f", folder_.path().string()}, "is a directory"},
      {{"-p", "caf\xE9 noir"}, "not valid UTF-8: byte 4 of 9"},
      {{"-f", write("latin1.txt", "\xFF\xFE")}, "not valid UTF-8: byte 1 of 2"},
      {{"-m", (source_dir() / "models/demo.gguf").string()}, "there is no prompt"},
  };
  for (const Mistake& mistake : mistakes) expect_one_sentence(mistake);
}

TEST_F(RunCommand, APromptLongerThanTheContextIsRefusedWithBothNumbers) {
  std::string prompt;
  for (int i = 0; i < 100; ++i) prompt += "ship ";
  const ProcessResult result = run({"-p", prompt, "-c", "64"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, testing::ContainsRegex("the prompt has [0-9]{3} tokens, but the context holds 64\n"));
}

TEST_F(RunCommand, HelpShowsFlagsAsTheyAreTypedInLinesThatFit) {
  const ProcessResult help = run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, AllOf(HasSubstr("-ctk, --cache-type-k"), HasSubstr("-ngl, --n-gpu-layers"),
                              HasSubstr("(default 0.8)"), Not(HasSubstr("--ctk")), Not(HasSubstr("INT"))));
  std::istringstream lines(help.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

// Its memory is compared with the plan once more behind the last token, by which time all has been written.
TEST_F(RunCommand, ThatHoldsMoreThanPlannedInTheEndFailsAndSaysSo) {
  ProcessOptions options;
  options.variables = {{"LD_PRELOAD", std::getenv("HOLDING_MORE_LIBRARY")}, {"HOLDING_MORE_FROM", "there was a ship"}};
  const ProcessResult result = run_loadline({"run", "-t", "1", "-p", kPrompt, "-n", "4"}, options);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, StartsWith(kPrompt));
  EXPECT_THAT(result.err, AllOf(HasSubstr("loadline: the process holds "), HasSubstr("where the plan says")));
}

// What a penalty turns into a reward is a word of the prompt, before any was generated.
TEST_F(RunCommand, PenaltiesSeeThePrompt) {
  const std::vector<std::string> one = {"-p", "Once there was a ship and Tom", "--temp", "0", "-n", "1"};
  EXPECT_THAT(run(one).out, Not(EndsWith("Tom a\n")));
  std::vector<std::string> rewarded = one;
  rewarded.insert(rewarded.end(), {"--presence-penalty", "-100"});
  EXPECT_EQ(run(rewarded).out, "Once there was a ship and Tom a\n");
}

// A copy of a model's file with one more key, a number; the bytes that are put in keep the tensors' alignment.
void copy_with_number(const std::filesystem::path& from, const std::filesystem::path& to, const std::string& key,
                      std::int32_t value) {
  std::ifstream file(from, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto number = [](auto n) { return std::string(reinterpret_cast<const char*>(&n), sizeof n); };
  const auto text = [&](const std::string& t) { return number(std::uint64_t{t.size()}) + t; };
  std::string added =
      text(key) + number(std::uint32_t{5}) + number(value) + text("general.filling") + number(std::uint32_t{8});
  added += text(std::string(31 - (added.size() + 7) % 32, '.'));
  std::uint64_t keys = 0;
  std::memcpy(&keys, bytes.data() + 16, sizeof keys);
  keys += 2;
  std::memcpy(bytes.data() + 16, &keys, sizeof keys);
  std::ofstream(to, std::ios::binary) << bytes.insert(24, added);
}

TEST_F(RunCommand, SamplesAsTheModelsFileRecommends) {
  const std::string demo = (source_dir() / "models/demo.gguf").string();
  const std::string model = in_folder("recommends.gguf");
  copy_with_number(demo, model, "general.sampling.top_k", 1);
  const std::vector<std::string> rest = {"-p", kPrompt, "-n", "8", "--seed", "3"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), rest.begin(), rest.end());
    return run(arguments);
  };
  const ProcessResult result = with({"-m", model});
  EXPECT_EQ(result.out, with({"-m", demo, "--temp", "0"}).out) << result.err;
  EXPECT_THAT(result.err, HasSubstr("sampling as the model's file recommends: top-k 1\n"));
  EXPECT_THAT(with({"-m", model, "--top-k", "40"}).err, Not(HasSubstr("recommends")));
}

// SentencePiece's first token of a text loses its blank, the first one after a prompt does not.
TEST_F(RunCommand, TheBlankBehindThePromptStays) {
  const authoring::Shape shape{
      "tiny", "Tiny", "llama", authoring::VocabularyKind::SentencePiece, 1, 64, 64, 2, 2, 32, 512, 256, 1e4F,
      1e-5F,  false,  0};
  const std::string model = in_folder("tiny.gguf");
  authoring::synthesize(shape, *model::find_mix("Q8_0"), {.seed = 1}, model, [](Bytes, Bytes) {});
  const ProcessResult result = run(
      {"-m", model, "-p", "tea", "-n", "8", "--temp", "0", "--grammar-file", write("one.gbnf", "root ::= \" at\"")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "tea at\n");
}

}  // namespace
}  // namespace loadline::test

// What every command does where standard streams are full, closed or left, and with the files it is told to write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>

#include "base/file.h"
#include "gguf/gguf.h"
#include "gguf/writer.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

// By a shell, which redirects: "$L" is the program, "$M" the demo model, the folder is the test's.
class Streams : public testing::Test {
 protected:
  Streams() : demo_(source_dir() / "models" / "demo.gguf") {}

  ProcessResult shell(const std::string& command) const {
    ProcessOptions options;
    options.variables = {{"L", program().string()}, {"M", demo_.string()}};
    return run_process({"/bin/sh", "-c", "cd '" + folder_.path().string() + "' && " + command}, options);
  }
  fs::path at(const std::string& name) const { return folder_.path() / name; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }
  static std::string read(const fs::path& path) { return read_text_file(path, 64 * kMiB); }
  // The demo model with another name.
  void write_named(const fs::path& path, const std::string& name, const std::string& tensor = "") const {
    const gguf::Model model = gguf::open_model(demo_);
    gguf::Metadata metadata = model.metadata;
    metadata.set("general.name", {name});
    std::vector<gguf::NewTensor> tensors;
    for (const gguf::TensorInfo& one : model.tensors) {
      tensors.push_back({one.name, one.type, {one.shape.begin(), one.shape.begin() + one.dimensions}});
    }
    if (!tensor.empty()) tensors.push_back({tensor, quant::TensorType::F32, {4}});
    gguf::Writer writer(path, metadata, tensors);
    writer.leave_hole();
    writer.finish();
  }

  fs::path demo_;
  TemporaryFolder folder_;
};

// Each command as it prints something on standard output.
const std::vector<std::string> kCommands = {
    "--help",
    "--version",
    "run --help",
    "run -p Once -n 2 -t 1",
    "run -p Once -n 2 -t 1 --json",
    "plan",
    "plan --json",
    "devices",
    "devices --json",
    "inspect \"$M\"",
    "inspect \"$M\" --json",
    "tokenize \"$M\" --text a",
    "tokenize \"$M\" --text a --json",
    "tokenize \"$M\" --decode 1,2",
    "synth --list",
    "logits -m \"$M\" --tokens 1 -t 1 -o /dev/stdout",
    "plan -o -",
    "bench -p 1 -n 0 -r 1 -t 1 -c 64",
};

TEST_F(Streams, AFullStandardOutputIsOneSentenceAndTwo) {
  for (const std::string& command : kCommands) {
    const ProcessResult result = shell("exec \"$L\" " + command + " > /dev/full");
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_THAT(result.err, AllOf(HasSubstr("loadline: "), HasSubstr("cannot be written"))) << command;
    EXPECT_THAT(result.err, Not(HasSubstr("internal"))) << command;
  }
}

TEST_F(Streams, AClosedStandardOutputIsOneSentenceAndTwo) {
  for (const std::string& command : kCommands) {
    const ProcessResult result = shell("exec \"$L\" " + command + " >&-");
    EXPECT_EQ(result.exit_code, 2) << command << result.err;
    EXPECT_THAT(result.err, HasSubstr("cannot be written")) << command;
  }
}

TEST_F(Streams, AReaderThatLeftIsOneSentenceAndTwoWhereItsSignalIsIgnored) {
  for (const std::string& command : kCommands) {
    // The pipe's reader, which is this shell, closes it before the program begins.
    const ProcessResult ignored = shell("mkfifo p; exec 3<>p; exec 4>p; exec 3<&-; trap '' PIPE; \"$L\" " + command +
                                        " >&4; c=$?; rm p; exit $c");
    EXPECT_EQ(ignored.exit_code, 2) << command << ignored.err;
    EXPECT_THAT(ignored.err, HasSubstr("cannot be written")) << command;
  }
}

TEST_F(Streams, AStandardErrorThatCannotBeWrittenTakesNothingFromTheResult) {
  const std::string expected = shell("exec \"$L\" run -p Once -n 3 -t 1 --temp 0").out;
  EXPECT_THAT(expected, StartsWith("Once"));
  for (const char* where : {"2>&-", "2>/dev/full"}) {
    const ProcessResult run = shell(std::string("exec \"$L\" run -p Once -n 3 -t 1 --temp 0 ") + where);
    EXPECT_EQ(run.exit_code, 0) << where;
    EXPECT_EQ(run.out, expected) << where;
    const ProcessResult ignored = shell(std::string("exec \"$L\" run -fa on -p Once -n 3 -t 1 --temp 0 ") + where);
    EXPECT_EQ(ignored.out, expected) << where;
    EXPECT_EQ(shell(std::string("exec \"$L\" synth --shape tiny --header-only x.gguf ") + where).exit_code, 0);
    EXPECT_EQ(shell(std::string("exec \"$L\" quantize \"$M\" q.gguf Q8_0 ") + where).exit_code, 0);
    EXPECT_EQ(shell(std::string("exec \"$L\" plan -m none.gguf ") + where).exit_code, 2) << where;
  }
}

TEST_F(Streams, AReaderThatLeftEndsACommandByItsSignalUnlessThatIsIgnored) {
  const ProcessResult result = shell("mkfifo p; exec 3<>p; exec 4>p; exec 3<&-; \"$L\" plan >&4; c=$?; rm p; exit $c");
  EXPECT_EQ(result.exit_code, 128 + SIGPIPE);
  EXPECT_THAT(result.err, IsEmpty());
}

// As when a program that started this one closes the pipe of its messages.
TEST_F(Streams, AReaderOfMessagesThatLeftTakesNothingFromTheResult) {
  const ProcessResult result = shell(
      "mkfifo p; exec 3<>p; exec 4>p; exec 3<&-; \"$L\" run -p Once -n 3 -t 1 --temp 0 2>&4; c=$?; rm p; exit $c");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, StartsWith("Once"));
}

// Else what does not fit into the pipe at once is lost.
TEST_F(Streams, AStandardOutputThatDoesNotWaitIsWaitedFor) {
  const std::string expected = shell("exec \"$L\" inspect --full \"$M\"").out;
  ASSERT_GT(expected.size(), 4096U);  // more than the pipe holds
  const ProcessResult result = shell(
      "python3 -c 'import fcntl, os, subprocess, sys; r, w = os.pipe(); os.set_blocking(w, False); fcntl.fcntl(w, "
      "1031, 4096);"
      " p = subprocess.Popen(sys.argv[1:], stdout=w); os.close(w); sys.stdout.buffer.write(open(r, \"rb\").read());"
      " sys.exit(p.wait())' \"$L\" inspect --full \"$M\"");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, expected);
}

// A pipe that nobody writes to, nor closes.
TEST_F(Streams, AStandardInputWithoutEndIsNotReadWhereThePromptIsGiven) {
  const ProcessResult result = shell("mkfifo p; \"$L\" run -p Once -n 1 -t 1 0<>p; c=$?; rm p; exit $c");
  EXPECT_EQ(result.exit_code, 0);
}

TEST_F(Streams, AStandardInputWithoutEndIsReadUpToABound) {
  const ProcessResult result = shell("exec \"$L\" run -f - -n 1 -t 1 < /dev/zero");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("standard input: is too large here (more than 64.0 MiB)"));
}

// Else the first file that is opened would become standard output, and be written to.
TEST_F(Streams, AClosedStreamIsNeverTakenForAFile) {
  const ProcessResult result = shell("exec \"$L\" quantize \"$M\" q.gguf Q8_0 <&- >&- 2>&-");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NO_THROW(gguf::open_model(at("q.gguf")));
  EXPECT_EQ(shell("exec \"$L\" run -f - -n 1 <&-").exit_code, 2);
}

TEST_F(Streams, AnOutputThatIsAnInputIsRefusedUnderWhateverName) {
  fs::copy_file(demo_, at("m.gguf"));
  fs::create_symlink("m.gguf", at("link.gguf"));
  fs::create_hard_link(at("m.gguf"), at("hard.gguf"));
  const std::string before = read(at("m.gguf"));
  for (const char* command :
       {"quantize m.gguf m.gguf Q4_0", "quantize m.gguf link.gguf Q4_0", "quantize link.gguf m.gguf Q4_0",
        "quantize m.gguf ./hard.gguf Q4_0", "plan -m m.gguf -o m.gguf", "plan -m link.gguf -o hard.gguf",
        "logits -m m.gguf --tokens 1 -t 1 --out link.gguf"}) {
    const ProcessResult result = shell(std::string("exec \"$L\" ") + command);
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_THAT(result.err, HasSubstr("is read from, and cannot be written to as well")) << command;
    EXPECT_EQ(read(at("m.gguf")), before) << command;
  }
  EXPECT_EQ(shell("\"$L\" plan -o p.json && exec \"$L\" plan --plan p.json -o p.json").exit_code, 2);
}

TEST_F(Streams, ALaterPartOfASplitModelIsAnInputToo) {
  const gguf::Model model = gguf::open_model(demo_);
  const auto write_part = [&](std::uint16_t number, std::size_t begin, std::size_t end) {
    gguf::Metadata metadata = number == 0 ? model.metadata : gguf::Metadata();
    metadata.set("split.no", {number});
    metadata.set("split.count", {std::uint16_t{2}});
    std::vector<gguf::NewTensor> tensors;
    for (std::size_t i = begin; i < end; ++i) {
      const gguf::TensorInfo& one = model.tensors[i];
      tensors.push_back({one.name, one.type, {one.shape.begin(), one.shape.begin() + one.dimensions}});
    }
    gguf::Writer writer(at("s-0000" + std::to_string(number + 1) + "-of-00002.gguf"), metadata, tensors);
    writer.leave_hole();
    writer.finish();
  };
  write_part(0, 0, 4);
  write_part(1, 4, model.tensors.size());
  const std::string before = read(at("s-00002-of-00002.gguf"));
  const ProcessResult result = shell("exec \"$L\" quantize s-00001-of-00002.gguf s-00002-of-00002.gguf Q4_0");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("is read from"));
  EXPECT_EQ(read(at("s-00002-of-00002.gguf")), before);
}

TEST_F(Streams, PipesAndDescriptorsAreWrittenToAndLinksUnderTemporaryNamesAreNot) {
  // For one machine, since the memory that is free changes.
  EXPECT_EQ(shell("\"$L\" devices --json > hw && \"$L\" plan --hardware hw --json > expected.json").exit_code, 0);
  const std::string plan = read(at("expected.json"));
  EXPECT_EQ(shell("mkfifo p; cat p > got.json & until test -p p; do :; done; "
                  "\"$L\" plan --hardware hw -o p > /dev/null; wait; test -p p")
                .exit_code,
            0);
  EXPECT_EQ(read(at("got.json")), plan);
  EXPECT_THAT(shell("exec \"$L\" plan --hardware hw -o /dev/stdout").out, StartsWith(plan));
  std::ofstream(at("precious")) << "precious";
  fs::create_symlink("precious", at("x.json.part"));
  EXPECT_EQ(shell("exec \"$L\" plan --hardware hw -o x.json").exit_code, 0);
  EXPECT_EQ(read(at("precious")), "precious");
  EXPECT_EQ(read(at("x.json")), plan);
}

TEST_F(Streams, ALimitOnTheSizeOfFilesIsAnErrorAndLeavesNothing) {
  for (const char* command :
       {"quantize \"$M\" q.gguf Q8_0", "logits -m \"$M\" --tokens 1,2,3,4,5,6,7,8 -t 1 -o x.bin", "plan -o x.json"}) {
    const ProcessResult result = shell(std::string("ulimit -f 4; exec \"$L\" ") + command);
    EXPECT_EQ(result.exit_code, 2) << command << result.err;
    EXPECT_THAT(result.err, HasSubstr("cannot be written (File too large)")) << command;
    EXPECT_THAT(names(), IsEmpty()) << command;
  }
}

// Whatever ends it: nothing half done lies about. (By SIGKILL only where the file system has files without names.)
TEST_F(Streams, AKilledCommandLeavesNothing) {
  for (const char* signal : {"TERM", "HUP", "KILL"}) {
    const ProcessResult result = shell(
        "mkdir d; \"$L\" synth --shape llama-3-8b d/big.gguf & p=$!; "
        "until ls -l /proc/$p/fd | grep -q '/d/'; do :; done; "
        "ls d | grep -q partial && named=1; kill -" +
        std::string(signal) + " $p; wait $p; c=$?; test \"$named\" && test " + signal +
        " = KILL && rm d/*; ls d; rmdir d; exit $c");
    EXPECT_NE(result.exit_code, 0) << signal;
    EXPECT_THAT(result.out, IsEmpty()) << signal;
    EXPECT_THAT(names(), IsEmpty()) << signal;
  }
}

TEST_F(Streams, EscapeSequencesOfAModelNeverReachTheTerminal) {
  const std::string evil = "x\033]0;pwned\007\033[31mred\u202e\u009b2J\x7f";
  write_named(at("evil.gguf"), evil);
  write_named(at("tensor.gguf"), "fine", "blk.0.\033[2Jx");
  fs::copy_file(at("evil.gguf"), at("a\033[31mb.gguf"));
  for (const std::string& command :
       {std::string("plan -m evil.gguf"), std::string("plan -m evil.gguf -v"), std::string("inspect evil.gguf"),
        std::string("inspect evil.gguf --full"), std::string("run -m evil.gguf -p a -n 1 -t 1"),
        std::string("plan -m tensor.gguf"), std::string("inspect tensor.gguf --tensors"),
        std::string("run -m evil.gguf -c 100000000 -p a"), std::string("quantize evil.gguf o.gguf Q8_0"),
        std::string("plan -m a*b.gguf"), std::string("inspect a*b.gguf --json"),
        std::string("inspect evil.gguf --json"), std::string("plan -m evil.gguf --json"),
        std::string("inspect a*b.gguf/none"), std::string("plan --gpu \"$(printf 'x\\033[2J')\""),
        std::string("run \"$(printf -- '--x\\033[2J')\""),
        std::string("tokenize evil.gguf --decode \"$(printf '\\033[2J')\""),
        std::string("logits evil.gguf --tokens \"$(printf '\\033[2J')\" -o x"),
        std::string("plan -m evil.gguf -ot \"$(printf '\\033[2J')=CPU\"")}) {
    const ProcessResult result = shell("exec \"$L\" " + command);
    for (const std::string& stream : {result.out, result.err}) {
      EXPECT_THAT(stream, AllOf(Not(HasSubstr("\033")), Not(HasSubstr("\007")), Not(HasSubstr("\u202e")),
                                Not(HasSubstr("\u009b")), Not(HasSubstr("\x7f"))))
          << command;
    }
  }
}

}  // namespace
}  // namespace loadline::test

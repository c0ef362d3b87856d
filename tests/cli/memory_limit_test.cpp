// A model three times as large as the memory it is given, in a control group of that size, measured from outside: it
// runs, the system never has to take memory back, and the disk is read as planned.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "authoring/shapes.h"
#include "authoring/synthesize.h"
#include "base/bytes.h"
#include "model/format_mix.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A control group with a limit on memory, version 1 or 2. Gone with what is left in it when destroyed.
class MemoryGroup {
 public:
  explicit MemoryGroup(Bytes limit) {
    const std::string name = "loadline-test-" + std::to_string(::getpid());
    std::error_code problem;
    const fs::path first = fs::path("/sys/fs/cgroup/memory") / name;
    const fs::path second = fs::path("/sys/fs/cgroup") / name;
    if (fs::create_directory(first, problem)) {
      path_ = first;
      // With swap, where the system counts it. Refused where it does not, which is as well.
      made_ = write("memory.limit_in_bytes", std::to_string(limit.value));
      (void)write("memory.memsw.limit_in_bytes", std::to_string(limit.value));
    } else if (fs::create_directory(second, problem)) {
      path_ = second;
      version_2_ = true;
      made_ = write("memory.max", std::to_string(limit.value));
    }
  }
  ~MemoryGroup() {
    std::error_code ignored;
    if (!path_.empty()) ::rmdir(path_.c_str());
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] std::string processes() const { return path_ / "cgroup.procs"; }
  [[nodiscard]] Bytes peak() const { return Bytes(number(version_2_ ? "memory.peak" : "memory.max_usage_in_bytes")); }
  // How often the limit was met and the system had to look for memory to take back.
  [[nodiscard]] std::uint64_t times_full() const {
    if (!version_2_) return number("memory.failcnt") + number("memory.memsw.failcnt");
    std::ifstream events(path_ / "memory.events");
    std::string key;
    for (std::uint64_t count = 0; events >> key >> count;) {
      if (key == "max") return count;
    }
    return 0;
  }

 private:
  bool write(const char* file, const std::string& text) {
    std::ofstream stream(path_ / file);
    return static_cast<bool>(stream << text << std::flush);
  }
  [[nodiscard]] std::uint64_t number(const char* file) const {
    std::uint64_t value = 0;
    std::ifstream(path_ / file) >> value;
    return value;
  }

  fs::path path_;
  bool version_2_ = false;
  bool made_ = false;
};

rusage children() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  return usage;
}

// Writes a file out and drops it from the page cache.
void forget(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY);
  ::fsync(descriptor);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
}

TEST(MemoryLimit, AModelThreeTimesAsLargeRunsWithinTheLimitAndReadsWhatWasPlanned) {
  constexpr Bytes kLimit = 48 * kMiB;
  constexpr Bytes kBudget = 44 * kMiB;  // the rest is what the kernel holds for a process besides
  const MemoryGroup group(kLimit);
  if (!group.made()) GTEST_SKIP() << "no control group with a limit on memory can be made here";

  const TemporaryFolder folder;
  const fs::path file = folder.path() / "large.gguf";
  const authoring::Shape shape{
      "large", "Large", "llama", authoring::VocabularyKind::Llama3, 24, 1024, 2816, 16, 4, 64, 4096, 2048, 1e4F,
      1e-5F,   false,   0};
  authoring::synthesize(shape, *model::find_mix("Q4_K_M"), {.seed = 1}, file, [](Bytes, Bytes) {});
  ASSERT_GT(fs::file_size(file), 3 * kLimit.value);
  forget(file);

  const std::vector<std::string> options = {"-m", file.string(), "-c",    "256",
                                            "-b", "64",          "--ram", std::to_string(kBudget.value)};
  std::vector<std::string> arguments = {"plan", "--json"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  const json plan = json::parse(run_loadline(arguments).out);
  std::uint64_t per_pass = 0;
  for (const json& slot : plan.at("stream")) per_pass += slot.at("bytes").get<std::uint64_t>();
  ASSERT_GT(per_pass, 2 * kLimit.value);

  const rusage before = children();
  arguments = {"/bin/sh",
               "-c",
               "echo $$ > \"$0\" && exec \"$@\"",
               group.processes(),
               program().string(),
               "run",
               "-p",
               "a",
               "-n",
               "9",
               "--ignore-eos",
               "--json"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  const ProcessResult result = run_process(arguments);
  const rusage after = children();
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const json figures = json::parse(result.out);
  EXPECT_EQ(figures.at("generation").at("tokens"), 9);
  EXPECT_LE(group.peak(), kLimit);
  EXPECT_EQ(group.times_full(), 0U);
  EXPECT_LT(after.ru_majflt - before.ru_majflt, 50) << "weights come by read, never by fault";

  // Nine passes, what was read ahead for a tenth, and the resident part once.
  const double passes = 9;
  const double read = 512.0 * static_cast<double>(after.ru_inblock - before.ru_inblock);
  const double loaded = static_cast<double>(fs::file_size(file) - per_pass);
  const double planned = passes * static_cast<double>(per_pass) + loaded;
  EXPECT_GT(read, planned * 0.97 - loaded);  // the resident part may have been in the page cache
  EXPECT_LT(read, planned * 1.03 + static_cast<double>(kLimit.value) / 2);
}

// As in a container: the limit is named as the budget, and another process holds some of it.
TEST(MemoryLimit, TheWholeLimitMayBeNamedAsTheBudget) {
  constexpr Bytes kLimit = 64 * kMiB;
  const MemoryGroup group(kLimit);
  if (!group.made()) GTEST_SKIP() << "no control group with a limit on memory can be made here";
  // The context takes what there is. The shell stays, and holds a few MiB.
  const ProcessResult result = run_process(
      {"/bin/sh", "-c", "echo $$ > \"$0\"; v=$(head -c 3000000 /dev/zero | tr '\\0' x); \"$@\"; echo ${#v} >&2",
       group.processes(), program().string(), "run", "-m", (source_dir() / "models/demo.gguf").string(), "-p",
       "Once upon a time", "-n", "3", "-np", "64", "-c", "max", "--ram", std::to_string(kLimit.value)});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, testing::HasSubstr("--ram 64.0 MiB is more than is available: the budget is "));
  EXPECT_THAT(result.err, testing::HasSubstr("3000000"));
  EXPECT_LE(group.peak(), kLimit);
}

}  // namespace
}  // namespace loadline::test

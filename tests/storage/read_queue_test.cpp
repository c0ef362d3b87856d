#include "storage/read_queue.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>

#include "storage/refused_calls.h"
#include "support/test_data.h"

namespace loadline::storage {
namespace {

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};

// A page-aligned buffer for direct reads.
class Buffer {
 public:
  explicit Buffer(std::size_t size)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment.value, size))), size_(size) {
    std::fill_n(memory_.get(), size, std::byte{0xEE});
  }
  [[nodiscard]] std::span<std::byte> all() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[], FreeMemory> memory_;
  std::size_t size_;
};

std::vector<char> random_file(const std::filesystem::path& path, std::size_t size) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::vector<char> content(size);
  std::ranges::generate(content, [&] { return static_cast<char>(random()); });
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(size));
  return content;
}

class ReadQueueTest : public testing::TestWithParam<QueueOptions> {
 protected:
  test::TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, ReadQueueTest,
                         testing::Values(QueueOptions{8, true, true}, QueueOptions{8, false, true},
                                         QueueOptions{8, true, false}, QueueOptions{1, false, false}),
                         [](const auto& kind) {
                           return std::string(kind.param.uring ? "Uring" : "Threads") +
                                  (kind.param.direct ? "Direct" : "Cached") + std::to_string(kind.param.depth);
                         });

TEST_P(ReadQueueTest, BringsTheBytesOfEveryReadWhereTheyWereAskedFor) {
  constexpr std::size_t kBlock = 8192;
  constexpr std::size_t kBlocks = 50;
  const auto first = random_file(folder_.path() / "a", kBlock * kBlocks);
  const auto second = random_file(folder_.path() / "b", kBlock * kBlocks);
  std::vector<File> files;
  files.push_back(File::open(folder_.path() / "a"));
  files.push_back(File::open(folder_.path() / "b"));
  const Buffer buffer(kBlock * kBlocks);
  const auto queue = open_queue(files, buffer.all(), GetParam());

  std::mt19937 random(5);
  std::size_t submitted = 0;
  std::size_t ended = 0;
  std::vector<bool> seen(kBlocks);
  while (ended < kBlocks) {
    while (submitted < kBlocks && submitted - ended < queue->depth()) {
      queue->submit({static_cast<std::uint32_t>(submitted % 2), Bytes(submitted * kBlock),
                     buffer.all().data() + submitted * kBlock, kBlock, submitted});
      ++submitted;
    }
    const Completion done = queue->wait();
    ++ended;
    ASSERT_EQ(done.result, static_cast<std::int64_t>(kBlock)) << queue->name();
    ASSERT_FALSE(seen[done.tag]);
    seen[done.tag] = true;
    const auto& content = done.tag % 2 == 0 ? first : second;
    ASSERT_TRUE(std::equal(content.begin() + static_cast<std::ptrdiff_t>(done.tag * kBlock),
                           content.begin() + static_cast<std::ptrdiff_t>((done.tag + 1) * kBlock),
                           reinterpret_cast<const char*>(buffer.all().data() + done.tag * kBlock)));
  }
}

TEST_P(ReadQueueTest, ReportsAShortReadAtTheEndOfTheFile) {
  random_file(folder_.path() / "a", 5000);
  std::vector<File> files;
  files.push_back(File::open(folder_.path() / "a"));
  const Buffer buffer(8192);
  const auto queue = open_queue(files, buffer.all(), GetParam());
  queue->submit({0, Bytes(0), buffer.all().data(), 8192, 3});
  const Completion done = queue->wait();
  EXPECT_EQ(done.tag, 3U);
  EXPECT_EQ(done.result, 5000);
}

TEST_P(ReadQueueTest, ReportsNothingReadWhereTheFileWasCut) {
  random_file(folder_.path() / "a", 16384);
  std::vector<File> files;
  files.push_back(File::open(folder_.path() / "a"));
  std::filesystem::resize_file(folder_.path() / "a", 4096);
  const Buffer buffer(4096);
  const auto queue = open_queue(files, buffer.all(), GetParam());
  queue->submit({0, Bytes(8192), buffer.all().data(), 4096, 1});
  EXPECT_EQ(queue->wait().result, 0);
}

TEST_P(ReadQueueTest, KeepsReadingAFileThatWasDeleted) {
  const auto content = random_file(folder_.path() / "a", 4096);
  std::vector<File> files;
  files.push_back(File::open(folder_.path() / "a"));
  std::filesystem::remove(folder_.path() / "a");
  const Buffer buffer(4096);
  const auto queue = open_queue(files, buffer.all(), GetParam());
  queue->submit({0, Bytes(0), buffer.all().data(), 4096, 1});
  EXPECT_EQ(queue->wait().result, 4096);
  EXPECT_TRUE(std::equal(content.begin(), content.end(), reinterpret_cast<const char*>(buffer.all().data())));
}

TEST_P(ReadQueueTest, EndsWithReadsInFlight) {
  random_file(folder_.path() / "a", 1 << 20);
  std::vector<File> files;
  files.push_back(File::open(folder_.path() / "a"));
  const Buffer buffer(1 << 20);
  const auto queue = open_queue(files, buffer.all(), GetParam());
  queue->submit({0, Bytes(0), buffer.all().data(), 1 << 20, 1});
}

// What a queue became, and whether it brings the right bytes.
void expect_queue(const std::filesystem::path& folder, std::string_view name) {
  const auto content = random_file(folder / "a", 16384);
  std::vector<File> files;
  files.push_back(File::open(folder / "a"));
  const Buffer buffer(16384);
  const auto queue = open_queue(files, buffer.all(), {.depth = 4});
  EXPECT_EQ(queue->name(), name);
  for (std::size_t i = 0; i < 4; ++i) queue->submit({0, Bytes(i * 4096), buffer.all().data() + i * 4096, 4096, i});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(queue->wait().result, 4096);
  EXPECT_TRUE(std::equal(content.begin(), content.end(), reinterpret_cast<const char*>(buffer.all().data())));
}

TEST(ReadQueue, UsesThreadsWhereTheSystemRefusesIoUring) {
  const test::TemporaryFolder folder;
  // No such call (old kernels), not permitted (containers), and rings that can be made but not used.
  for (const test::Refusal refusal :
       {test::Refusal{SYS_io_uring_setup, ENOSYS}, test::Refusal{SYS_io_uring_setup, EPERM},
        test::Refusal{SYS_io_uring_enter, EPERM}, test::Refusal{SYS_io_uring_register, EPERM}}) {
    if (!test::run_with_refusals({refusal}, [&] { expect_queue(folder.path(), "threads, direct"); })) {
      GTEST_SKIP() << "this machine allows no seccomp filters";
    }
  }
}

TEST(ReadQueue, ReadsThroughThePageCacheWhereTheFileSystemRefusesDirectReads) {
  const test::TemporaryFolder folder;
  const std::vector<test::Refusal> no_direct = {{SYS_openat, EINVAL, O_DIRECT}};
  if (!test::run_with_refusals(no_direct, [&] { expect_queue(folder.path(), "io_uring, cached"); })) {
    GTEST_SKIP() << "this machine allows no seccomp filters";
  }
  EXPECT_TRUE(test::run_with_refusals({{SYS_openat, EINVAL, O_DIRECT}, {SYS_io_uring_setup, ENOSYS}},
                                      [&] { expect_queue(folder.path(), "threads, cached"); }));
}

TEST(ReadQueue, FallsBackToCachedReadsWhereDirectOnesAreRefused) {
  // procfs never grants O_DIRECT, and tmpfs did not before Linux 6.6.
  std::vector<File> files;
  files.push_back(File::open("/proc/self/exe"));
  test::TemporaryFolder folder;
  const Buffer buffer(4096);
  const auto queue = open_queue(files, buffer.all(), {4, false, true});
  EXPECT_TRUE(queue->name().ends_with("cached"));
  queue->submit({0, Bytes(0), buffer.all().data(), 4096, 0});
  EXPECT_EQ(queue->wait().result, 4096);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(buffer.all().data()), 4),
            "\x7f"
            "ELF");
}

}  // namespace
}  // namespace loadline::storage

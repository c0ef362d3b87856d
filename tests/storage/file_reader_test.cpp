#include "storage/file_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>

#include "base/error.h"
#include "storage/read_rate.h"
#include "support/test_data.h"

namespace loadline::storage {
namespace {

constexpr std::size_t kSize = (std::size_t{3} << 20) + 1000;

class FileReaderTest : public testing::Test {
 protected:
  FileReaderTest() {
    std::mt19937 random(3);
    content_.resize(kSize);
    std::ranges::generate(content_, [&] { return static_cast<std::byte>(random()); });
    std::ofstream(path_, std::ios::binary).write(reinterpret_cast<const char*>(content_.data()), kSize);
    files_.push_back(File::open(path_));
  }

  // Writes the file out and drops it from the page cache.
  void drop() {
    const int descriptor = ::open(path_.c_str(), O_RDONLY);
    ::fsync(descriptor);
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  }

  std::size_t cached_pages() {
    const std::size_t size = content_.size();
    void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, files_[0].descriptor(), 0);
    std::vector<unsigned char> pages((size + 4095) / 4096);
    ::mincore(map, size, pages.data());
    ::munmap(map, size);
    return static_cast<std::size_t>(std::ranges::count_if(pages, [](unsigned char bits) { return (bits & 1) != 0; }));
  }

  void expect_content(std::size_t offset, std::size_t size) {
    const std::size_t capacity = FileReader::buffer_size(size);
    const std::unique_ptr<std::byte[], decltype(&std::free)> buffer(
        static_cast<std::byte*>(std::aligned_alloc(4096, capacity)), &std::free);
    const auto got = FileReader(files_).read(0, Bytes(offset), size, {buffer.get(), capacity});
    ASSERT_EQ(got.size(), size);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), content_.begin() + static_cast<std::ptrdiff_t>(offset)))
        << size << " bytes at " << offset;
  }

  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "file";
  std::vector<std::byte> content_;
  std::vector<File> files_;
};

TEST_F(FileReaderTest, BringsAnyRangeWhetherItIsCachedOrNot) {
  std::mt19937 random(9);
  for (int i = 0; i < 60; ++i) {
    if (i % 3 == 0) drop();
    const std::size_t offset = random() % kSize;
    expect_content(offset, 1 + random() % (kSize - offset));
  }
  drop();
  expect_content(0, kSize);
  expect_content(kSize - 1, 1);
}

TEST_F(FileReaderTest, LeavesThePageCacheAsItIs) {
  drop();
  if (cached_pages() != 0) GTEST_SKIP() << "this file system keeps its files in memory";
  for (std::size_t offset = 0; offset + kSize / 10 <= kSize; offset += kSize / 10) expect_content(offset, kSize / 10);
  EXPECT_EQ(cached_pages(), 0U);
}

// Reading on from where the system's own read-ahead ended would make it read ahead again, through the whole file.
TEST_F(FileReaderTest, DoesNotGoOnWithAReadAheadThatAnotherBegan) {
  constexpr std::size_t kLarge = std::size_t{32} << 20;
  content_.resize(kLarge);
  std::ofstream(path_, std::ios::binary).write(reinterpret_cast<const char*>(content_.data()), kLarge);
  drop();
  if (cached_pages() != 0) GTEST_SKIP() << "this file system keeps its files in memory";
  std::vector<std::byte> header(128 << 10);
  files_[0].read_at(Bytes(0), header);
  files_[0].read_at(Bytes(header.size()), header);
  for (std::size_t offset = 0; offset + kLarge / 64 <= kLarge; offset += kLarge / 64) {
    expect_content(offset, kLarge / 64);
  }
  EXPECT_LT(cached_pages(), kLarge / 4096 / 2) << "more than the system reads ahead of a header";
}

TEST_F(FileReaderTest, AFileThatWasCutIsAClearError) {
  std::filesystem::resize_file(path_, 5000);
  try {
    expect_content(4000, 2000);
    FAIL() << "bytes that are not there were read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::DeviceFailure);
    EXPECT_THAT(error.what(), testing::HasSubstr("ended early at byte 5000"));
  }
}

// What a load would read, and how fast, is found out without bringing anything into the page cache.
TEST_F(FileReaderTest, TellsHowFastTheDiskIsAndWhatNeedsNone) {
  drop();
  if (cached_pages() > 0) GTEST_SKIP() << "this file system keeps its files in memory";
  EXPECT_EQ(cached_bytes(files_[0], Bytes(0), Bytes(kSize)), Bytes(0));
  constexpr std::size_t kBuffer = std::size_t{1} << 20;
  const std::unique_ptr<std::byte[], decltype(&std::free)> buffer(
      static_cast<std::byte*>(std::aligned_alloc(4096, kBuffer)), &std::free);
  if (const auto rate = read_rate(files_, {buffer.get(), kBuffer})) EXPECT_GT(*rate, 0);
  EXPECT_EQ(cached_pages(), 0U);
  EXPECT_EQ(read_rate({}, {buffer.get(), kBuffer}), std::nullopt);
  EXPECT_EQ(read_rate(files_, {}), std::nullopt);
}

}  // namespace
}  // namespace loadline::storage

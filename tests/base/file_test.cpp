#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>

#include "support/refusal.h"
#include "support/test_data.h"

namespace loadline {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  fs::path write(const std::string& name, const std::string& text) {
    fs::path path = folder_.path() / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  test::TemporaryFolder folder_;
};

std::string read(const File& file, std::uint64_t offset, std::size_t count) {
  std::string text(count, '?');
  file.read_at(Bytes(offset), std::as_writable_bytes(std::span(text)));
  return text;
}

TEST_F(FileTest, ReadsAnyRangeOfARegularFile) {
  const File file = File::open(write("model.gguf", "0123456789"));
  EXPECT_EQ(file.size(), Bytes(10));
  EXPECT_EQ(read(file, 3, 4), "3456");
  EXPECT_EQ(read(file, 0, 10), "0123456789");
  EXPECT_EQ(read(file, 10, 0), "");
}

TEST_F(FileTest, ReadingPastTheEndSaysWhereTheFileEnds) {
  const fs::path path = write("cut.gguf", "0123456789");
  const File file = File::open(path);
  test::expect_refused([&] { read(file, 8, 5); }, path.string(), "ends at byte 10", "3 more bytes");
  test::expect_refused([&] { read(file, 100, 1); }, "1 more bytes");
}

TEST_F(FileTest, AFileThatShrinksAfterItWasOpenedIsAnErrorNotACrash) {
  const fs::path path = write("shrinking.gguf", "0123456789");
  const File file = File::open(path);
  fs::resize_file(path, 4);
  test::expect_refused([&] { read(file, 0, 10); }, "ends at byte 4");
}

TEST_F(FileTest, SaysWhyAFileCannotBeOpened) {
  const fs::path missing = folder_.path() / "missing.gguf";
  test::expect_refused([&] { File::open(missing); }, missing.string(), "no such file");
  test::expect_refused([&] { File::open(folder_.path()); }, "is a directory");
  test::expect_refused([&] { File::open("/dev/null"); }, "/dev/null", "a device or pipe");
  test::expect_refused([&] { File::open(""); }, "no such file");
  test::expect_refused([&] { File::open(write("a", "") / "b"); }, "Not a directory");
}

TEST_F(FileTest, AFileThatMayNotBeReadIsNamedWithTheReason) {
  const fs::path path = write("secret.gguf", "x");
  fs::permissions(path, fs::perms::none);
  fs::permissions(folder_.path(), fs::perms::all);
  const uid_t before = ::geteuid();
  ASSERT_EQ(::seteuid(before == 0 ? 65534 : before), 0);  // root may read everything: be nobody for a moment
  test::expect_refused([&] { File::open(path); }, path.string(), "Permission denied");
  ASSERT_EQ(::seteuid(before), 0);
}

TEST_F(FileTest, APipeNobodyWritesToIsRefusedAtOnce) {
  const fs::path path = folder_.path() / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  test::expect_refused([&] { File::open(path); }, "a device or pipe");
}

TEST_F(FileTest, MovingHandsTheOpenFileOver) {
  File first = File::open(write("a", "aaaa"));
  File second = File::open(write("b", "bb"));
  File moved = std::move(first);
  EXPECT_EQ(read(moved, 0, 4), "aaaa");
  moved = std::move(second);
  EXPECT_EQ(read(moved, 0, 2), "bb");
  EXPECT_EQ(moved.size(), Bytes(2));
}

TEST_F(FileTest, ClosesTheDescriptorExactlyOnce) {
  const fs::path path = write("a", "a");
  std::optional<File> first = File::open(path);
  const int descriptor = first->descriptor();
  {
    const File moved = std::move(*first);
  }
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
  const File second = File::open(path);
  ASSERT_EQ(second.descriptor(), descriptor);  // the lowest number that is free
  first.reset();                               // was moved from: must not close what is not its own any more
  EXPECT_EQ(read(second, 0, 1), "a");
}

TEST_F(FileTest, ReadsATextFileWhole) {
  const std::string text = std::string("line\n\0binary\xFF", 13) + std::string(200'000, 'x');
  EXPECT_EQ(read_text_file(write("prompt.txt", text), Bytes(1'000'000)), text);
  EXPECT_EQ(read_text_file(write("empty.txt", ""), Bytes(10)), "");
}

TEST_F(FileTest, ATextFileAtTheLimitIsReadAndOneByteMoreRefused) {
  EXPECT_EQ(read_text_file(write("prompt.txt", "0123456789"), Bytes(10)), "0123456789");
  test::expect_refused([&] { read_text_file(write("prompt.txt", "0123456789A"), Bytes(10)); }, "prompt.txt",
                       "more than 10 B");
}

TEST_F(FileTest, ReadsTextFromAPipeAndFromFilesThatClaimToBeEmpty) {
  const fs::path path = folder_.path() / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(path) << "from a pipe"; });
  EXPECT_EQ(read_text_file(path, Bytes(100)), "from a pipe");
  writer.join();
  EXPECT_NE(read_text_file("/proc/self/status", Bytes(1 << 20)), "");
}

TEST_F(FileTest, ATextFileThatIsADirectoryOrMissingIsNamed) {
  test::expect_refused([&] { read_text_file(folder_.path(), Bytes(10)); }, "is a directory");
  test::expect_refused([&] { read_text_file(folder_.path() / "no", Bytes(10)); }, "no such file");
}

}  // namespace
}  // namespace loadline

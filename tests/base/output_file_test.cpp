// Files that are written: whole or not at all, onto what can be written to, and never onto what is read.
#include "base/output_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "base/text_input.h"
#include "support/refusal.h"
#include "support/test_data.h"

namespace loadline {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr Bytes kMost = 64 * kMiB;

class OutputFileTest : public testing::Test {
 protected:
  fs::path at(const std::string& name) const { return folder_.path() / name; }
  // The names in the folder.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) names.push_back(entry.path().filename().string());
    return names;
  }
  static void write(const fs::path& path, std::string_view text, const std::vector<fs::path>& inputs = {}) {
    OutputFile file(path, inputs);
    file.write(text);
    file.finish();
  }
  static std::string read(const fs::path& path) { return read_text_file(path, kMost); }
  static std::string refused(const fs::path& path, const std::vector<fs::path>& inputs = {}) {
    return test::refusal([&] {
             OutputFile file(path, inputs);
             file.write("new");
             file.finish();
             return 0;
           })
        .sentence;
  }

  test::TemporaryFolder folder_;
};

TEST_F(OutputFileTest, WritesAWholeFileUnderItsName) {
  write(at("a"), "text");
  EXPECT_EQ(read(at("a")), "text");
  EXPECT_THAT(names(), ElementsAre("a"));
}

TEST_F(OutputFileTest, LargeAndSmallPiecesKeepTheirOrder) {
  std::string expected;
  OutputFile file(at("a"));
  for (std::size_t size : {1U, 5U, 1U << 20U, 3U, (1U << 20U) - 3U, 2U << 20U, 0U, 7U}) {
    const std::string piece(size, static_cast<char>('a' + expected.size() % 26));
    file.write(piece);
    expected += piece;
    EXPECT_EQ(file.size().value, expected.size());
  }
  file.finish();
  EXPECT_EQ(read(at("a")), expected);
}

TEST_F(OutputFileTest, WhatWasThereStaysUntilTheNewFileIsWholeAndNothingIsLeftBehind) {
  write(at("a"), "old");
  {
    OutputFile file(at("a"));
    file.write(std::string(3 << 20, 'x'));
    EXPECT_EQ(read(at("a")), "old");
  }
  EXPECT_EQ(read(at("a")), "old");
  EXPECT_THAT(names(), ElementsAre("a"));
  write(at("a"), "new");
  EXPECT_EQ(read(at("a")), "new");
  EXPECT_THAT(names(), ElementsAre("a"));
}

TEST_F(OutputFileTest, KeepsThePermissionsOfTheFileItReplaces) {
  write(at("a"), "old");
  ASSERT_EQ(::chmod(at("a").c_str(), 0600), 0);
  write(at("a"), "new");
  struct stat status{};
  ASSERT_EQ(::stat(at("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(OutputFileTest, FollowsLinksAndLeavesThemAsTheyAre) {
  write(at("real"), "old");
  fs::create_symlink("real", at("link"));
  fs::create_symlink(at("link"), at("link to it"));
  write(at("link to it"), "new");
  EXPECT_EQ(read(at("real")), "new");
  EXPECT_TRUE(fs::is_symlink(at("link to it")));
  EXPECT_TRUE(fs::is_symlink(at("link")));
  fs::create_symlink("later", at("dangling"));
  write(at("dangling"), "there");
  EXPECT_EQ(read(at("later")), "there");
  EXPECT_TRUE(fs::is_symlink(at("dangling")));
}

TEST_F(OutputFileTest, RefusesLinksThatLeadInACircle) {
  fs::create_symlink("b", at("a"));
  fs::create_symlink("a", at("b"));
  EXPECT_THAT(refused(at("a")), HasSubstr("too many links"));
}

// Someone else's link under the temporary name must not make us write through it.
TEST_F(OutputFileTest, TouchesNothingButItsOwnTemporaryName) {
  write(at("precious"), "precious");
  for (const char* end : {".part", ".partial", ".tmp"}) fs::create_symlink("precious", at("a").string() + end);
  for (int i = 0; i < 3000; ++i) {
    std::error_code ignored;
    fs::create_symlink("precious",
                       at("a").string() + ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(i), ignored);
  }
  // As many names are taken as are tried: refused, or written whole, but never through a link.
  try {
    write(at("a"), "new");
    EXPECT_EQ(read(at("a")), "new");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
  }
  EXPECT_EQ(read(at("precious")), "precious");
}

TEST_F(OutputFileTest, RefusesAnInputUnderWhateverName) {
  write(at("model"), "model");
  write(at("model-2"), "second part");
  fs::create_symlink("model", at("link"));
  fs::create_hard_link(at("model-2"), at("hard"));
  const std::vector<fs::path> inputs = {at("model"), at("model-2")};
  for (const char* name : {"model", "model-2", "link", "hard", "./model"}) {
    EXPECT_THAT(refused(at(name), inputs), HasSubstr("is read from")) << name;
  }
  EXPECT_THAT(refused(folder_.path() / ".." / folder_.path().filename() / "model", inputs), HasSubstr("is read from"));
  EXPECT_EQ(read(at("model")), "model");
  EXPECT_EQ(read(at("model-2")), "second part");
  write(at("other"), "fine", inputs);
}

TEST_F(OutputFileTest, RefusesWhatCannotBeWrittenTo) {
  EXPECT_THAT(refused(folder_.path()), HasSubstr("is a directory"));
  EXPECT_THAT(refused(at("none") / "a"), HasSubstr("cannot be written"));
  write(at("file"), "");
  EXPECT_THAT(refused(at("file") / "a"), HasSubstr("cannot be written"));
  EXPECT_THAT(refused(""), HasSubstr("empty name"));
  EXPECT_THAT(refused(at(std::string(300, 'n'))), HasSubstr("cannot be written"));
  EXPECT_THAT(refused("/dev/fd/987"), HasSubstr("cannot be written"));
}

TEST_F(OutputFileTest, ALongNameLeavesRoomForATemporaryOne) {
  const fs::path path = at(std::string(255, 'n'));
  write(path, "text");
  EXPECT_EQ(read(path), "text");
}

TEST_F(OutputFileTest, APipeIsWrittenToAndStays) {
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] { got = read(at("pipe")); });
  write(at("pipe"), "through the pipe");
  reader.join();
  EXPECT_EQ(got, "through the pipe");
  EXPECT_TRUE(fs::is_fifo(at("pipe")));
}

TEST_F(OutputFileTest, ASocketThatListensIsWrittenToAndStays) {
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = at("socket").string();
  ASSERT_LT(name.size(), sizeof address.sun_path);
  name.copy(address.sun_path, name.size());
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_THAT(refused(at("socket")), HasSubstr("cannot be written"));  // nobody listens yet
  ASSERT_EQ(::listen(listener, 1), 0);
  write(at("socket"), "to the socket");
  const int connection = ::accept(listener, nullptr, nullptr);
  EXPECT_EQ(read_text(connection, "the socket", kMost), "to the socket");
  EXPECT_TRUE(fs::is_socket(at("socket")));
  ::close(connection);
  ::close(listener);
}

TEST_F(OutputFileTest, DevicesAreWrittenToAndStay) {
  write("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_THAT(refused("/dev/full"), HasSubstr("No space left"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

// A file that a shell has opened is gone on with where it is, and not replaced behind its back.
TEST_F(OutputFileTest, ADescriptorOfTheProcessIsWrittenToWhereItStands) {
  const int descriptor = ::open(at("a").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_EQ(::write(descriptor, "before ", 7), 7);
  const std::string name = "/dev/fd/" + std::to_string(descriptor);
  write(name, "through it ");
  fs::create_symlink("/proc/self/fd/" + std::to_string(descriptor), at("link"));
  write(at("link"), "through a link ");
  ASSERT_EQ(::write(descriptor, "after", 5), 5);
  EXPECT_EQ(read(at("a")), "before through it through a link after");
  EXPECT_THAT(refused(name, {at("a")}), HasSubstr("is read from"));
  ::close(descriptor);
}

TEST_F(OutputFileTest, AHoleIsZeros) {
  OutputFile file(at("a"));
  file.write("head");
  file.fill(Bytes(1000));
  file.write("tail");
  file.finish();
  EXPECT_EQ(read(at("a")), "head" + std::string(996, '\0') + "tail");
}

// As on a full disk, writing stops in the middle.
TEST_F(OutputFileTest, ALimitOnTheSizeOfFilesIsAnErrorAndLeavesNothing) {
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small{3 << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const test::Refusal refusal = test::refusal([&] {
    OutputFile file(at("a"));
    file.write(std::string(4 << 20, 'x'));
    file.finish();
    return 0;
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(refusal.sentence, HasSubstr("File too large"));
  EXPECT_THAT(refusal.hint, HasSubstr("ulimit -f"));
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(OutputFileTest, ANameThatWouldCommandATerminalIsShown) {
  EXPECT_THAT(refused(at("none\033[2J") / "a"), HasSubstr("none\\x1b[2J"));
}

}  // namespace
}  // namespace loadline

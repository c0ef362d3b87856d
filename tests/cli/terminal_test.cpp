// What is seen on a real terminal (a pty): what models write there, and messages beside a line that is being edited.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>

#include "cli/line_editor.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A process whose terminal is ours.
class Terminal {
 public:
  explicit Terminal(const std::function<int()>& body) {
    pid_ = ::forkpty(&master_, nullptr, nullptr, nullptr);
    if (pid_ != 0) return;
    ::setenv("TERM", "dumb", 1);
    ::setenv("XDG_CACHE_HOME", "/nonexistent", 1);
    ::_exit(body());
  }
  static std::function<int()> program(std::vector<std::string> arguments) {
    return [arguments]() mutable {
      arguments.insert(arguments.begin(), test::program().string());
      std::vector<char*> pointers;
      for (std::string& argument : arguments) pointers.push_back(argument.data());
      pointers.push_back(nullptr);
      return ::execv(pointers[0], pointers.data());
    };
  }
  ~Terminal() {
    ::close(master_);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void send(std::string_view text) const {
    ASSERT_EQ(::write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // Until the terminal was sent this, behind what was waited for before.
  bool wait_for(std::string_view text) {
    while (true) {
      if (const std::size_t at = seen_.find(text, from_); at != std::string::npos) {
        from_ = at + text.size();
        return true;
      }
      if (!read()) return false;
    }
  }
  // All that it was ever sent.
  std::string finish() {
    while (read()) {
    }
    return seen_;
  }

 private:
  bool read() {
    pollfd wait{master_, POLLIN, 0};
    if (::poll(&wait, 1, 300'000) <= 0) return false;
    std::array<char, 4096> buffer{};
    const ssize_t count = ::read(master_, buffer.data(), buffer.size());
    if (count > 0) seen_.append(buffer.data(), static_cast<std::size_t>(count));
    return count > 0;
  }

  int master_ = -1;
  pid_t pid_ = -1;
  std::string seen_;
  std::size_t from_ = 0;
};

// A title, a colour, a clearing of the screen by ESC and by C1, an order from right to left.
constexpr const char* kEvil = R"(root ::= "a\x1b]0;pwned\x07\x1b[31m\x1b[2J" "\u009b2J\u202eb")";
constexpr const char* kShown = "a\\x1b]0;pwned\\x07\\x1b[31m\\x1b[2J";

auto obeys_nothing() {
  return AllOf(HasSubstr(kShown), Not(HasSubstr("\033]")), Not(HasSubstr("\033[31")), Not(HasSubstr("\033[2J")),
               Not(HasSubstr("\007")), Not(HasSubstr("\u202e")), Not(HasSubstr("\u009b")));
}

TEST(ATerminal, IsNotCommandedByWhatAModelWrites) {
  EXPECT_THAT(Terminal(Terminal::program({"run", "-t", "1", "-p", "Once", "--grammar", kEvil})).finish(),
              obeys_nothing());
  EXPECT_THAT(Terminal(Terminal::program({"chat", "-t", "1", "-p", "Hello!", "--grammar", kEvil})).finish(),
              obeys_nothing());
}

TEST(ATerminal, IsNotCommandedInAConversation) {
  Terminal terminal(Terminal::program({"chat", "-q", "-t", "1", "--grammar", kEvil}));
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.send("Hello!\n");
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.send("/undo\n/quit\n");
  EXPECT_THAT(terminal.finish(), obeys_nothing());
}

TEST(ATerminal, ShowsMessagesAboveTheLineThatIsEdited) {
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  Terminal terminal([&] {
    cli::LineEditor editor;
    std::thread other([&] {
      char one = 0;
      if (::read(ready[0], &one, 1) == 1) cli::say_aside("memory is \033[2Jgone");
    });
    const auto line = editor.read("say: ");
    other.join();
    cli::say_aside("[" + (line ? line->text : "nothing") + "]");
    return 0;
  });
  ASSERT_TRUE(terminal.wait_for("say: "));
  terminal.send("ab\xC3\xA4");
  ASSERT_TRUE(terminal.wait_for("ab\xC3\xA4"));
  ASSERT_EQ(::write(ready[1], "x", 1), 1);
  EXPECT_TRUE(terminal.wait_for("memory is \\x1b[2Jgone\r\n"));
  EXPECT_TRUE(terminal.wait_for("say: ab\xC3\xA4"));
  terminal.send("c\n");
  EXPECT_TRUE(
      terminal.wait_for("[ab\xC3\xA4"
                        "c]"));
  ::close(ready[0]);
  ::close(ready[1]);
}

}  // namespace
}  // namespace loadline::test

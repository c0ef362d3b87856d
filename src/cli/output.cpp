#include "cli/output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "base/output_file.h"
#include "base/text_input.h"
#include "base/visible.h"
#include "cli/terminal.h"

namespace loadline::cli {
namespace {

bool wrote_something = false;
// Whether a reader that leaves ends the program, as it was started.
bool ends_by_signal = true;

// Standard output is not buffered here: every call hands over a whole piece of text.
void put(std::string_view text) {
  if (text.empty()) return;
  wrote_something = true;
  const int reason = write_whole(STDOUT_FILENO, std::as_bytes(std::span(text)), interrupted_flag());
  if (reason == EPIPE && ends_by_signal) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  if (reason == EINTR) throw Error(ErrorCode::Interrupted, "stopped");
  if (reason != 0) throw bad_input(fmt::format("standard output cannot be written ({})", std::strerror(reason)));
}

// The length of a sequence that colours (ESC [ numbers m) at the beginning of `text`; 0 where there is none.
std::size_t colour_length(std::string_view text) {
  if (!text.starts_with("\033[")) return 0;
  const std::size_t end = text.find_first_not_of("0123456789;", 2);
  return end != std::string_view::npos && text[end] == 'm' ? end + 1 : 0;
}

// Like printable_lines, but for sequences that colour.
std::string with_colours(std::string_view text) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t at = text.find('\033'); at != std::string_view::npos; at = text.find('\033', at + 1)) {
    const std::size_t length = colour_length(text.substr(at));
    if (length == 0) continue;
    out += printable_lines(text.substr(begin, at - begin));
    out += text.substr(at, length);
    begin = at + length;
  }
  return out + printable_lines(text.substr(begin));
}

// The wrong way round, so that using one is an error as it was with the closed stream: only standard error takes what
// it is given, for nothing may depend on it.
void stand_in(int stream, int flags) {
  if (::fcntl(stream, F_GETFD) >= 0 || errno != EBADF) return;
  const int opened = ::open("/dev/null", flags);
  if (opened >= 0 && opened != stream) {
    ::dup2(opened, stream);
    ::close(opened);
  }
}

}  // namespace

void prepare_standard_streams() {
  stand_in(STDIN_FILENO, O_WRONLY);
  stand_in(STDOUT_FILENO, O_RDONLY);
  stand_in(STDERR_FILENO, O_WRONLY);
  std::signal(SIGXFSZ, SIG_IGN);
  // Whoever stops reading messages must not end the program, as whoever stops reading its output does: see put().
  ends_by_signal = std::signal(SIGPIPE, SIG_IGN) != SIG_IGN;
}

void print(std::string_view text, bool colours) { put(colours ? with_colours(text) : printable_lines(text)); }

void print_json(std::string_view json) { put(printable_json(json)); }

void print_text(std::string_view text) { put(stdout_is_terminal() ? printable_lines(text) : std::string(text)); }

void close_standard_output() {
  const bool closed = ::close(STDOUT_FILENO) == 0;
  if (!closed && wrote_something && errno != EBADF && errno != EINTR) {
    throw bad_input(fmt::format("standard output cannot be written ({})", std::strerror(errno)));
  }
}

void say(std::string_view line) { draw(printable_lines(line) + "\n"); }

void draw(std::string_view sequences) { (void)write_whole(STDERR_FILENO, std::as_bytes(std::span(sequences))); }

std::string read_standard_input(Bytes limit) { return read_text(STDIN_FILENO, "standard input", limit); }

bool input_is_piped() {
  struct stat status{};
  return ::fstat(STDIN_FILENO, &status) == 0 &&
         (S_ISFIFO(status.st_mode) || S_ISREG(status.st_mode) || S_ISSOCK(status.st_mode));
}

}  // namespace loadline::cli

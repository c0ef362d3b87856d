#include "cli/redraw.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/text.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace loadline::cli {
namespace {

winsize window() {
  winsize size{};
  constexpr unsigned short kColumns = 80, kRows = 24;
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) size = {};
  if (size.ws_col == 0) size.ws_col = kColumns;
  if (size.ws_row == 0) size.ws_row = kRows;
  return size;
}

}  // namespace

std::size_t terminal_columns() { return window().ws_col; }
std::size_t terminal_rows() { return window().ws_row; }

std::string cut_to_columns(const std::string& text, std::size_t width) {
  std::size_t at = 0;
  for (std::size_t column = 0; at < text.size(); ++column) {
    const std::size_t length = std::max<std::size_t>(1, utf8_length(std::string_view(text).substr(at)));
    if (column == width) {
      // The last column says that something is missing.
      while (at > 0 && (static_cast<unsigned char>(text[at - 1]) & 0xC0U) == 0x80U) --at;
      return text.substr(0, at == 0 ? 0 : at - 1) + "…";
    }
    at += length;
  }
  return text;
}

void Redraw::show(const std::vector<std::string>& lines) {
  std::string text;
  if (shown_ > 0) text += fmt::format("\x1b[{}A\r", shown_);
  // The last row is the cursor's: what scrolled away could not be drawn over.
  shown_ = std::min(lines.size(), std::max<std::size_t>(2, terminal_rows()) - 1);
  for (std::size_t i = 0; i < shown_; ++i) text += lines[i] + "\x1b[K\n";
  draw(text + "\x1b[J");
}

bool wait_until(double time, const StopOnInterrupt& interrupt) {
  while (!interrupt.flag().load() && steady_seconds() < time) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return !interrupt.flag().load();
}

}  // namespace loadline::cli

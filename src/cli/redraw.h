// Lines that are drawn again and again in the same place of a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace loadline::cli {

class StopOnInterrupt;

// Of the terminal that standard output is; else those of a usual one.
std::size_t terminal_columns();
std::size_t terminal_rows();

// So many columns of a text without controls, all of whose characters are one column wide; the last of them says where
// something is missing.
std::string cut_to_columns(const std::string& text, std::size_t width);

class Redraw {
 public:
  // As many as the terminal has rows for; none may be wider than it.
  void show(const std::vector<std::string>& lines);

 private:
  std::size_t shown_ = 0;
};

// Until this time of the steady clock, in seconds. False where Ctrl-C came before.
bool wait_until(double time, const StopOnInterrupt& interrupt);

}  // namespace loadline::cli

// Lines typed at a terminal, with editing and history (libedit); lines read as they come where there is none.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace loadline::cli {

// One at a time. Keeps its history in ~/.cache/loadline/chat_history where it can.
class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  struct Line {
    std::string text;
    bool interrupted = false;  // Ctrl-C; the text is empty
  };
  // Without its line end; nullopt where there are no more.
  std::optional<Line> read(const std::string& prompt);
  void remember(const std::string& text);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A message that comes while others have the terminal, from any thread: above the line that is being edited, which is
// drawn again below; else on a line of its own.
void say_aside(std::string_view line);

}  // namespace loadline::cli

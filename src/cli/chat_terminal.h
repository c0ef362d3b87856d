// Talking at a terminal: lines, commands that begin with a slash, answers as they come, and figures after each.
#pragma once

#include <string>

#include "talk/dialogue.h"

namespace loadline::cli {

struct TerminalOptions {
  bool quiet = false;     // no figures
  bool reasoning = true;  // show it
  std::string plan_text;  // what /plan prints
};

// Shows an answer while it comes: text on standard output, reasoning dimmed on a terminal and nowhere else.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool show_reasoning);
  void operator()(const chat::OutputEvent& event);
  void end();

 private:
  void write(std::string_view text);
  bool show_reasoning_;
  bool terminal_;
  bool dimmed_ = false;
  bool ends_line_ = true;
};

// "prompt 18 new tokens, 312 kept, 410 tok/s · ...".
std::string figures_line(const talk::Dialogue& dialogue, const talk::Answer& answer);

// Until the user leaves. Returns the exit code.
int talk_at_terminal(talk::Dialogue& dialogue, const TerminalOptions& options, speculate::Drafter* drafter);

}  // namespace loadline::cli

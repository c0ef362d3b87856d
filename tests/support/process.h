// Programs run by tests: start one with arguments, feed it text, collect what it prints, stop it with a signal.
// No shell is involved, so arguments arrive as they are given.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::test {

struct ProcessResult {
  int exit_code = 0;  // of a program ended by signal N: 128 + N, as shells say it
  std::string out;    // standard output
  std::string err;    // standard error
};

struct ProcessOptions {
  std::string input;                             // standard input; the pipe is closed after it
  std::map<std::string, std::string> variables;  // set in the program's environment, over the test's own
  // After this long the program is killed (exit_code 128 + 9) and a line in `err` says so. Not for measuring.
  int limit_seconds = 300;
};

// A program that is running. Its output is read only in the calls below; one thread at a time.
// Destroying it kills what still runs.
class Process {
 public:
  // `arguments[0]` is the program's path. Throws std::runtime_error when it cannot be started.
  explicit Process(const std::vector<std::string>& arguments, ProcessOptions options = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Reads until standard output (or error) contains `text`. False when the program ended or the limit passed before.
  bool wait_for_out(std::string_view text);
  bool wait_for_err(std::string_view text);

  void signal(int number) const;

  // Reads to the end of both streams, waits for the program and returns everything it printed. Call once.
  ProcessResult finish();

 private:
  bool pump();  // moves what can be moved now, blocking until something can; false when both streams have ended

  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::size_t written_ = 0;  // of options_.input
  double deadline_ = 0;      // seconds of the steady clock
  ProcessOptions options_;
  ProcessResult result_;
};

// Runs a program to its end.
ProcessResult run_process(const std::vector<std::string>& arguments, ProcessOptions options = {});

// Runs the built `loadline` (loadline::test::program()) with these arguments.
ProcessResult run_loadline(std::vector<std::string> arguments, ProcessOptions options = {});

}  // namespace loadline::test

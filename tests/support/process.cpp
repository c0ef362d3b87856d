#include "support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "support/test_data.h"

namespace loadline::test {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Both ends close on exec; the child gets its copies by dup2.
std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe: " + std::string(std::strerror(errno)));
  return ends;
}

void close_end(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& variables) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!variables.contains(text.substr(0, text.find('=')))) entries.push_back(text);
  }
  for (const auto& [name, value] : variables) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Appends what the pipe holds; closes the descriptor at the end of the stream.
void read_some(int& descriptor, std::string& target) {
  std::array<char, 65536> buffer;
  const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
  if (got > 0) {
    target.append(buffer.data(), static_cast<std::size_t>(got));
  } else if (got == 0 || errno != EINTR) {
    close_end(descriptor);
  }
}

}  // namespace

Process::Process(const std::vector<std::string>& arguments, ProcessOptions options)
    : deadline_(now() + options.limit_seconds), options_(std::move(options)) {
  // A program that stops reading must not end the test that writes to it.
  ::signal(SIGPIPE, SIG_IGN);
  std::array<int, 2> in = make_pipe();
  std::array<int, 2> out = make_pipe();
  std::array<int, 2> err = make_pipe();

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words = arguments;
  std::vector<std::string> environment = environment_with(options_.variables);
  const int problem = ::posix_spawn(&pid_, words.at(0).c_str(), &actions, &attributes, pointers_to(words).data(),
                                    pointers_to(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close_end(in[0]);
  close_end(out[1]);
  close_end(err[1]);
  in_ = in[1];
  out_ = out[0];
  err_ = err[0];
  if (problem != 0) {
    pid_ = -1;
    close_end(in_);
    close_end(out_);
    close_end(err_);
    throw std::runtime_error(words.at(0) + " cannot be started: " + std::strerror(problem));
  }
  ::fcntl(in_, F_SETFL, O_NONBLOCK);
  if (options_.input.empty()) close_end(in_);
}

Process::~Process() {
  close_end(in_);
  close_end(out_);
  close_end(err_);
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

bool Process::pump() {
  if (out_ < 0 && err_ < 0) return false;
  const double left = deadline_ - now();
  if (left <= 0) {
    ::kill(pid_, SIGKILL);
    result_.err += "\n(killed by the test after " + std::to_string(options_.limit_seconds) + " s)\n";
    close_end(out_);
    close_end(err_);
    return false;
  }
  std::array<pollfd, 3> streams = {pollfd{out_, POLLIN, 0}, pollfd{err_, POLLIN, 0}, pollfd{in_, POLLOUT, 0}};
  if (::poll(streams.data(), streams.size(), static_cast<int>(std::min(left, 1e6) * 1000) + 1) < 0) return true;
  if (streams[0].revents != 0) read_some(out_, result_.out);
  if (streams[1].revents != 0) read_some(err_, result_.err);
  if (streams[2].revents != 0) {
    const std::string_view rest = std::string_view(options_.input).substr(written_);
    const ssize_t sent = ::write(in_, rest.data(), rest.size());
    if (sent > 0) written_ += static_cast<std::size_t>(sent);
    if ((sent < 0 && errno != EINTR && errno != EAGAIN) || written_ == options_.input.size()) close_end(in_);
  }
  return true;
}

bool Process::wait_for_out(std::string_view text) {
  while (result_.out.find(text) == std::string::npos) {
    if (!pump()) return result_.out.find(text) != std::string::npos;
  }
  return true;
}

bool Process::wait_for_err(std::string_view text) {
  while (result_.err.find(text) == std::string::npos) {
    if (!pump()) return result_.err.find(text) != std::string::npos;
  }
  return true;
}

void Process::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

ProcessResult Process::finish() {
  while (pump()) {
  }
  close_end(in_);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  result_.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return std::move(result_);
}

ProcessResult run_process(const std::vector<std::string>& arguments, ProcessOptions options) {
  return Process(arguments, std::move(options)).finish();
}

ProcessResult run_loadline(std::vector<std::string> arguments, ProcessOptions options) {
  arguments.insert(arguments.begin(), program().string());
  return run_process(arguments, std::move(options));
}

}  // namespace loadline::test

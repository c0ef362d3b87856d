#include "cli/terminal.h"

#include <fmt/format.h>
#include <semaphore.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/text.h"
#include "cli/output.h"

namespace loadline::cli {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the flag is set from a signal handler");

std::atomic<int> left{2};  // signals until one ends the process
sem_t wakes;               // which a signal handler may post

void on_signal(int /*signal*/) {
  interrupted.store(true);
  ::sem_post(&wakes);
  if (left.fetch_sub(1) <= 1) ::_exit(130);
}

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
constexpr int kBarWidth = 30;

}  // namespace

bool stderr_is_terminal() { return ::isatty(STDERR_FILENO) == 1; }
bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

ProgressBar::ProgressBar(std::string what)
    : what_(std::move(what)), start_(std::chrono::steady_clock::now()), drawn_(start_) {}

ProgressBar::~ProgressBar() {
  if (visible_) draw("\r\033[K");
}

void ProgressBar::update(double done, std::string_view detail) {
  using std::chrono::milliseconds;
  const auto now = std::chrono::steady_clock::now();
  if (now - start_ < milliseconds(1000) || now - drawn_ < milliseconds(100) || !stderr_is_terminal()) return;
  drawn_ = now;
  visible_ = true;
  const int filled = static_cast<int>(std::clamp(done, 0.0, 1.0) * kBarWidth);
  std::string bar;
  for (int i = 0; i < kBarWidth; ++i) bar += i < filled ? "█" : "░";
  draw(fmt::format("\r{} {} {:3.0f} %  {}\033[K", printable(what_), bar, done * 100, printable(detail)));
}

void StatusLine::show(std::string_view what) {
  if (!stderr_is_terminal()) return;
  draw(fmt::format("\r{}\033[K", printable(what)));
  shown_ = true;
}

void StatusLine::erase() {
  if (shown_) draw("\r\033[K");
  shown_ = false;
}

StopOnInterrupt::StopOnInterrupt(int fatal) {
  interrupted.store(false);
  left.store(fatal);
  ::sem_init(&wakes, 0, 0);
  struct sigaction action{};
  action.sa_handler = on_signal;
  ::sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) {
    struct sigaction before{};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
}

StopOnInterrupt::~StopOnInterrupt() {
  for (const int signal : kSignals) {
    struct sigaction now{};
    if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler == on_signal) std::signal(signal, SIG_DFL);
  }
  interrupted.store(false);
}

const std::atomic<bool>& StopOnInterrupt::flag() const { return interrupted; }

void StopOnInterrupt::wait() const {
  while (::sem_wait(&wakes) != 0 && errno == EINTR) {
  }
}

void StopOnInterrupt::wake() { ::sem_post(&wakes); }

const std::atomic<bool>* interrupted_flag() { return &interrupted; }

}  // namespace loadline::cli

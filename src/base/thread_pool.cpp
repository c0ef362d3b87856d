#include "base/thread_pool.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <system_error>

#include "base/error.h"
#include "base/setting.h"

namespace loadline {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A pause is 40 to 140 cycles on x86: some 0.2 to 0.5 milliseconds of polling, far longer than threads usually wait for
// each other within a token (a sleeper that is woken comes tens of microseconds late) and shorter than anyone notices
// on an idle machine. Then the processor is offered to others before sleeping.
constexpr int kPolls = 12000;
constexpr int kYields = 20;

// The kernel reads the word itself: an atomic of this size is a plain word with nothing beside it.
static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);

void sleep_while_equal(std::atomic<std::uint32_t>& word, std::uint32_t old) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
}

}  // namespace

int available_processors() {
  cpu_set_t set;
  // Fails only on machines with more than 1024 processors, where the mask is longer than cpu_set_t.
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, CPU_COUNT(&set));
}

Patience patience_for(int threads) { return threads <= available_processors() ? Patience::Polls : Patience::None; }

std::uint32_t WaitWord::wait_while_equal(std::uint32_t old, Patience patience) {
  std::uint32_t now = load();
  for (int i = 0; patience == Patience::Polls && i < kPolls && now == old; ++i) {
    pause_briefly();
    now = load();
  }
  for (int i = 0; i < kYields && now == old; ++i) {
    sched_yield();
    now = load();
  }
  if (now != old) return now;
  sleepers_.fetch_add(1);
  while ((now = value_.load()) == old) sleep_while_equal(value_, old);  // may return early, by a signal or for nothing
  sleepers_.fetch_sub(1);
  return now;
}

void WaitWord::wake_sleepers() { ::syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

ThreadPool::ThreadPool(int threads) : barrier_(threads), patience_(patience_for(threads)) {
  try {
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& problem) {
    const std::size_t started = workers_.size() + 1;
    stop();
    throw SettingError(
        ErrorCode::DoesNotFit,
        fmt::format("only {} of {} threads could be started ({})", started, threads, problem.code().message()),
        "Use fewer threads, or raise the limit on processes.", Setting::Threads);
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_ = true;
  generation_.add(1);
  generation_.wake_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::dispatch(Entry entry, void* context) {
  entry_ = entry;
  context_ = context;
  running_.add(static_cast<std::uint32_t>(workers_.size()));  // from zero: the run before has ended
  generation_.add(1);
  generation_.wake_all();
  entry(context, 0);
  for (std::uint32_t left = running_.load(); left != 0;) left = running_.wait_while_equal(left, patience_);
}

void ThreadPool::work(int thread) {
  std::uint32_t seen = 0;
  while (true) {
    seen = generation_.wait_while_equal(seen, patience_);
    if (stopping_) return;
    entry_(context_, thread);
    if (running_.subtract(1) == 0) running_.wake_all();
  }
}

}  // namespace loadline

#include "base/thread_pool.h"

#include <sched.h>

namespace loadline {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A pause is 40 to 140 cycles on x86: about 50 microseconds of spinning, longer than the gap between two steps of a
// token and shorter than anyone notices on an idle machine. Then the processor is offered to others before sleeping.
constexpr int kSpins = 1500;
constexpr int kYields = 20;

}  // namespace

std::uint32_t wait_while_equal(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  std::uint32_t now = word.load(std::memory_order_acquire);
  for (int i = 0; i < kSpins && now == old; ++i) {
    pause_briefly();
    now = word.load(std::memory_order_acquire);
  }
  for (int i = 0; i < kYields && now == old; ++i) {
    sched_yield();
    now = word.load(std::memory_order_acquire);
  }
  while (now == old) {
    word.wait(old, std::memory_order_acquire);
    now = word.load(std::memory_order_acquire);
  }
  return now;
}

ThreadPool::ThreadPool(int threads) : barrier_(threads) {
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::dispatch(Entry entry, void* context) {
  entry_ = entry;
  context_ = context;
  running_.store(static_cast<std::uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  entry(context, 0);
  for (std::uint32_t left = running_.load(std::memory_order_acquire); left != 0;)
    left = wait_while_equal(running_, left);
}

void ThreadPool::work(int thread) {
  std::uint32_t seen = 0;
  while (true) {
    seen = wait_while_equal(generation_, seen);
    if (stopping_.load(std::memory_order_relaxed)) return;
    entry_(context_, thread);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
  }
}

}  // namespace loadline

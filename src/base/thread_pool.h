// A fixed set of threads that run one function together (SPMD), and the barrier they meet at.
// Made once; nothing here allocates or creates threads afterwards. Idle threads sleep in the kernel.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace loadline {

// Spins a little, then yields, then sleeps, until `word` differs from `old`; returns the new value.
std::uint32_t wait_while_equal(const std::atomic<std::uint32_t>& word, std::uint32_t old);

// Every thread of a team calls `wait`; none returns before all have arrived. Reusable at once.
// What a thread wrote before `wait` is visible to all after it.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(static_cast<std::uint32_t>(threads)) {}

  void wait() {
    const std::uint32_t phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      if (threads_ > 1) phase_.notify_all();
      return;
    }
    wait_while_equal(phase_, phase);
  }

 private:
  const std::uint32_t threads_;
  alignas(64) std::atomic<std::uint32_t> arrived_{0};  // own cache lines: the waiters poll phase_
  alignas(64) std::atomic<std::uint32_t> phase_{0};
};

// Hands out the integers [0, total) in contiguous ranges to whoever asks first: large ranges at the beginning, so that
// each thread reads memory in long sequential runs, small ones at the end, so that all finish together.
// `reset` between uses, from one thread, before a barrier or a ThreadPool::run.
class WorkQueue {
 public:
  struct Range {
    std::uint64_t begin;
    std::uint64_t end;  // equal to begin: nothing is left
  };

  void reset() { next_.store(0, std::memory_order_relaxed); }

  // The next range, a multiple of `least` long unless the total ends it.
  Range claim(std::uint64_t total, int threads, std::uint64_t least) {
    std::uint64_t begin = next_.load(std::memory_order_relaxed);
    while (begin < total) {
      // A quarter of a fair share of what is left.
      const std::uint64_t share = (total - begin) / (4 * static_cast<std::uint64_t>(threads));
      const std::uint64_t size = share / least * least > least ? share / least * least : least;
      const std::uint64_t end = begin + size < total ? begin + size : total;
      if (next_.compare_exchange_weak(begin, end, std::memory_order_relaxed)) return {begin, end};
    }
    return {total, total};
  }

 private:
  alignas(64) std::atomic<std::uint64_t> next_{0};
};

// Thread-compatible: one `run` at a time, from the thread that owns the pool. That thread takes part as index 0.
class ThreadPool {
 public:
  // `threads` >= 1, the calling thread included: threads - 1 are created here.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // The barrier of this pool's team, for use inside a function that `run` runs.
  [[nodiscard]] Barrier& barrier() { return barrier_; }

  // Calls `function(thread_index)` once on every thread and returns when all have returned. It must not throw.
  template <class Function>
  void run(Function&& function) {
    using Callable = std::remove_reference_t<Function>;
    static_assert(std::is_nothrow_invocable_v<Callable&, int>, "mark the function noexcept");
    dispatch([](void* context, int thread) { (*static_cast<Callable*>(context))(thread); },
             const_cast<void*>(static_cast<const void*>(&function)));
  }

 private:
  using Entry = void (*)(void* context, int thread);
  void dispatch(Entry entry, void* context);
  void work(int thread);

  Barrier barrier_;
  Entry entry_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> generation_{0};
  alignas(64) std::atomic<std::uint32_t> running_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace loadline

// A fixed set of threads that run one function together (SPMD), and the barrier they meet at.
// Made once; nothing here allocates or creates threads afterwards. Idle threads sleep in the kernel.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace loadline {

// How many processors this process may run on (its affinity mask), at least 1.
int available_processors();

// How long a thread that waits polls before it sleeps. Polling makes a barrier a matter of a fraction of a microsecond;
// with more threads than processors it would only keep the processor from the thread that is waited for.
enum class Patience : std::uint8_t { None, Polls };
Patience patience_for(int threads);

// A value that threads wait on to change: polled for some microseconds, then slept on in the kernel. Changing it costs
// a system call only when somebody sleeps. Alone on its cache line, since it is polled.
//
// No wake-up is lost: a sleeper announces itself in sleepers_ and then looks at the value once more (the kernel does,
// for the last time, under its lock); who changes the value does so before reading sleepers_. All four steps are
// sequentially consistent, so at least one of the two sees the other.
class alignas(64) WaitWord {
 public:
  [[nodiscard]] std::uint32_t load() const { return value_.load(std::memory_order_acquire); }
  // Adds and returns the new value. Wakes nobody: call wake_all after the change that others wait for.
  std::uint32_t add(std::uint32_t amount) { return value_.fetch_add(amount) + amount; }
  std::uint32_t subtract(std::uint32_t amount) { return value_.fetch_sub(amount) - amount; }
  void wake_all() {
    if (sleepers_.load() != 0) wake_sleepers();
  }
  // Returns the value once it differs from `old`. What was written before the change is visible then. A thread that
  // sleeps looks again only after wake_all.
  std::uint32_t wait_while_equal(std::uint32_t old, Patience patience);

 private:
  void wake_sleepers();

  std::atomic<std::uint32_t> value_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

// Every thread of a team calls `wait`; none returns before all have arrived. Reusable at once.
// What a thread wrote before `wait` is visible to all after it. Must outlive the last call of `wait`: join the threads.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(static_cast<std::uint32_t>(threads)), patience_(patience_for(threads)) {}

  void wait() {
    if (threads_ == 1) return;
    const std::uint32_t phase = phase_.load();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);  // before the phase changes: nobody arrives for the next one yet
      phase_.add(1);
      phase_.wake_all();
      return;
    }
    phase_.wait_while_equal(phase, patience_);
  }

 private:
  const std::uint32_t threads_;
  const Patience patience_;
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  WaitWord phase_;
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
      // Half of a fair share of what is left.
      const std::uint64_t share = (total - begin) / (2 * static_cast<std::uint64_t>(threads));
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
  // `threads` >= 1, the calling thread included: threads - 1 are created here. Throws Error(DoesNotFit) when the system
  // refuses to create that many.
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
  void stop();

  Barrier barrier_;
  const Patience patience_;
  Entry entry_ = nullptr;
  void* context_ = nullptr;
  bool stopping_ = false;
  WaitWord generation_;  // of entry_, context_ and stopping_: a change tells the workers to read them
  WaitWord running_;     // workers that have not returned yet
  std::vector<std::thread> workers_;
};

}  // namespace loadline

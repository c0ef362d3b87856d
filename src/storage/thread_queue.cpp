#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "storage/queues.h"

namespace loadline::storage {
namespace {

// Reads block their thread; more of them than this gain nothing on the disks of ordinary computers.
constexpr std::size_t kMostThreads = 4;

// A ring of fixed size between the submitting thread and the readers.
template <class Item>
class Fifo {
 public:
  explicit Fifo(std::size_t capacity) : items_(capacity) {}
  [[nodiscard]] bool empty() const { return count_ == 0; }
  void push(const Item& item) {
    items_[(first_ + count_) % items_.size()] = item;
    ++count_;
  }
  Item pop() {
    const Item item = items_[first_];
    first_ = (first_ + 1) % items_.size();
    --count_;
    return item;
  }

 private:
  std::vector<Item> items_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

class ThreadQueue final : public ReadQueue {
 public:
  ThreadQueue(Descriptors descriptors, std::size_t depth)
      : descriptors_(std::move(descriptors)), depth_(depth), waiting_(depth), done_(depth) {
    for (std::size_t i = 0; i < std::min(depth, kMostThreads); ++i) threads_.emplace_back([this] { work(); });
  }

  ~ThreadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    work_there_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  [[nodiscard]] std::string_view name() const override {
    return descriptors_.direct() ? "threads, direct" : "threads, cached";
  }
  [[nodiscard]] std::size_t depth() const override { return depth_; }

  void submit(const Read& read) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push(read);
    }
    work_there_.notify_one();
  }

  Completion wait() override {
    std::unique_lock lock(mutex_);
    result_there_.wait(lock, [this] { return !done_.empty(); });
    return done_.pop();
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_there_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      if (closing_) return;
      const Read read = waiting_.pop();
      lock.unlock();
      ssize_t got = 0;
      do {
        got = ::pread(descriptors_.all()[read.file], read.target, read.length, static_cast<off_t>(read.offset.value));
      } while (got < 0 && errno == EINTR);
      const Completion completion{read.tag, got < 0 ? -errno : got};
      lock.lock();
      done_.push(completion);
      result_there_.notify_one();
    }
  }

  Descriptors descriptors_;
  std::size_t depth_;
  std::mutex mutex_;
  std::condition_variable work_there_;
  std::condition_variable result_there_;
  Fifo<Read> waiting_;
  Fifo<Completion> done_;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<ReadQueue> open_thread_queue(Descriptors descriptors, std::size_t depth) {
  return std::make_unique<ThreadQueue>(std::move(descriptors), depth);
}

}  // namespace loadline::storage

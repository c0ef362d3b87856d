// Direct-read bandwidth of a disk, through a file on it.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "hardware/measurements.h"

namespace loadline::hardware {
namespace {

constexpr std::uint64_t kBlock = std::uint64_t{1} << 20;
constexpr unsigned kInFlight = 8;
constexpr Bytes kLeast = 64 * kMiB;
constexpr Bytes kMost = kGiB;

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};

class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path)
      : value_(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int value() const { return value_; }

 private:
  int value_;
};

}  // namespace

std::optional<double> measure_direct_read(const std::filesystem::path& file) {
  std::error_code problem;
  const std::uint64_t size = std::filesystem::file_size(file, problem);
  if (problem || size < kLeast.value) return std::nullopt;
  const Descriptor descriptor(file);
  if (descriptor.value() < 0) return std::nullopt;

  using Clock = std::chrono::steady_clock;
  const std::uint64_t blocks = std::min(size, kMost.value) / kBlock;
  // Long enough to be past the first caches of the disk, short enough not to try anyone's patience.
  constexpr std::chrono::seconds kLongest(3);
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<bool> failed{false};
  const auto start = Clock::now();
  const auto read = [&] {
    const std::unique_ptr<void, FreeDeleter> buffer(std::aligned_alloc(4096, kBlock));
    while (buffer != nullptr && !failed.load() && Clock::now() - start < kLongest) {
      const std::uint64_t block = next.fetch_add(1);
      if (block >= blocks) return;
      if (::pread(descriptor.value(), buffer.get(), kBlock, static_cast<off_t>(block * kBlock)) !=
          static_cast<ssize_t>(kBlock)) {
        failed.store(true);
      } else {
        done.fetch_add(kBlock);
      }
    }
  };
  {
    std::vector<std::jthread> readers;
    for (unsigned i = 0; i < kInFlight; ++i) readers.emplace_back(read);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (failed.load() || done.load() == 0 || seconds <= 0) return std::nullopt;
  return static_cast<double>(done.load()) / seconds;
}

}  // namespace loadline::hardware

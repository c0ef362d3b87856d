// Direct-read bandwidth of a disk, through a file on it.
#include <fcntl.h>
#include <sys/stat.h>
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
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int value() const { return value_; }

 private:
  int value_;
};

using Buffer = std::unique_ptr<void, FreeDeleter>;

// A nameless file in the folder, of bytes that no file system can leave out, on the disk and not only in the cache.
// -1 where that cannot be had.
int make_sample(const std::filesystem::path& folder) {
  constexpr std::uint64_t kBlocks = 256;
  std::error_code problem;
  if (std::filesystem::space(folder, problem).available < 2 * kBlocks * kBlock || problem) return -1;
  const int file = ::open(folder.c_str(), O_RDWR | O_TMPFILE | O_DIRECT | O_CLOEXEC, 0600);
  const Buffer buffer(std::aligned_alloc(4096, kBlock));
  auto* words = static_cast<std::uint64_t*>(buffer.get());
  std::uint64_t state = 1;
  for (std::uint64_t block = 0; block < kBlocks && file >= 0; ++block) {
    for (std::uint64_t i = 0; i < kBlock / 8; ++i)
      words[i] = state = state * 6364136223846793005U + 1442695040888963407U;
    if (::write(file, words, kBlock) == static_cast<ssize_t>(kBlock)) continue;
    ::close(file);
    return -1;
  }
  if (file >= 0) ::fdatasync(file);
  return file;
}

}  // namespace

std::optional<double> measure_direct_read(const std::filesystem::path& place) {
  std::error_code problem;
  const bool folder = std::filesystem::is_directory(place, problem);
  const Descriptor descriptor(folder ? make_sample(place) : ::open(place.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  struct stat status{};
  if (descriptor.value() < 0 || ::fstat(descriptor.value(), &status) != 0) return std::nullopt;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size < kLeast.value) return std::nullopt;

  using Clock = std::chrono::steady_clock;
  const std::uint64_t blocks = std::min(size, kMost.value) / kBlock;
  // Long enough to be past the first caches of the disk, short enough not to try anyone's patience.
  constexpr std::chrono::seconds kLongest(3);
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<bool> failed{false};
  const auto start = Clock::now();
  const auto read = [&] {
    const Buffer buffer(std::aligned_alloc(4096, kBlock));
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

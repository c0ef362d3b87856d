#include "storage/range_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <thread>

#include "base/error.h"
#include "support/test_data.h"

namespace loadline::storage {
namespace {

constexpr std::size_t kFileSize = (std::size_t{2} << 20) + 777;
constexpr std::size_t kLargest = 50000;
constexpr std::size_t kPart = RangeReader::part_size(kLargest);

// A queue that does something else to some reads.
class BentQueue final : public ReadQueue {
 public:
  std::function<void(Read&)> before = [](Read&) {};
  std::function<void(Completion&)> after = [](Completion&) {};

  explicit BentQueue(std::unique_ptr<ReadQueue> inner) : inner_(std::move(inner)) {}
  [[nodiscard]] std::string_view name() const override { return inner_->name(); }
  [[nodiscard]] std::size_t depth() const override { return inner_->depth(); }
  void submit(const Read& read) override {
    Read bent = read;
    before(bent);
    inner_->submit(bent);
  }
  Completion wait() override {
    Completion done = inner_->wait();
    after(done);
    return done;
  }

 private:
  std::unique_ptr<ReadQueue> inner_;
};

class RangeReaderTest : public testing::TestWithParam<QueueOptions> {
 protected:
  RangeReaderTest() : buffer_(static_cast<std::byte*>(std::aligned_alloc(4096, depth() * kPart)), &std::free) {
    std::mt19937 random(1);
    for (std::size_t i = 0; i < contents_.size(); ++i) {
      contents_[i].resize(kFileSize);
      std::ranges::generate(contents_[i], [&] { return static_cast<std::byte>(random()); });
      std::ofstream(path(i), std::ios::binary).write(reinterpret_cast<const char*>(contents_[i].data()), kFileSize);
      files_.push_back(File::open(path(i)));
      drop(i);
    }
  }

  static std::size_t depth() { return GetParam().depth; }
  [[nodiscard]] std::filesystem::path path(std::size_t file) const {
    return folder_.path() / (file == 0 ? "first" : "second");
  }
  void drop(std::size_t file) const {
    const int descriptor = ::open(path(file).c_str(), O_RDONLY);
    ::fsync(descriptor);
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
  }

  // Both files whole, in ranges of all sizes that begin anywhere.
  static std::vector<Range> all_ranges() {
    std::mt19937 random(2);
    std::vector<Range> ranges;
    for (std::uint32_t file = 0; file < 2; ++file) {
      for (std::size_t at = 0; at < kFileSize;) {
        const std::size_t size = std::min<std::size_t>(1 + random() % kLargest, kFileSize - at);
        ranges.push_back({file, Bytes(at), size});
        at += size;
      }
    }
    return ranges;
  }

  std::unique_ptr<BentQueue> queue() {
    return std::make_unique<BentQueue>(open_queue(files_, {buffer_.get(), depth() * kPart}, GetParam()));
  }

  // Reads all ranges on several threads; the errors' sentences.
  std::vector<std::string> read_all(std::unique_ptr<ReadQueue> queue, std::size_t threads) {
    const std::vector<Range> ranges = all_ranges();
    RangeReader reader(files_, ranges, {buffer_.get(), depth() * kPart}, std::move(queue));
    std::vector<std::atomic<int>> seen(ranges.size());
    std::vector<std::string> errors(threads);
    std::vector<std::thread> team;
    for (std::size_t t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        try {
          while (const auto arrived = reader.next()) {
            const Range& range = ranges[arrived->range];
            const auto expected = contents_[range.file].begin() + static_cast<std::ptrdiff_t>(range.offset.value);
            EXPECT_EQ(arrived->data.size(), range.size);
            EXPECT_TRUE(std::equal(arrived->data.begin(), arrived->data.end(), expected)) << arrived->range;
            ++seen[arrived->range];
            reader.give_back(*arrived);
          }
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::DeviceFailure);
          errors[t] = error.what();
        }
      });
    }
    for (std::thread& thread : team) thread.join();
    all_came_once_ = std::ranges::all_of(seen, [](const std::atomic<int>& times) { return times == 1; });
    EXPECT_TRUE(std::ranges::all_of(seen, [](const std::atomic<int>& times) { return times <= 1; }));
    return errors;
  }

  test::TemporaryFolder folder_;
  std::array<std::vector<std::byte>, 2> contents_;
  std::vector<File> files_;
  std::unique_ptr<std::byte, decltype(&std::free)> buffer_;
  bool all_came_once_ = false;
};

INSTANTIATE_TEST_SUITE_P(Kinds, RangeReaderTest,
                         testing::Values(QueueOptions{8, true, true}, QueueOptions{3, true, false},
                                         QueueOptions{4, false, true}, QueueOptions{1, true, true}),
                         [](const auto& kind) {
                           return std::string(kind.param.uring ? "Uring" : "Threads") +
                                  (kind.param.direct ? "Direct" : "Cached") + std::to_string(kind.param.depth);
                         });

TEST_P(RangeReaderTest, BringsEveryRangeOnceToAnyNumberOfThreads) {
  for (std::size_t threads = 1; threads <= std::min<std::size_t>(depth(), 4); ++threads) {
    EXPECT_THAT(read_all(queue(), threads), testing::Each(""));
    EXPECT_TRUE(all_came_once_) << threads << " threads";
  }
}

TEST_P(RangeReaderTest, TakesFromThePageCacheWhatIsThere) {
  std::vector<std::byte> whole(kFileSize);
  files_[1].read_at(Bytes(0), whole);
  auto watched = queue();
  std::atomic<std::size_t> reads_of_second = 0;
  watched->before = [&](const Read& read) { reads_of_second += read.file; };
  EXPECT_THAT(read_all(std::move(watched), 1), testing::Each(""));
  EXPECT_TRUE(all_came_once_);
  EXPECT_EQ(reads_of_second, 0U);
}

TEST_P(RangeReaderTest, ReadsOnAfterReadsThatBroughtLessOrWereInterrupted) {
  auto bent = queue();
  std::size_t number = 0;
  bent->before = [&](Read& read) {
    if (++number % 3 == 0) read.length = std::max<std::size_t>(read.length / 2 / 4096, 1) * 4096;
  };
  bent->after = [&](Completion& done) {
    if (number % 7 == 0 && done.result > 0) done.result = number % 2 == 0 ? -EINTR : -EAGAIN;
  };
  EXPECT_THAT(read_all(std::move(bent), 1), testing::Each(""));
  EXPECT_TRUE(all_came_once_);
}

TEST_P(RangeReaderTest, TellsEveryThreadOfAReadThatFailed) {
  for (const std::size_t bad : {0U, 1U, 20U}) {
    auto bent = queue();
    std::size_t number = 0;
    bent->after = [&number, bad](Completion& done) {
      if (number++ == bad) done.result = -EIO;
    };
    const std::size_t threads = std::min<std::size_t>(depth(), 2);
    EXPECT_THAT(read_all(std::move(bent), threads), testing::Each(testing::HasSubstr("Input/output error")));
    EXPECT_FALSE(all_came_once_);
  }
}

TEST_P(RangeReaderTest, AFileThatWasCutIsAClearError) {
  std::filesystem::resize_file(path(1), 100001);
  EXPECT_THAT(read_all(queue(), 1), testing::Each(testing::HasSubstr("second: ended early at byte")));
}

}  // namespace
}  // namespace loadline::storage

// Models of which only a part is in RAM: the same results as with all of it there, the reads that were planned and no
// others, and a clear end to everything that can go wrong with a disk.
#include "engine/weight_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <mutex>

#include "base/error.h"
#include "engine/loaded.h"
#include "engine/streamed_model.h"
#include "plan/stream.h"
#include "support/test_data.h"

namespace loadline::engine {
namespace {

namespace fs = std::filesystem;
using storage::Completion;
using storage::QueueOptions;
using storage::Read;
using storage::ReadQueue;
using test::kNeverStop;
using test::planned;
using testing::HasSubstr;

const std::vector<Token> kText = {1, 722, 832, 735, 721, 779, 860, 453, 448, 783, 12, 99};

// What happens to reads on their way. Called on the reading thread.
struct Watch {
  std::function<void(const Read&, std::size_t number)> on_submit;               // reads are counted from 0
  std::function<std::int64_t(std::int64_t result, std::size_t number)> on_end;  // what the stream is told instead
};

// Every place where a pass can be stopped or lose a read; a few of them where the thread sanitizer makes each take a
// second.
#if defined(__SANITIZE_THREAD__)
constexpr std::size_t kStep = 40;
#else
constexpr std::size_t kStep = 1;
#endif

class WatchedQueue final : public ReadQueue {
 public:
  WatchedQueue(std::unique_ptr<ReadQueue> inner, Watch watch)
      : inner_(std::move(inner)), watch_(std::move(watch)), numbers_(inner_->depth()) {}
  [[nodiscard]] std::string_view name() const override { return inner_->name(); }
  [[nodiscard]] std::size_t depth() const override { return inner_->depth(); }
  void submit(const Read& read) override {
    if (watch_.on_submit) watch_.on_submit(read, submitted_);
    numbers_[read.tag % depth()] = submitted_++;
    inner_->submit(read);
  }
  Completion wait() override {
    Completion done = inner_->wait();
    if (watch_.on_end) done.result = watch_.on_end(done.result, numbers_[done.tag % depth()]);
    return done;
  }

 private:
  std::unique_ptr<ReadQueue> inner_;
  Watch watch_;
  std::size_t submitted_ = 0;
  std::vector<std::size_t> numbers_;  // of the reads in flight, by tag
};

Engine::Options watched(Watch watch, QueueOptions how = {}) {
  Engine::Options hooks = test::not_alone();
  hooks.open_queue = [watch, how](std::span<const File> files, std::span<std::byte> memory,
                                  const QueueOptions& options) {
    return std::make_unique<WatchedQueue>(storage::open_queue(files, memory, {options.depth, how.direct, how.uring}),
                                          watch);
  };
  return hooks;
}

class Streaming : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<test::TemporaryFolder>();
    file_ = test::write_streamed_model(folder_->path());
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::unique_ptr<Engine> resident() { return test::load(planned(file_, test::streamed_options())); }
  static std::unique_ptr<Engine> streaming(const Engine::Options& hooks = test::not_alone()) {
    return test::load(planned(file_, test::streamed_options(), 60), hooks);
  }
  // A copy that may be damaged.
  static fs::path copy(const fs::path& folder) {
    fs::copy_file(file_, folder / "copy.gguf");
    return folder / "copy.gguf";
  }

  static std::vector<float> logits(Engine& engine) {
    engine.executor().truncate(0, 0);
    return test::score(engine, kText);
  }

  inline static std::unique_ptr<test::TemporaryFolder> folder_;
  inline static fs::path file_;
};

TEST_F(Streaming, GivesTheSameLogitsWhateverPartOfTheModelIsInRam) {
  for (const bool tied : {false, true}) {
    const test::TemporaryFolder folder;
    const fs::path file = test::write_streamed_model(folder.path(), tied);
    const auto whole = test::load(planned(file, test::streamed_options()));
    const std::vector<float> expected = logits(*whole);
    Bytes before;
    for (const unsigned percent : {85U, 75U, 65U}) {
      test::Planned part = planned(file, test::streamed_options(), percent);
      const Bytes per_pass = plan::streamed_bytes(part.plan);
      EXPECT_GT(per_pass, before) << percent;
      before = per_pass;
      const auto engine = test::load(std::move(part));
      EXPECT_EQ(logits(*engine), expected) << percent << " %, tied " << tied;
      EXPECT_EQ(logits(*engine), expected) << "the second pass, " << percent << " %, tied " << tied;
    }
  }
}

TEST_F(Streaming, ReadsEveryStreamedWeightOncePerPassAndNothingElse) {
  std::mutex mutex;
  std::vector<Read> reads;
  const auto engine = streaming(watched({[&](const Read& read, std::size_t) {
                                           const std::lock_guard lock(mutex);
                                           reads.push_back(read);
                                         },
                                         {}}));
  constexpr std::size_t kPasses = 3;
  for (std::size_t i = 0; i < kPasses; ++i) logits(*engine);
  const plan::Plan& plan = engine->plan();
  ASSERT_FALSE(plan.stream.empty());

  // One pass's reads, put together, are the streamed tensors with less than a page around each read.
  std::size_t per_pass = 0;
  std::vector<Read> all;
  {
    const std::lock_guard lock(mutex);
    all = reads;
  }
  while (++per_pass < all.size() && all[per_pass].offset != all[0].offset) {
  }
  ASSERT_GE(all.size(), kPasses * per_pass);
  ASSERT_LE(all.size(), (kPasses + 1) * per_pass + plan::kStreamParts) << "more than one pass was read ahead";
  for (std::size_t i = per_pass; i < all.size(); ++i) ASSERT_EQ(all[i].offset, all[i - per_pass].offset) << i;
  Bytes read;
  for (std::size_t i = 0; i < per_pass; ++i) read += Bytes(all[i].length);
  const Bytes wanted = plan::streamed_bytes(plan);
  EXPECT_GE(read, wanted);
  EXPECT_LT(read, wanted + 2 * storage::kDirectAlignment * per_pass);
  for (const plan::StreamSlot& slot : plan.stream) {
    for (const model::TensorIndex index : slot.tensors) {
      const gguf::TensorInfo& tensor = engine->model().tensors[static_cast<std::size_t>(index)];
      Bytes covered;
      for (std::size_t i = 0; i < per_pass; ++i) {
        const Bytes begin = std::max(all[i].offset, tensor.offset);
        const Bytes end = std::min(all[i].offset + Bytes(all[i].length), tensor.offset + tensor.size);
        if (begin < end) covered += end - begin;
      }
      EXPECT_GE(covered, tensor.size) << tensor.name;
    }
  }
  // By the engine's own count: whole passes, and at most a ring that was read ahead.
  EXPECT_GE(engine->streamed_bytes(), wanted * kPasses);
  EXPECT_LT(engine->streamed_bytes(), wanted * (kPasses + 1));
}

TEST_F(Streaming, SequencesShareAPassAndGiveWhatTheyGiveFromRam) {
  plan::Options options = test::streamed_options();
  options.sequences = 3;
  options.context = 192;
  const std::vector<std::vector<Token>> prompts = {{1, 722, 832}, {5}, {9, 8, 7, 6, 5, 4, 3}};
  std::vector<std::vector<float>> results;
  std::vector<Bytes> streamed;
  for (const unsigned percent : {100U, 60U}) {
    const auto engine = test::load(planned(file_, options, percent));
    std::vector<exec::Input> inputs;
    for (std::uint32_t s = 0; s < 3; ++s) inputs.push_back({s, prompts[s], exec::Want::Last});
    std::vector<float>& rows = results.emplace_back();
    for (int step = 0; step < 3; ++step) {
      ASSERT_TRUE(engine->executor().forward(inputs, kNeverStop));
      for (std::size_t row = 0; row < 3; ++row) {
        const auto one = engine->executor().logits(row);
        rows.insert(rows.end(), one.begin(), one.end());
      }
    }
    if (percent == 100) continue;
    const Bytes per_pass = plan::streamed_bytes(engine->plan());
    EXPECT_LT(engine->streamed_bytes(), per_pass * 4) << "three steps of three sequences are three passes";
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_F(Streaming, APassStoppedAtAnyReadLeavesNothingBehind) {
  const auto whole = resident();
  const std::vector<float> expected = logits(*whole);
  for (std::size_t at = 0; at < 200; at += 7 * std::min<std::size_t>(kStep, 8)) {
    std::atomic<bool> stop{false};
    const auto engine = streaming(watched({[&](const Read&, std::size_t number) {
                                             if (number == at) stop.store(true);
                                           },
                                           {}}));
    for (int pass = 0; pass < 3; ++pass) {
      const exec::Input input{0, kText, exec::Want::Last};
      engine->executor().truncate(0, 0);
      if (!engine->executor().forward({&input, 1}, stop)) {
        EXPECT_EQ(engine->executor().cache().length(0), 0U);
      }
    }
    stop.store(false);
    ASSERT_EQ(logits(*engine), expected) << "stopped at read " << at;
  }
}

// Every read that a pass needs fails once, each on an engine of its own.
void fail_at_every_read(const std::function<std::unique_ptr<Engine>(const Engine::Options&)>& open, std::int64_t result,
                        const std::string& expected) {
  bool failed = true;
  std::size_t at = 0;
  for (; failed && at < 1000; at += kStep) {
    failed = false;
    const auto engine =
        open(watched({{}, [&](std::int64_t real, std::size_t number) { return number == at ? result : real; }}));
    const exec::Input input{0, kText, exec::Want::Last};
    try {
      ASSERT_TRUE(engine->executor().forward({&input, 1}, kNeverStop));
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.code(), ErrorCode::DeviceFailure);
      EXPECT_THAT(error.what(), HasSubstr(expected));
      EXPECT_THAT(error.what(), HasSubstr("streamed.gguf"));
      EXPECT_THROW(engine->executor().forward({&input, 1}, kNeverStop), Error) << "an engine that lost a read goes on";
    }
  }
  EXPECT_GT(at, 20U) << "the model is too small to test much";
  EXPECT_LT(at, 1000U);
}

TEST_F(Streaming, AReadThatFailsAnywhereIsAClearError) {
  fail_at_every_read([](const Engine::Options& hooks) { return streaming(hooks); }, -EIO, "Input/output error");
}

TEST_F(Streaming, AReadThatEndsEarlyAnywhereIsAClearError) {
  fail_at_every_read([](const Engine::Options& hooks) { return streaming(hooks); }, 0, "ended early");
  fail_at_every_read([](const Engine::Options& hooks) { return streaming(hooks); }, 1, "ended early");
}

TEST_F(Streaming, AfterAFailureTheProcessLoadsTheModelAgain) {
  const auto whole = resident();
  {
    const auto engine = streaming(watched({{}, [](std::int64_t, std::size_t) -> std::int64_t { return -EIO; }}));
    EXPECT_THROW(logits(*engine), Error);
  }
  const auto again = streaming();
  EXPECT_EQ(logits(*again), logits(*whole));
}

TEST_F(Streaming, AFileThatIsCutWhileInUseIsAClearError) {
  const test::TemporaryFolder folder;
  const fs::path file = copy(folder.path());
  const auto engine = test::load(planned(file, test::streamed_options(), 60));
  logits(*engine);
  fs::resize_file(file, fs::file_size(file) / 4);
  try {
    logits(*engine);
    FAIL() << "a quarter of a file went unnoticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::DeviceFailure);
    EXPECT_THAT(error.what(), HasSubstr("changed while it was in use"));
  }
}

TEST_F(Streaming, AFileThatIsWrittenToWhileInUseIsAClearError) {
  const test::TemporaryFolder folder;
  const fs::path file = copy(folder.path());
  const auto engine = test::load(planned(file, test::streamed_options(), 60));
  logits(*engine);
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(-64, std::ios::end);
  stream.write("otherwise", 9);
  stream.close();
  EXPECT_THROW(logits(*engine), Error);
}

TEST_F(Streaming, AFileThatIsDeletedOrReplacedWhileInUseIsReadOn) {
  const test::TemporaryFolder folder;
  const fs::path file = copy(folder.path());
  const auto engine = test::load(planned(file, test::streamed_options(), 60));
  const std::vector<float> before = logits(*engine);
  fs::remove(file);
  std::ofstream(file) << "something else";
  EXPECT_EQ(logits(*engine), before);
}

TEST_F(Streaming, WorksWithoutIoUringAndWithoutDirectReads) {
  const auto whole = resident();
  const std::vector<float> expected = logits(*whole);
  for (const QueueOptions how :
       {QueueOptions{0, true, false}, QueueOptions{0, false, true}, QueueOptions{0, false, false}}) {
    const auto engine = streaming(watched({}, how));
    EXPECT_EQ(logits(*engine), expected) << how.direct << how.uring;
    EXPECT_EQ(logits(*engine), expected) << how.direct << how.uring;
  }
}

TEST_F(Streaming, WorksOnAFileSystemInMemory) {
  const fs::path shared = "/dev/shm";
  if (!fs::is_directory(shared)) GTEST_SKIP() << "this machine has no /dev/shm";
  const fs::path folder = shared / fs::path(folder_->path()).filename();
  fs::create_directory(folder);
  {
    const auto whole = resident();
    const auto engine = test::load(planned(copy(folder), test::streamed_options(), 60));
    EXPECT_EQ(logits(*engine), logits(*whole));
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace loadline::engine

#include "backend/cpu/measure_kernels.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "backend/cpu/layout.h"
#include "backend/cpu/run_shares.h"
#include "base/clock.h"
#include "base/huge_memory.h"
#include "base/thread_pool.h"
#include "hardware/timed_pass.h"
#include "quant/attention_workspace.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSide = 4096;  // of a matrix
// Of weights. Far beyond the caches: with four times their size, reading it again and again was a fifth faster than
// reading a model is (measured on a server processor with 32 MiB).
constexpr std::size_t kMemory = 512U << 20U;
constexpr int kAttempts = 2;

struct Region : HugeMemory {
  explicit Region(std::size_t size) : HugeMemory(size, "to measure kernels in") {}
};

// Random bits without a half that reads as infinity or NaN: weights of every format that has blocks.
void fill_random(std::byte* data, std::size_t size) {
  std::uint64_t state = 88172645463325252ULL;
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t word = state & 0xBFFFBFFFBFFFBFFFULL;
    std::memcpy(data + i, &word, 8);
  }
}

// Of float formats, numbers of ordinary size: arithmetic on denormals is slow.
void fill_floats(TensorType type, std::byte* data, std::size_t size) {
  constexpr std::size_t kCount = 4099;
  std::vector<float> values(kCount);
  for (std::size_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
  std::vector<std::byte> encoded(quant::size_of(type, kCount).value);
  quant::encode_row(type, values.data(), encoded.data(), kCount);
  for (std::size_t i = 0; i < size; i += encoded.size()) {
    std::memcpy(data + i, encoded.data(), std::min(encoded.size(), size - i));
  }
}

// MXFP4's scales are powers of two: such of ordinary size.
void fill_powers(std::byte* data, std::size_t size) {
  constexpr std::size_t kTileBlock = kTileRows * 17;
  for (std::size_t i = 0; i + kTileBlock <= size; i += kTileBlock) {
    for (std::size_t r = 0; r < kTileRows; ++r) data[i + r] = (data[i + r] & std::byte{15}) | std::byte{0x70};
  }
}

class Meter {
 public:
  Meter(const KernelTable& table, unsigned threads)
      : table_(table),
        pool_(static_cast<int>(threads)),
        weights_(kMemory),
        workspaces_(std::max<std::size_t>(1, quant::matrix_workspace(kTokens).value * threads)) {
    fill_random(weights_.data(), kMemory);
  }

  // bytes/s of weights, a token at a time.
  double generation(TensorType type) {
    const std::size_t bytes = quant::size_of(type, kSide * kSide).value;
    const std::size_t count = kMemory / bytes;
    const Input x(table_, type, 1);
    const Region out(kSide * sizeof(float));
    std::vector<WorkShares> shares;
    for (std::size_t i = 0; i < count; ++i) shares.emplace_back(pool_.threads());
    const double seconds = typical([&] {
      for (WorkShares& of_matrix : shares) {
        for (int thread = 0; thread < pool_.threads(); ++thread) of_matrix.renew(0, thread);
      }
      pool_.run([&](int thread) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
          MatmulTask task{{type, weights_.data() + i * bytes, kSide, kSide},
                          x.prepared.data(),
                          1,
                          out.as<float>(),
                          kSide,
                          nullptr,
                          false};
          run_shares(
              shares[i], 0, task.weights.tiles(), pool_.threads(), thread, [] { return true; },
              [&](std::uint64_t begin, std::uint64_t end, std::uint64_t alongside) {
                task.alongside = alongside;
                table_.matmul(task, begin, end, nullptr);
              });
        }
      });
    });
    return static_cast<double>(count * bytes) / seconds;
  }

  // operations/s with a batch of tokens.
  double prompt(TensorType type) {
    constexpr std::uint64_t kRows = 512;
    const Input x(table_, type, kTokens);
    const Region out(kRows * kTokens * sizeof(float));
    const MatmulTask task{
        {type, weights_.data(), kRows, kSide}, x.prepared.data(), kTokens, out.as<float>(), kRows, nullptr, false};
    const std::size_t workspace = quant::matrix_workspace(kTokens).value;
    const double seconds = typical([&] {
      split(kRows / kTileRows, table_.matrix_unit ? quant::kMatrixRows / kTileRows : 4,
            [&](std::uint64_t begin, std::uint64_t end, int thread) {
              MatmulTask mine = task;
              if (table_.matrix_unit)
                mine.workspace = workspaces_.data() + static_cast<std::size_t>(thread) * workspace;
              table_.matmul(mine, begin, end, nullptr);
            });
    });
    return 2.0 * kRows * kSide * kTokens / seconds;
  }

  // Attention with a cache in F16: bytes/s of it for one token after `before` cells, or operations/s for a batch. 32
  // heads over 8 KV heads of 128 dimensions, in as many layers as are beyond the caches.
  double attention(std::uint32_t before, std::uint32_t tokens) {
    constexpr std::uint32_t kHeads = 32;
    constexpr std::uint32_t kKvHeads = 8;
    constexpr std::uint32_t kDim = 128;
    const std::uint32_t cells = before + tokens;
    const std::uint32_t pages = (cells + quant::kKvPageCells - 1) / quant::kKvPageCells;
    const std::uint32_t layers = tokens == 1 ? 8 : 1;
    const std::size_t bytes = quant::kv_page_head_bytes(TensorType::F16, kDim).value * kKvHeads * pages;
    const Region k(bytes * layers);
    const Region v(bytes * layers);
    fill_floats(TensorType::F16, k.data(), bytes * layers);
    fill_floats(TensorType::F16, v.data(), bytes * layers);
    std::vector<std::uint32_t> order(pages);
    std::iota(order.begin(), order.end(), 0U);
    std::vector<float> q(std::size_t{tokens} * kHeads * kDim, 0.1F);
    std::vector<float> out(q.size());
    const Region workspace(std::max<std::size_t>(1, quant::attention_workspace(kHeads, kDim, tokens, cells).value));
    const TokenRun run{0, tokens, before, order.data()};
    const double seconds = typical([&] {
      for (std::uint32_t layer = 0; layer < layers; ++layer) {
        const KvLayer kv{
            TensorType::F16, TensorType::F16, k.data() + layer * bytes, v.data() + layer * bytes, kKvHeads, kDim, kDim};
        const AttentionTask task{kv, {&run, 1}, q.data(), out.data(), kHeads, 0.088F, workspace.data()};
        split(attention_units(task), 1,
              [&](std::uint64_t begin, std::uint64_t end, int) { table_.attention(task, begin, end, nullptr); });
        table_.attention_finish(task, 0, tokens, 0, kHeads);
      }
    });
    if (tokens == 1) return static_cast<double>(2 * bytes * layers) / seconds;
    const double pairs = static_cast<double>(tokens) * (before + tokens / 2.0);
    return pairs * kHeads * kDim * 4 * layers / seconds;
  }

  void use_floats(TensorType type) { fill_floats(type, weights_.data(), kMemory); }
  void use_powers() { fill_powers(weights_.data(), kMemory); }
  [[nodiscard]] double share() const { return share_; }

 private:
  static constexpr std::uint32_t kTokens = 256;

  struct Input {
    Input(const KernelTable& table, TensorType type, std::uint32_t tokens)
        : values(tokens * kSide), prepared(quant::activation_bytes(kind(table, type, tokens), kSide, tokens).value) {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
      table.prepare(kind(table, type, tokens), values.data(), kSide, kSide, 0, tokens, tokens, prepared.data());
    }
    static quant::ActivationKind kind(const KernelTable& table, TensorType type, std::uint32_t tokens) {
      const quant::ActivationKind kind = quant::activation_kind(type);
      return table.matrix_unit && tokens >= quant::kMatrixTokens ? quant::in_tiles(kind) : kind;
    }
    std::vector<float> values;
    Region prepared;
  };

  template <class Work>
  void split(std::uint64_t count, std::uint64_t least, const Work& work) {
    queue_.reset();
    pool_.run([&](int thread) noexcept {
      while (true) {
        const auto [begin, end] = queue_.claim(count, pool_.threads(), least);
        if (begin == end) return;
        work(begin, end, thread);
      }
    });
  }

  // Of processors, that all threads had so far.
  double seconds_of_all() {
    std::atomic<double> sum = 0;
    pool_.run([&](int) noexcept { sum += thread_processor_seconds(); });
    return sum;
  }

  // Seconds of the middle one of a few runs. Again where others had the processors.
  template <class Work>
  double typical(const Work& work) {
    constexpr std::size_t kPasses = 5;
    constexpr double kEnough = 0.3;  // s: so much says as much in fewer passes
    work();
    hardware::TimedPass middle{0, 0};
    for (int attempt = 0; attempt < kAttempts && middle.share < kLeastShare; ++attempt) {
      std::vector<hardware::TimedPass> passes;
      for (double all = 0; passes.size() < kPasses && all < kEnough; all += passes.back().seconds) {
        const double before = seconds_of_all();
        const Clock::time_point start = Clock::now();
        work();
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        passes.push_back({seconds, std::min(1.0, (seconds_of_all() - before) / (seconds * pool_.threads()))});
      }
      middle = hardware::middle_of(std::move(passes));
    }
    share_ = std::min(share_, middle.share);
    return middle.seconds;
  }

  const KernelTable& table_;
  ThreadPool pool_;
  WorkQueue queue_;
  Region weights_, workspaces_;
  double share_ = 1;
};

}  // namespace

double measure_loading(unsigned threads, Bytes most) {
  constexpr TensorType kType = TensorType::Q4_K;
  constexpr std::uint64_t kRowsAtOnce = 256;
  const std::uint64_t row = quant::size_of(kType, kSide).value;
  const std::uint64_t pieces = std::clamp<std::uint64_t>(most.value / (row * kRowsAtOnce), 1, 512);
  const std::uint64_t rows = pieces * kRowsAtOnce;
  const std::vector<std::byte> source(kRowsAtOnce * row, std::byte{1});
  const Region target(rows * row);
  ThreadPool pool(static_cast<int>(threads));
  std::atomic<std::uint64_t> next{0};
  const Clock::time_point start = Clock::now();
  pool.run([&](int) noexcept {
    for (std::uint64_t piece = next++; piece < pieces; piece = next++) {
      repack_rows(kType, kSide, rows, piece * kRowsAtOnce, kRowsAtOnce, source.data(), target.data());
    }
  });
  return static_cast<double>(rows * row) / std::chrono::duration<double>(Clock::now() - start).count();
}

hardware::KernelRates measure_kernels(const KernelTable& table, unsigned threads, double& share,
                                      const std::function<void(std::string_view what, double done)>& progress) {
  std::vector<TensorType> formats;
#define LOADLINE_PRODUCT(format, way) formats.push_back(TensorType::format);
#include "backend/cpu/kernels.inc"
  // Whose weights are any bits first, then those that need others.
  const auto order = [](TensorType type) {
    if (quant::activation_kind(type) != quant::ActivationKind::Int8) return 2;
    return type == TensorType::MXFP4 ? 1 : 0;
  };
  std::ranges::stable_sort(formats, {}, order);

  Meter meter(table, threads);
  hardware::KernelRates rates;
  const double steps = static_cast<double>(formats.size()) + 1;
  for (std::size_t i = 0; i < formats.size(); ++i) {
    const TensorType type = formats[i];
    progress(quant::name_of(type), static_cast<double>(i) / steps);
    if (order(type) == 1) meter.use_powers();
    if (order(type) == 2) meter.use_floats(type);
    rates.products.push_back({std::string(quant::name_of(type)), meter.generation(type), meter.prompt(type)});
    share = meter.share();
    if (share < kLeastShare) return rates;
  }
  progress("attention", static_cast<double>(formats.size()) / steps);
  rates.cache_bandwidth = meter.attention(4095, 1);
  rates.attention_ops = meter.attention(256, 256);
  share = meter.share();
  return rates;
}

}  // namespace loadline::cpu

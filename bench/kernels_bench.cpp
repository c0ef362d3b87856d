// kernels_bench [--set NAME] [--filter TEXT] [--threads N]: every row of the kernel table against what the machine can
// do at best, both measured in the same run. A table on standard output, one row per line:
//   generate FORMAT   one token times matrices of 1 GiB together: weights per second, share of the rate at which the
//                     same memory is read, measured in turn
//   batchN FORMAT     N tokens, likewise: 2, 4, 6, 8, 12, 16, 24
//   prompt FORMAT     512 tokens times a matrix of 4096 columns (prompt14k: of 14336): operations per second, share of
//                     the 8-bit peak (float peak for the float formats; of all in a set with a matrix unit its peak)
//   decode K/V        one token's attention over 8192 cells: bytes of cache per second, share of the read bandwidth
//   attend K/V        512 tokens' attention after 1536 cells: operations per second, share of the float peak
// Each figure is the median of at least five runs.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/layout.h"
#include "backend/cpu/run_shares.h"
#include "backend/cpu/tile.h"
#include "base/huge_memory.h"
#include "base/thread_pool.h"
#include "hardware/measure_cpu.h"
#include "quant/attention_workspace.h"
#include "quant/matrix_workspace.h"

namespace loadline::bench {
namespace {

using cpu::KernelTable;
using cpu::Matrix;
using quant::TensorType;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;  // of measuring a limit and what it limits in turn

struct Options {
  std::string set, filter;
  unsigned threads = std::max(1U, std::thread::hardware_concurrency());
};

struct Region : HugeMemory {
  explicit Region(std::size_t size) : HugeMemory(size, "to measure with") {}
};

// Random weights: of the float formats, numbers of ordinary size (arithmetic on denormals is slow); else random bits
// without a half that reads as infinity or NaN.
void fill_random(TensorType type, std::byte* data, std::size_t size) {
  if (quant::activation_kind(type) == quant::ActivationKind::Float32) {
    constexpr std::size_t kCount = 4099;
    std::vector<float> values(kCount);
    for (std::size_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
    std::vector<std::byte> encoded(quant::size_of(type, kCount).value);
    quant::encode_row(type, values.data(), encoded.data(), kCount);
    for (std::size_t i = 0; i < size; i += encoded.size()) {
      std::memcpy(data + i, encoded.data(), std::min(encoded.size(), size - i));
    }
    return;
  }
  std::uint64_t state = 88172645463325252ULL;
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    const std::uint64_t word = state & 0xBFFFBFFFBFFFBFFFULL;
    std::memcpy(data + i, &word, 8);
  }
  // Scales of ordinary size: arithmetic on denormals is slow, and what random bytes stand for often is one.
  const auto limit_scales = [&](std::size_t scales, std::size_t block, std::byte kept, std::byte set) {
    for (std::size_t i = 0; i + block * cpu::kTileRows <= size; i += block * cpu::kTileRows) {
      for (std::size_t r = 0; r < scales * cpu::kTileRows; ++r) data[i + r] = (data[i + r] & kept) | set;
    }
  };
  if (type == TensorType::MXFP4) limit_scales(1, 17, std::byte{0x0F}, std::byte{0x70});
  if (type == TensorType::NVFP4) limit_scales(4, 36, std::byte{0x3F}, std::byte{0x20});
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

double median_seconds(const std::function<void()>& run) {
  run();
  std::vector<double> seconds;
  double total = 0;
  while (seconds.size() < 5 || (total < 0.15 && seconds.size() < 200)) {
    const Clock::time_point start = Clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    total += seconds.back();
  }
  return median(seconds);
}

class Runner {
 public:
  Runner(const KernelTable& table, const Options& options)
      : table_(table),
        options_(options),
        pool_(static_cast<int>(options.threads)),
        bandwidth_(hardware::measure_read_bandwidth(options.threads)),
        int8_peak_(hardware::measure_int8_peak(table.name, options.threads)),
        float_peak_(hardware::measure_float_peak(table.name, options.threads)),
        matrix_peak_(table.matrix_unit ? hardware::measure_matrix_peak(options.threads) : 0) {
    fmt::print("set {}, {} threads: read {:.1f} GB/s, int8 {:.0f} Gops, float32 {:.0f} Gops, matrix unit {:.0f} Gops\n",
               table.name, options.threads, bandwidth_ / 1e9, int8_peak_ / 1e9, float_peak_ / 1e9, matrix_peak_ / 1e9);
  }

  void products(const quant::Format& format) {
    const std::string name(format.name);
    if (wanted("generate " + name)) stream(format, 1, "generate " + name);
    for (const std::uint32_t tokens : {2U, 4U, 6U, 8U, 12U, 16U, 24U}) {
      const std::string row = fmt::format("batch{} {}", tokens, name);
      if (wanted(row)) stream(format, tokens, row);
    }
    if (wanted("prompt " + name)) prompt(format, 4096, "prompt " + name);
    if (wanted("prompt14k " + name)) prompt(format, 14336, "prompt14k " + name);
  }

  void attention(TensorType k, TensorType v) {
    const std::string types = std::string(quant::name_of(k)) + "/" + std::string(quant::name_of(v));
    if (wanted("decode " + types)) attend(k, v, 8191, 1, "decode " + types);
    if (wanted("attend " + types)) attend(k, v, 1536, 512, "attend " + types);
  }

 private:
  [[nodiscard]] bool wanted(const std::string& row) const { return row.find(options_.filter) != std::string::npos; }

  // Calls work(begin, end) on all threads until [0, count) is done, as the device does.
  void split(std::uint64_t count, std::uint64_t least,
             const std::function<void(std::uint64_t begin, std::uint64_t end, int thread)>& work) {
    queue_.reset();
    pool_.run([&](int thread) noexcept {
      while (true) {
        const auto [begin, end] = queue_.claim(count, pool_.threads(), least);
        if (begin == end) return;
        work(begin, end, thread);
      }
    });
  }

  static quant::ActivationKind kind_for(const KernelTable& table, TensorType type, std::uint32_t tokens) {
    const quant::ActivationKind kind = quant::activation_kind(type);
    return table.matrix_unit && tokens >= quant::kMatrixTokens ? quant::in_tiles(kind) : kind;
  }

  struct Input {
    Input(const KernelTable& table, TensorType type, std::uint64_t columns, std::uint32_t tokens)
        : values(tokens * columns),
          prepared(quant::activation_bytes(kind_for(table, type, tokens), columns, tokens).value) {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
      table.prepare(kind_for(table, type, tokens), values.data(), columns, columns, 0, tokens, tokens, prepared.data());
    }
    std::vector<float> values;
    Region prepared;
  };

  // `tokens` tokens times 1 GiB of matrices [4096][4096], of which each thread has its share, as the device does it.
  // The results of some matrices take turns in the caches, as a model's do.
  void stream(const quant::Format& format, std::uint32_t tokens, const std::string& name) {
    constexpr std::uint64_t kSide = 4096;
    constexpr std::size_t kOutputs = 4;
    const std::size_t bytes = quant::size_of(format.type, kSide * kSide).value;
    const std::size_t count = (std::size_t{1} << 30) / bytes;
    const Region weights(count * bytes);
    fill_random(format.type, weights.data(), count * bytes);
    const Input x(table_, format.type, kSide, tokens);
    const Region out(kOutputs * kSide * tokens * sizeof(float));
    std::vector<WorkShares> shares;
    for (std::size_t i = 0; i < count; ++i) shares.emplace_back(pool_.threads());
    const auto multiply = [&] {
      for (WorkShares& of_matrix : shares) {
        for (int thread = 0; thread < pool_.threads(); ++thread) of_matrix.renew(0, thread);
      }
      pool_.run([&](int thread) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
          cpu::MatmulTask task{{format.type, weights.data() + i * bytes, kSide, kSide},
                               x.prepared.data(),
                               tokens,
                               out.as<float>() + i % kOutputs * kSide * tokens,
                               kSide,
                               nullptr,
                               false};
          const auto range = [&](std::uint64_t begin, std::uint64_t end, std::uint64_t alongside) {
            task.alongside = alongside;
            table_.matmul(task, begin, end, nullptr);
          };
          const std::uint64_t tiles = task.weights.tiles();
          if (tokens <= table_.few_tokens(format.type)) {
            cpu::run_shares(shares[i], 0, tiles, pool_.threads(), thread, [] { return true; }, range);
          } else {
            range(tiles * thread / pool_.threads(), tiles * (thread + 1) / pool_.threads(), 0);
          }
        }
      });
    };
    // The machine's memory may become slower or faster from one second to the next: so in turn.
    std::vector<double> rates;
    std::vector<double> limits;
    for (int round = 0; round < kRounds; ++round) {
      limits.push_back(hardware::measure_read_bandwidth(options_.threads, {weights.data(), count * bytes}));
      rates.push_back(static_cast<double>(count * bytes) / median_seconds(multiply));
    }
    const double rate = median(rates);
    const double operations = 2.0 * kSide * kSide * tokens * rate / static_cast<double>(bytes);
    const bool int8 = quant::activation_kind(format.type) == quant::ActivationKind::Int8;
    fmt::print("{:<20} {:8.2f} GB/s    {:5.1f} % of {:.2f} GB/s read, {:5.1f} % of {} peak\n", name, rate / 1e9,
               100 * rate / median(limits), median(limits) / 1e9, 100 * operations / (int8 ? int8_peak_ : float_peak_),
               int8 ? "int8" : "float32");
    std::fflush(stdout);
  }

  void prompt(const quant::Format& format, std::uint64_t columns, const std::string& name) {
    constexpr std::uint64_t kRows = 2048;
    constexpr std::uint32_t kTokens = 512;
    const Region weights(quant::size_of(format.type, kRows * columns).value);
    fill_random(format.type, weights.data(), quant::size_of(format.type, kRows * columns).value);
    const Input x(table_, format.type, columns, kTokens);
    std::vector<float> out(kRows * kTokens);
    const cpu::MatmulTask task{
        {format.type, weights.data(), kRows, columns}, x.prepared.data(), kTokens, out.data(), kRows, nullptr, false};
    const std::size_t workspace_bytes = quant::matrix_workspace(kTokens).value;
    const Region workspaces(workspace_bytes * options_.threads);
    const double seconds = median_seconds([&] {
      split(kRows / cpu::kTileRows, table_.matrix_unit ? quant::kMatrixRows / cpu::kTileRows : 4,
            [&](std::uint64_t begin, std::uint64_t end, int thread) {
              cpu::MatmulTask mine = task;
              if (table_.matrix_unit)
                mine.workspace = workspaces.data() + static_cast<std::size_t>(thread) * workspace_bytes;
              table_.matmul(mine, begin, end, nullptr);
            });
    });
    const double rate = 2.0 * kRows * static_cast<double>(columns) * kTokens / seconds;
    const bool int8 = quant::activation_kind(format.type) == quant::ActivationKind::Int8;
    const double peak = table_.matrix_unit ? matrix_peak_ : int8 ? int8_peak_ : float_peak_;
    fmt::print("{:<20} {:8.1f} Gops    {:5.1f} % of {} peak\n", name, rate / 1e9, 100 * rate / peak,
               table_.matrix_unit ? "matrix unit's"
               : int8             ? "int8"
                                  : "float32");
    std::fflush(stdout);
  }

  // 32 heads over 8 KV heads of 128 dimensions; enough layers that the cache is not in the processor's caches.
  void attend(TensorType k, TensorType v, std::uint32_t before, std::uint32_t tokens, const std::string& name) {
    constexpr std::uint32_t kHeads = 32;
    constexpr std::uint32_t kKvHeads = 8;
    constexpr std::uint32_t kDim = 128;
    const std::uint32_t cells = before + tokens;
    const std::uint32_t pages = (cells + 31) / 32;
    const std::uint32_t layers = tokens == 1 ? 16 : 2;
    const std::size_t k_bytes = quant::kv_page_head_bytes(k, kDim).value * kKvHeads * pages;
    const std::size_t v_bytes = quant::kv_page_head_bytes(v, kDim).value * kKvHeads * pages;
    const Region ks(k_bytes * layers);
    const Region vs(v_bytes * layers);
    std::vector<float> row(kKvHeads * kDim);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(i * 2654435761U % 1000) / 500 - 1;
    std::vector<std::uint32_t> order(pages);
    std::iota(order.begin(), order.end(), 0U);
    std::vector<cpu::KvLayer> cache;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      cache.push_back({k, v, ks.data() + layer * k_bytes, vs.data() + layer * v_bytes, kKvHeads, kDim, kDim});
      for (std::uint32_t c = 0; c < cells; ++c) {
        row[c % row.size()] += 0.01F;
        table_.store_kv(cache.back(), c / 32, c % 32, row.data(), row.data(), 0, kKvHeads);
      }
    }
    std::vector<float> q(std::size_t{tokens} * kHeads * kDim, 0.1F);
    std::vector<float> out(q.size());
    const Region workspace(std::max<std::size_t>(1, quant::attention_workspace(kHeads, kDim, tokens, cells).value));
    const cpu::TokenRun run{0, tokens, before, order.data()};
    const double seconds = median_seconds([&] {
      for (const cpu::KvLayer& layer : cache) {
        const cpu::AttentionTask task{layer, {&run, 1}, q.data(), out.data(), kHeads, 0.088F, workspace.data()};
        split(cpu::attention_units(task), 1,
              [&](std::uint64_t begin, std::uint64_t end, int) { table_.attention(task, begin, end, nullptr); });
        table_.attention_finish(task, 0, tokens, 0, task.heads);
      }
    });
    if (tokens == 1) {
      const double rate = static_cast<double>((k_bytes + v_bytes) * layers) / seconds;
      fmt::print("{:<20} {:8.2f} GB/s    {:5.1f} % of read bandwidth\n", name, rate / 1e9, 100 * rate / bandwidth_);
    } else {
      const double pairs = static_cast<double>(tokens) * (before + tokens / 2.0);
      const double rate = pairs * kHeads * kDim * 4 * layers / seconds;
      fmt::print("{:<20} {:8.1f} Gops    {:5.1f} % of float32 peak\n", name, rate / 1e9, 100 * rate / float_peak_);
    }
    std::fflush(stdout);
  }

  const KernelTable& table_;
  const Options& options_;
  ThreadPool pool_;
  WorkQueue queue_;
  double bandwidth_, int8_peak_, float_peak_, matrix_peak_;
};

int run(const Options& options) {
  for (const KernelTable* table : cpu::available_kernels()) {
    if (options.set.empty() ? table != cpu::available_kernels().back() : table->name != options.set) continue;
    Runner runner(*table, options);
#define LOADLINE_PRODUCT(format, way) runner.products(quant::format_of(TensorType::format));
#include "backend/cpu/kernels.inc"
    for (const TensorType k : {
#define LOADLINE_CACHE(format) TensorType::format,
#include "backend/cpu/kernels.inc"
         }) {
#define LOADLINE_CACHE(format) runner.attention(k, TensorType::format);
#include "backend/cpu/kernels.inc"
    }
    return 0;
  }
  fmt::print(stderr, "kernels_bench: this processor cannot run the instruction set \"{}\"\n", options.set);
  return 2;
}

}  // namespace
}  // namespace loadline::bench

int main(int argc, char** argv) {
  loadline::bench::Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value != nullptr && name == "--set") {
      options.set = value;
    } else if (value != nullptr && name == "--filter") {
      options.filter = value;
    } else if (value != nullptr && name == "--threads") {
      options.threads = static_cast<unsigned>(std::max(1, std::atoi(value)));
    } else {
      fmt::print(stderr, "usage: kernels_bench [--set NAME] [--filter TEXT] [--threads N]\n");
      return 2;
    }
  }
  try {
    return loadline::bench::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "kernels_bench: {}\n", error.what());
    return 1;
  }
}

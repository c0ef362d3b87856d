#include "hardware/measure_cpu.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/huge_memory.h"
#include "base/matrix_unit.h"
#include "hardware/timed_pass.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace loadline::hardware {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Keeps a result from being optimised away.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

// A pass's share is that of the thread that got least.
using Pass = TimedPass;

// Runs `work(thread)` on all threads at once, `passes` times. A pass begins for all of them when the last one has come:
// a thread that then waits for a processor has none, however undisturbed it runs once it has got one.
template <class Work>
std::vector<Pass> timed_passes(unsigned threads, int passes, const Work& work) {
  Clock::time_point start;
  std::barrier meet(static_cast<std::ptrdiff_t>(threads), [&]() noexcept { start = Clock::now(); });
  std::barrier<> end(static_cast<std::ptrdiff_t>(threads));
  std::vector<Pass> results;
  std::vector<double> shares(threads, 1);
  const auto run = [&](unsigned thread) {
    for (int pass = 0; pass < passes; ++pass) {
      meet.arrive_and_wait();
      const double before = thread_processor_seconds();
      work(thread);
      // Against the clock until this thread is done: it may well wait for the others then.
      shares[thread] = std::min(1.0, (thread_processor_seconds() - before) / std::max(1e-9, seconds_since(start)));
      end.arrive_and_wait();
      if (thread == 0) results.push_back({seconds_since(start), std::ranges::min(shares)});
    }
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& other : others) other.join();
  return results;
}

// Interruptions by others only ever make a pass slower.
template <class Work>
Pass fastest_pass(unsigned threads, int passes, const Work& work) {
  return std::ranges::min(timed_passes(threads, passes, work), {}, &Pass::seconds);
}

void tell(double* share, const Pass& pass) {
  if (share != nullptr) *share = pass.share;
}

struct Region : HugeMemory {
  explicit Region(std::size_t size) : HugeMemory(size, "to measure its speed with") {}
};

// Reads a multiple of 512 bytes.
void read_plain(const std::byte* data, std::size_t size) {
  std::uint64_t sum = 0;
  for (const std::byte* end = data + size; data != end; data += 256) {
    const auto* words = reinterpret_cast<const std::uint64_t*>(data);
    for (int i = 0; i < 32; ++i) sum += words[i];
  }
  keep(sum);
}

// Fetches ahead at two distances, into the first cache and into the one behind it; 0: not at all. Written out as
// instructions, since the compiler moves its own prefetches to where the loop begins.
template <int kNear, int kFar>
__attribute__((always_inline)) inline void fetch_ahead([[maybe_unused]] const std::byte* p) {
#if defined(__x86_64__)
  if constexpr (kNear > 0) asm volatile("prefetcht0 %0" : : "m"(p[kNear]));
  if constexpr (kFar > 0) asm volatile("prefetcht1 %0" : : "m"(p[kFar]));
#endif
}

#if defined(__x86_64__)
// As two streams in turn, or one after the other.
template <int kStreams, int kNear, int kFar>
__attribute__((target("avx512f"))) void read_avx512(const std::byte* data, std::size_t size) {
  __m512i a = _mm512_setzero_si512();
  __m512i b = a;
  const std::size_t part = size / 512 * 512 / kStreams;  // the second stream's beginning
  for (std::size_t at = 0; at < part; at += 256) {
    for (int stream = 0; stream < kStreams; ++stream) {
      const std::byte* p = data + static_cast<std::size_t>(stream) * part + at;
      for (int i = 0; i < 256; i += 128) {
        fetch_ahead<kNear, kFar>(p + i);
        a = _mm512_xor_si512(a, _mm512_loadu_si512(p + i));
        fetch_ahead<kNear, kFar>(p + i + 64);
        b = _mm512_xor_si512(b, _mm512_loadu_si512(p + i + 64));
      }
    }
  }
  a = _mm512_xor_si512(a, b);
  keep(a);
}

template <int kStreams, int kNear, int kFar>
__attribute__((target("avx2"))) void read_avx2(const std::byte* data, std::size_t size) {
  __m256i a = _mm256_setzero_si256();
  __m256i b = a;
  const std::size_t part = size / 512 * 512 / kStreams;
  for (std::size_t at = 0; at < part; at += 256) {
    for (int stream = 0; stream < kStreams; ++stream) {
      const std::byte* p = data + static_cast<std::size_t>(stream) * part + at;
      for (int i = 0; i < 256; i += 64) {
        fetch_ahead<kNear, kFar>(p + i);
        a = _mm256_xor_si256(a, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i)));
        b = _mm256_xor_si256(b, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i + 32)));
      }
    }
  }
  a = _mm256_xor_si256(a, b);
  keep(a);
}
#endif

// The ways of reading that were the fastest on some machine; the limit is the most that any of them gets. On Intel's
// server processors two streams fetched at two distances: one distance reads a sixth less, as near the core there is
// room for few lines under way, and further away the hardware stops at the end of a page. On AMD's Zen 3 one distance
// further away, as the kernels have it, or leaving it to the processor.
using WayOfReading = void (*)(const std::byte* data, std::size_t size);
std::vector<WayOfReading> readers() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    return {read_avx512<2, 1024, 2048>, read_avx512<2, 1792, 3328>, read_avx512<2, 3328, 0>, read_avx512<1, 0, 0>};
  }
  if (__builtin_cpu_supports("avx2")) {
    return {read_avx2<2, 1024, 2048>, read_avx2<2, 3328, 0>, read_avx2<2, 0, 0>, read_avx2<1, 0, 0>,
            read_avx2<1, 3328, 0>};
  }
#endif
  return {read_plain};
}

// Peak loops: kChains independent accumulators hide the latency of the instruction; the compiler may not see through
// the operands. Each returns the operations (two per multiply-add) of `rounds` rounds.
constexpr int kChains = 12;

double int8_scalar(std::uint64_t rounds) {
  std::int32_t sums[kChains] = {};
  std::int32_t a = 3;
  std::int32_t b = 5;
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+r"(a), "+r"(b));
    for (std::int32_t& sum : sums) sum += a * b;
    asm volatile("" : : "r"(sums) : "memory");
  }
  return 2.0 * kChains * static_cast<double>(rounds);
}

double float_scalar(std::uint64_t rounds) {
  float sums[kChains] = {};
  for (std::uint64_t r = 0; r < rounds; ++r) {
    float a = 1.5F;
    float b = 0.5F;
    asm volatile("" : "+m"(a), "+m"(b));
    for (float& sum : sums) sum += a * b;
    asm volatile("" : : "r"(sums) : "memory");
  }
  return 2.0 * kChains * static_cast<double>(rounds);
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) double int8_avx512(std::uint64_t rounds) {
  __m512i sums[kChains];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(5);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
  }
  keep(sums);
  return 128.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx512f"))) double float_avx512(std::uint64_t rounds) {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  __m512 a = _mm512_set1_ps(1.5F);
  const __m512 b = _mm512_set1_ps(0.5F);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+v"(a));
#pragma GCC unroll 12
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  }
  keep(sums);
  return 32.0 * kChains * static_cast<double>(rounds);
}

// Products of bfloat16 in tiles of 16 rows of 64 bytes, 2 x 2 of them at a time as the kernels have them, all loaded
// from the first cache: 16 x 16 x 32 multiply-adds each.
__attribute__((target("amx-tile,amx-bf16"))) double matrix_amx(std::uint64_t rounds) {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shapes;
  alignas(64) std::byte operands[4][1024] = {};
  _tile_loadconfig(&shapes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::uint64_t i = 0; i < rounds; ++i) {
    _tile_loadd(4, operands[0], 64);
    _tile_loadd(6, operands[2], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, operands[3], 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, operands[1], 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, operands[0], 64);
  _tile_release();
  keep(operands);
  return 4.0 * 2 * 16 * 16 * 32 * static_cast<double>(rounds);
}

// Without a dot product instruction 32 products are summed in pairs, which are then added up as 16 bits, and widened
// after every eighth: as often as weights of 4 bits need.
__attribute__((target("avx2"))) double int8_avx2(std::uint64_t rounds) {
  constexpr int kRuns = 4;
  constexpr int kSteps = 8;
  __m256i sums[kRuns];
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    __m256i runs[kRuns];
#pragma GCC unroll 8
    for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 4
      for (int i = 0; i < kRuns; ++i) {
        asm volatile("" : "+x"(a));
        const __m256i products = _mm256_maddubs_epi16(a, b);
        runs[i] = step == 0 ? products : _mm256_add_epi16(runs[i], products);
        asm volatile("" : "+x"(runs[i]));
      }
    }
    for (int i = 0; i < kRuns; ++i) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(runs[i], ones));
  }
  keep(sums);
  return 64.0 * kRuns * kSteps * static_cast<double>(rounds);
}

__attribute__((target("avx2,avxvnni"))) double int8_avxvnni(std::uint64_t rounds) {
  __m256i sums[kChains];
  for (__m256i& sum : sums) sum = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+x"(a));
#pragma GCC unroll 12
    for (__m256i& sum : sums) sum = _mm256_dpbusd_avx_epi32(sum, a, b);
  }
  keep(sums);
  return 64.0 * kChains * static_cast<double>(rounds);
}

__attribute__((target("avx2,fma"))) double float_avx2(std::uint64_t rounds) {
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  __m256 a = _mm256_set1_ps(1.5F);
  const __m256 b = _mm256_set1_ps(0.5F);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+x"(a));
#pragma GCC unroll 12
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
  }
  keep(sums);
  return 16.0 * kChains * static_cast<double>(rounds);
}
#elif defined(__aarch64__)
__attribute__((target("arch=armv8.2-a+dotprod"))) double int8_neon(std::uint64_t rounds) {
  int32x4_t sums[kChains];
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  int8x16_t a = vdupq_n_s8(3);
  const int8x16_t b = vdupq_n_s8(5);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+w"(a));
#pragma GCC unroll 12
    for (int32x4_t& sum : sums) sum = vdotq_s32(sum, a, b);
  }
  keep(sums);
  return 32.0 * kChains * static_cast<double>(rounds);
}

double float_neon(std::uint64_t rounds) {
  float32x4_t sums[kChains];
  for (float32x4_t& sum : sums) sum = vdupq_n_f32(0);
  float32x4_t a = vdupq_n_f32(1.5F);
  const float32x4_t b = vdupq_n_f32(0.5F);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    asm volatile("" : "+w"(a));
#pragma GCC unroll 12
    for (float32x4_t& sum : sums) sum = vfmaq_f32(sum, a, b);
  }
  keep(sums);
  return 8.0 * kChains * static_cast<double>(rounds);
}
#endif

using Peak = double (*)(std::uint64_t rounds);
struct InstructionSet {
  std::string_view name;
  Peak int8, float32;
  bool runs;
};

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets = {{"scalar", int8_scalar, float_scalar, true}};
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  sets.push_back({"avx2", int8_avx2, float_avx2, avx2});
  sets.push_back({"avxvnni", int8_avxvnni, float_avx2, avx2 && __builtin_cpu_supports("avxvnni")});
  const bool avx512 = __builtin_cpu_supports("avx512vnni");
  sets.push_back({"avx512", int8_avx512, float_avx512, avx512});
  sets.push_back({"avx512vbmi", int8_avx512, float_avx512, avx512 && __builtin_cpu_supports("avx512vbmi")});
  sets.push_back({"amx", int8_avx512, float_avx512, avx512 && has_matrix_unit()});
#elif defined(__aarch64__)
  constexpr unsigned long kDotProduct = 1UL << 20;  // HWCAP_ASIMDDP
  sets.push_back({"neon", int8_neon, float_neon, (::getauxval(AT_HWCAP) & kDotProduct) != 0});
#endif
  std::erase_if(sets, [](const InstructionSet& set) { return !set.runs; });
  return sets;
}

const InstructionSet& find_set(const std::vector<InstructionSet>& sets, std::string_view name) {
  const auto found = std::ranges::find(sets, name, &InstructionSet::name);
  if (found == sets.end()) {
    throw bad_input("this processor has no instruction set \"" + std::string(name) + "\" to measure");
  }
  return *found;
}

double measure_peak(Peak peak, unsigned threads, double* share) {
  // As many rounds as take about 20 ms; what one thread did is what each does.
  std::uint64_t rounds = 1000;
  double seconds = 0;
  while (seconds < 0.02) {
    rounds *= 2;
    const Clock::time_point start = Clock::now();
    peak(rounds);
    seconds = seconds_since(start);
  }
  double operations = 0;
  const Pass best = fastest_pass(threads, 7, [&](unsigned thread) {
    const double done = peak(rounds);
    if (thread == 0) operations = done;
  });
  tell(share, best);
  return operations * threads / best.seconds;
}

// Passes in which the threads read `each` bytes each, one after the other in memory.
std::vector<Pass> read_passes(WayOfReading read, unsigned threads, const std::byte* data, std::uint64_t each,
                              int passes) {
  return timed_passes(threads, passes, [&](unsigned thread) { read(data + thread * each, each); });
}

}  // namespace

double measure_read_bandwidth(unsigned threads, Bytes size, double* share) {
  constexpr std::uint64_t kPiece = std::uint64_t{2} << 20;  // whole huge pages for each thread
  const std::uint64_t each = std::max<std::uint64_t>(align_up(size.value / threads, kPiece), kPiece);
  const Region region(each * threads);
  timed_passes(threads, 1, [&](unsigned thread) { std::fill_n(region.data() + thread * each, each, std::byte{1}); });
  constexpr int kPasses = 5;
  Pass best;
  for (const WayOfReading read : readers()) {
    const Pass middle = middle_of(read_passes(read, threads, region.data(), each, kPasses));
    if (best.seconds == 0 || middle.seconds < best.seconds) best = middle;
  }
  tell(share, best);
  return static_cast<double>(each * threads) / best.seconds;
}

double measure_read_bandwidth(unsigned threads, std::span<const std::byte> memory) {
  constexpr std::uint64_t kLeastRead = std::uint64_t{8} << 30;  // some 0.1 to 0.4 s
  const std::uint64_t each = memory.size() / threads / 1024 * 1024;
  if (each == 0) return 0;
  const std::uint64_t all = each * threads;
  // Of each way two passes say which one it is.
  WayOfReading best = nullptr;
  double least = 0;
  for (const WayOfReading read : readers()) {
    const double seconds =
        std::ranges::min(read_passes(read, threads, memory.data(), each, 2), {}, &Pass::seconds).seconds;
    if (best == nullptr || seconds < least) {
      best = read;
      least = seconds;
    }
  }
  const int passes = static_cast<int>(std::clamp<std::uint64_t>(kLeastRead / all, 2, 20));
  double seconds = 0;
  for (const Pass& pass : read_passes(best, threads, memory.data(), each, passes)) seconds += pass.seconds;
  return static_cast<double>(all) * passes / seconds;
}

std::vector<std::string> measurable_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : instruction_sets()) names.emplace_back(set.name);
  return names;
}

double measure_int8_peak(std::string_view instruction_set, unsigned threads, double* share) {
  const std::vector<InstructionSet> sets = instruction_sets();
  return measure_peak(find_set(sets, instruction_set).int8, threads, share);
}

double measure_matrix_peak([[maybe_unused]] unsigned threads, [[maybe_unused]] double* share) {
#if defined(__x86_64__)
  if (has_matrix_unit()) return measure_peak(matrix_amx, threads, share);
#endif
  return 0;
}

double measure_float_peak(std::string_view instruction_set, unsigned threads, double* share) {
  const std::vector<InstructionSet> sets = instruction_sets();
  return measure_peak(find_set(sets, instruction_set).float32, threads, share);
}

}  // namespace loadline::hardware

// What lies between the products: head norms and rope, the paged cache, attention, norms and the choice of rows,
// against plain loops in double.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "backend/vulkan/gpu.h"
#include "quant/kv_page.h"

namespace loadline::vulkan::test {
namespace {

using quant::TensorType;
using Random = std::mt19937;

constexpr float kUntouched = -12345.0F;

std::vector<float> random_floats(std::size_t count, Random& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct Case {
  const char* name;
  AttentionShape shape;
  bool norms = false;
  double tolerance = 1e-4;  // what storing K and V costs
};

const Case kCases[] = {
    {"F32", {8, 4, 32, 32, TensorType::F32, TensorType::F32, 32, false}},
    {"F16", {8, 2, 64, 64, TensorType::F16, TensorType::F16, 64, true}, true, 4e-3},
    {"Q8_0", {4, 4, 128, 128, TensorType::Q8_0, TensorType::Q8_0, 128, true}, false, 4e-2},
    {"MixedTypesAndWidths", {6, 2, 96, 64, TensorType::F16, TensorType::Q8_0, 32, false}, true, 4e-2},
    {"OneKvHead", {12, 1, 80, 80, TensorType::F32, TensorType::F16, 80, true}, false, 4e-3},
    {"WideHeads", {2, 1, 256, 256, TensorType::F32, TensorType::F32, 64, true}},
    {"ManyHeads", {68, 2, 32, 32, TensorType::F32, TensorType::F32, 32, true}},
};

// Tokens of one sequence in a pass.
struct Run {
  std::size_t sequence;
  std::uint32_t count;
};

// Sequences with their cells, on the GPU in pages and here as rows.
class Cache {
 public:
  Cache(Gpu& gpu, const Case& attention_case, Random& random)
      : gpu_(gpu), case_(attention_case), random_(random), page_order_(kPages), sequences_(2) {
    const AttentionShape& s = case_.shape;
    k_cache_ = gpu.buffer((quant::kv_page_head_bytes(s.k_type, s.head_dim_k) * s.kv_heads * kPages).value, 0xFF);
    v_cache_ = gpu.buffer((quant::kv_page_head_bytes(s.v_type, s.head_dim_v) * s.kv_heads * kPages).value, 0xFF);
    std::iota(page_order_.begin(), page_order_.end(), 0);
    std::ranges::shuffle(page_order_, random);
    q_norm_ = random_floats(s.head_dim_k, random);
    k_norm_ = random_floats(s.head_dim_k, random);
  }

  // One pass of random q, k and v, recorded for `most` tokens, and its results against the loops'.
  void pass(const std::vector<Run>& runs, std::uint32_t most, std::uint32_t splits);

 private:
  static constexpr std::uint32_t kPages = 24;
  struct Sequence {
    std::vector<std::uint32_t> pages;
    std::vector<std::vector<float>> k, v;  // per cell, all heads
  };

  void prepare_head(std::vector<float>& row, std::size_t head, const std::vector<float>& norm, const float* cosines,
                    const float* sines) const;
  std::vector<double> expected(const Sequence& sequence, const std::vector<float>& q, std::size_t head,
                               std::size_t position) const;

  Gpu& gpu_;
  const Case& case_;
  Random& random_;
  std::vector<std::uint32_t> page_order_;
  std::vector<Sequence> sequences_;
  Buffer k_cache_, v_cache_;
  std::vector<float> q_norm_, k_norm_;
};

void Cache::prepare_head(std::vector<float>& row, std::size_t head, const std::vector<float>& norm,
                         const float* cosines, const float* sines) const {
  const AttentionShape& s = case_.shape;
  float* x = row.data() + head * s.head_dim_k;
  if (case_.norms) {
    double squares = 0;
    for (std::uint32_t i = 0; i < s.head_dim_k; ++i) squares += double{x[i]} * x[i];
    const double scale = 1 / std::sqrt(squares / s.head_dim_k + 1e-5);
    for (std::uint32_t i = 0; i < s.head_dim_k; ++i) x[i] = static_cast<float>(x[i] * scale * norm[i]);
  }
  const std::uint32_t half = s.rotary / 2;
  for (std::uint32_t i = 0; i < half; ++i) {
    float& a = s.neox ? x[i] : x[2 * i];
    float& b = s.neox ? x[i + half] : x[2 * i + 1];
    const double turned = double{a} * cosines[i] - double{b} * sines[i];
    b = static_cast<float>(double{a} * sines[i] + double{b} * cosines[i]);
    a = static_cast<float>(turned);
  }
}

std::vector<double> Cache::expected(const Sequence& sequence, const std::vector<float>& q, std::size_t head,
                                    std::size_t position) const {
  const AttentionShape& s = case_.shape;
  const std::size_t kv_head = head / (s.heads / s.kv_heads);
  std::vector<double> scores(position + 1);
  for (std::size_t cell = 0; cell <= position; ++cell) {
    for (std::uint32_t i = 0; i < s.head_dim_k; ++i) {
      scores[cell] += double{q[head * s.head_dim_k + i]} * sequence.k[cell][kv_head * s.head_dim_k + i];
    }
    scores[cell] /= std::sqrt(static_cast<double>(s.head_dim_k));
  }
  const double highest = *std::ranges::max_element(scores);
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - highest);
  std::vector<double> out(s.head_dim_v);
  for (std::size_t cell = 0; cell <= position; ++cell) {
    for (std::uint32_t i = 0; i < s.head_dim_v; ++i) {
      out[i] += scores[cell] / total * sequence.v[cell][kv_head * s.head_dim_v + i];
    }
  }
  return out;
}

void Cache::pass(const std::vector<Run>& runs, std::uint32_t most, std::uint32_t splits) {
  const AttentionShape& s = case_.shape;
  std::uint32_t tokens = 0;
  for (const Run& run : runs) tokens += run.count;
  std::vector<float> q = random_floats(std::size_t{tokens} * s.heads * s.head_dim_k, random_);
  std::vector<float> k = random_floats(std::size_t{tokens} * s.kv_heads * s.head_dim_k, random_);
  const std::vector<float> v = random_floats(std::size_t{tokens} * s.kv_heads * s.head_dim_v, random_);
  const std::uint32_t half = s.rotary / 2;
  std::vector<float> angles(std::size_t{most} * half * 2);
  for (std::size_t i = 0; i < std::size_t{most} * half; ++i) {
    const float angle = std::uniform_real_distribution<float>(-3, 3)(random_);
    angles[i] = std::cos(angle);
    angles[std::size_t{most} * half + i] = std::sin(angle);
  }

  const AttentionTile tile = gpu_.operations.attention_tile(s, most);
  std::vector<std::uint32_t> entries;
  std::vector<std::uint32_t> tiles;
  std::vector<std::uint32_t> pages;
  std::uint32_t first = 0;
  for (const Run& run : runs) {
    Sequence& sequence = sequences_[run.sequence];
    const auto position = static_cast<std::uint32_t>(sequence.k.size());
    while (sequence.pages.size() * quant::kKvPageCells < position + run.count) {
      sequence.pages.push_back(page_order_.back());
      page_order_.pop_back();
    }
    for (std::uint32_t t = 0; t < run.count; ++t) {
      entries.insert(entries.end(), {position + t, static_cast<std::uint32_t>(pages.size())});
    }
    for (std::uint32_t t = 0; t < run.count; t += tile.tokens) {
      tiles.push_back((first + t) * 256 + std::min(tile.tokens, run.count - t));
    }
    pages.insert(pages.end(), sequence.pages.begin(), sequence.pages.end());
    first += run.count;
  }

  const Buffer q_buffer = gpu_.buffer(q);
  const Buffer k_buffer = gpu_.buffer(k);
  const Buffer v_buffer = gpu_.buffer(v);
  const Buffer q_norm = gpu_.buffer(q_norm_);
  const Buffer k_norm = gpu_.buffer(k_norm_);
  const Buffer angle_buffer = gpu_.buffer(angles);
  const Buffer entry_buffer = gpu_.buffer(entries);
  const Buffer tile_buffer = gpu_.buffer(tiles);
  const Buffer page_buffer = gpu_.buffer(pages);
  const Buffer table = gpu_.buffer(std::vector<std::uint32_t>{tokens, 0, static_cast<std::uint32_t>(tiles.size())});
  const std::size_t width = std::size_t{s.heads} * s.head_dim_v;
  const Buffer out = gpu_.buffer(std::vector<float>((tokens + 1) * width, kUntouched));
  const Buffer workspace = gpu_.buffer(std::size_t{most} * s.heads * splits * (s.head_dim_v + 2) * 4, 0xFF);

  HeadsArguments heads{q_buffer.address(),
                       k_buffer.address(),
                       v_buffer.address(),
                       case_.norms ? q_norm.address() : 0,
                       case_.norms ? k_norm.address() : 0,
                       k_cache_.address(),
                       v_cache_.address(),
                       angle_buffer.address(),
                       entry_buffer.address(),
                       page_buffer.address(),
                       table.address(),
                       most * half,
                       s.heads,
                       s.kv_heads,
                       1e-5F,
                       s.kv_heads,
                       s.kv_heads};
  AttentionArguments arguments{q_buffer.address(),
                               out.address(),
                               k_cache_.address(),
                               v_cache_.address(),
                               tile_buffer.address(),
                               entry_buffer.address(),
                               page_buffer.address(),
                               workspace.address(),
                               table.address(),
                               0,
                               s.heads,
                               s.kv_heads,
                               0,
                               1 / std::sqrt(static_cast<float>(s.head_dim_k))};
  gpu_.run([&](CommandList& list) {
    gpu_.operations.heads(list, s, heads, most);
    list.barrier();
    // In two dispatches, as a long pass is cut.
    const auto half_tiles = static_cast<std::uint32_t>(tiles.size() / 2);
    gpu_.operations.attention(list, s, tile, splits, arguments, half_tiles);
    arguments.first_tile = half_tiles;
    gpu_.operations.attention(list, s, tile, splits, arguments, most + 2 - half_tiles);
    list.barrier();
    if (splits > 1) {
      const MergeArguments merge{workspace.address(), out.address(), table.address(), 0, s.heads, s.head_dim_v, splits};
      gpu_.operations.merge_attention(list, merge, most);
    }
  });

  std::uint32_t token = 0;
  for (const Run& run : runs) {
    Sequence& sequence = sequences_[run.sequence];
    for (std::uint32_t t = 0; t < run.count; ++t, ++token) {
      const auto slice = [&](const std::vector<float>& all, std::size_t row) {
        return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(token * row),
                                  all.begin() + static_cast<std::ptrdiff_t>((token + 1) * row));
      };
      const float* cosines = angles.data() + std::size_t{token} * half;
      const float* sines = cosines + std::size_t{most} * half;
      std::vector<float> q_row = slice(q, std::size_t{s.heads} * s.head_dim_k);
      std::vector<float> k_row = slice(k, std::size_t{s.kv_heads} * s.head_dim_k);
      for (std::uint32_t h = 0; h < s.heads; ++h) prepare_head(q_row, h, q_norm_, cosines, sines);
      for (std::uint32_t h = 0; h < s.kv_heads; ++h) prepare_head(k_row, h, k_norm_, cosines, sines);
      sequence.k.push_back(k_row);
      sequence.v.push_back(slice(v, std::size_t{s.kv_heads} * s.head_dim_v));
      for (std::uint32_t h = 0; h < s.heads; ++h) {
        const std::vector<double> want = expected(sequence, q_row, h, sequence.k.size() - 1);
        for (std::uint32_t i = 0; i < s.head_dim_v; ++i) {
          ASSERT_NEAR(as<float>(out)[token * width + h * s.head_dim_v + i], want[i], case_.tolerance)
              << "token " << token << " head " << h << " value " << i;
        }
      }
    }
  }
  for (std::size_t i = 0; i < width; ++i) ASSERT_EQ(as<float>(out)[tokens * width + i], kUntouched);
}

class Attention : public GpuTest, public testing::WithParamInterface<Case> {};
INSTANTIATE_TEST_SUITE_P(Shapes, Attention, testing::ValuesIn(kCases), [](const auto& row) { return row.param.name; });

TEST_P(Attention, ReadsThePagesOfEachSequence) {
  Random random(1);
  Cache cache(gpu(), GetParam(), random);
  cache.pass({{0, 45}, {1, 20}}, 128, 1);  // a prompt each
  cache.pass({{1, 30}}, 64, 1);            // one goes on
  cache.pass({{0, 1}, {1, 3}}, 8, 1);      // a few tokens
  cache.pass({{0, 1}}, 1, 1);
}

TEST_P(Attention, SplitsTheCellsOfAFewTokens) {
  Random random(2);
  Cache cache(gpu(), GetParam(), random);
  cache.pass({{1, 1}}, 1, 4);  // fewer blocks than parts
  cache.pass({{0, 150}, {1, 70}}, 256, 1);
  cache.pass({{0, 2}, {1, 1}}, 8, 4);
  cache.pass({{1, 1}}, 1, 4);
}

// On a device with as little shared memory as there may be (a function of an instance has no place for an object).
PFN_vkGetPhysicalDeviceProperties2 real_properties_of;
TEST_P(Attention, FitsTheSharedMemoryOfAnyDevice) {
  Messages messages;
  DeviceOptions options = options_for_tests(messages);
  options.on_instance = [](hardware::VulkanInstance& instance) {
    real_properties_of = instance.vkGetPhysicalDeviceProperties2;
    instance.vkGetPhysicalDeviceProperties2 = [](VkPhysicalDevice device, VkPhysicalDeviceProperties2* all) {
      real_properties_of(device, all);
      all->properties.limits.maxComputeSharedMemorySize = 16384;
    };
  };
  Gpu small(options);
  Random random(4);
  Cache cache(small, GetParam(), random);
  cache.pass({{0, 45}, {1, 20}}, 128, 1);
  cache.pass({{0, 2}, {1, 1}}, 8, 4);
  cache.pass({{1, 1}}, 1, 4);
  EXPECT_EQ(messages.take(), std::vector<std::string>());
}

using SmallShaders = GpuTest;

TEST_F(SmallShaders, NormaliseEachRow) {
  Random random(3);
  for (const std::uint32_t columns : {1U, 37U, 256U, 1000U}) {
    const std::vector<float> x = random_floats(5 * columns, random);
    const std::vector<float> weight = random_floats(columns, random);
    const Buffer x_buffer = gpu().buffer(x);
    const Buffer weight_buffer = gpu().buffer(weight);
    const Buffer out = gpu().buffer(std::vector<float>(6 * columns, kUntouched));
    const Buffer table = gpu().buffer(std::vector<std::uint32_t>{9, 5});
    const NormArguments arguments{
        x_buffer.address(), weight_buffer.address(), 0, out.address(), table.address(), columns, columns, 0, 1, 1e-5F};
    gpu().run([&](CommandList& list) { gpu().operations.norm(list, arguments, 1, 6); });
    for (std::uint32_t t = 0; t < 5; ++t) {
      double squares = 0;
      for (std::uint32_t i = 0; i < columns; ++i) squares += double{x[t * columns + i]} * x[t * columns + i];
      const double scale = 1 / std::sqrt(squares / columns + 1e-5);
      for (std::uint32_t i = 0; i < columns; ++i) {
        ASSERT_NEAR(as<float>(out)[t * columns + i], x[t * columns + i] * scale * weight[i], 2e-5);
      }
    }
    for (std::uint32_t i = 0; i < columns; ++i) ASSERT_EQ(as<float>(out)[5 * columns + i], kUntouched);
  }
}

TEST_F(SmallShaders, KeepTheChosenRowsInOrder) {
  Random random(4);
  constexpr std::uint32_t kColumns = 100;
  const std::vector<float> x = random_floats(9 * kColumns, random);
  const std::vector<std::uint32_t> outputs = {0, 2, 3, 8};
  const Buffer x_buffer = gpu().buffer(x);
  const Buffer output_buffer = gpu().buffer(outputs);
  const Buffer table = gpu().buffer(std::vector<std::uint32_t>{9, 4});
  const SelectArguments arguments{x_buffer.address(), output_buffer.address(), table.address(), kColumns};
  gpu().run([&](CommandList& list) { gpu().operations.select_rows(list, arguments); });
  for (std::uint32_t i = 0; i < kColumns; ++i) {
    for (std::uint32_t row = 0; row < 4; ++row) {
      ASSERT_EQ(as<float>(x_buffer)[row * kColumns + i], x[outputs[row] * kColumns + i]);
    }
    ASSERT_EQ(as<float>(x_buffer)[4 * kColumns + i], x[4 * kColumns + i]);
  }
}

}  // namespace
}  // namespace loadline::vulkan::test

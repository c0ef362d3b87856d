#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "backend/cpu/kernel_cases.h"
#include "quant/attention_workspace.h"

namespace loadline::cpu::test {
namespace {

struct Shape {
  std::uint32_t heads, kv_heads, dim_k, dim_v;
};
// What an attention may have beside the plain one.
struct Extras {
  float softcap = 0;
  float alibi = 0;
  std::uint32_t window = 0;
  std::uint32_t chunk = 0;
  bool sinks = false;
  bool values_in_keys = false;
};
struct Sequence {
  std::uint32_t before;  // cells that are there already
  std::uint32_t tokens;
};

// Several sequences in one cache, their pages in random order, filled through store_kv.
class Cache {
 public:
  Cache(const KernelTable& table, TensorType type_k, TensorType type_v, Shape shape, std::vector<Sequence> sequences,
        Random& random, Extras extras = {})
      : table_(table),
        shape_(shape),
        extras_(extras),
        sequences_(std::move(sequences)),
        k_(page_bytes(type_k, shape.dim_k) * page_count()),
        v_(page_bytes(type_v, shape.dim_v) * page_count()),
        layer_{type_k,         type_v,      k_.data(),  extras.values_in_keys ? nullptr : v_.data(),
               shape.kv_heads, shape.dim_k, shape.dim_v} {
    std::vector<std::uint32_t> order(page_count());
    std::iota(order.begin(), order.end(), 0U);
    std::shuffle(order.begin(), order.end(), random);
    std::size_t next = 0;
    for (const Sequence& sequence : sequences_) {
      const std::uint32_t cells = sequence.before + sequence.tokens;
      pages_.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(next),
                          order.begin() + static_cast<std::ptrdiff_t>(next + pages_for(cells)));
      next += pages_for(cells);
      std::vector<float> k = random_activations(cells, shape.kv_heads * shape.dim_k, Style::Normal, random);
      std::vector<float> v = random_activations(cells, shape.kv_heads * shape.dim_v, Style::Normal, random);
      for (std::uint32_t cell = 0; cell < cells; ++cell) {
        const std::uint32_t middle = static_cast<std::uint32_t>(random() % (shape.kv_heads + 1));
        for (const auto& [begin, end] : {std::pair{0U, middle}, std::pair{middle, shape.kv_heads}}) {
          table.store_kv(layer_, pages_.back()[cell / 32], cell % 32, k.data() + cell * shape.kv_heads * shape.dim_k,
                         v.data() + cell * shape.kv_heads * shape.dim_v, begin, end);
        }
      }
      keys_.push_back(rounded(type_k, k));
      values_.push_back(rounded(type_v, v));
      runs_.push_back({tokens_, sequence.tokens, sequence.before, nullptr});
      tokens_ += sequence.tokens;
    }
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      // No memory has that page: nothing may ask for one that holds only what no token sees.
      const std::uint32_t seen = task().first_seen(runs_[i].first_position);
      std::fill_n(pages_[i].begin(), seen / 32, std::numeric_limits<std::uint32_t>::max());
      runs_[i].pages = pages_[i].data();
    }
    sinks_ = random_activations(1, shape.heads, Style::Normal, random);
    q_ = random_activations(tokens_, shape.heads * shape.dim_k, Style::Normal, random);
  }

  [[nodiscard]] std::uint32_t tokens() const { return tokens_; }

  // Runs the task, its units in the order given by `backwards`, and returns [tokens][heads * dim_v].
  std::vector<float> attend(bool backwards = false) {
    std::uint32_t most = 0;
    for (const Sequence& s : sequences_) most = std::max(most, s.before + s.tokens);
    const bool windows = !task().sees_all();
    if (extras_.window != 0) most = std::min(most, extras_.window + tokens_);
    const Buffer workspace(quant::attention_workspace(shape_.heads, shape_.dim_v, tokens_, most, windows).value);
    std::vector<float> out(std::size_t{tokens_} * shape_.heads * shape_.dim_v, -777.0F);
    AttentionTask task = this->task();
    task.out = out.data();
    task.workspace = workspace.data();
    const std::uint64_t units = attention_units(task);
    if (backwards) {
      for (std::uint64_t u = units; u-- > 0;) table_.attention(task, u, u + 1, nullptr);
    } else {
      table_.attention(task, 0, units, nullptr);
    }
    // In parts, as threads do it.
    for (const auto& [begin, end] : {std::pair{0U, tokens_ / 2}, std::pair{tokens_ / 2, tokens_}}) {
      table_.attention_finish(task, begin, end, 0, shape_.heads / 2);
      table_.attention_finish(task, begin, end, shape_.heads / 2, shape_.heads);
    }
    return out;
  }

  void expect_agreement(const std::vector<float>& out) {
    int failures = 0;
    for (std::size_t s = 0; s < runs_.size(); ++s) {
      for (std::uint32_t t = 0; t < runs_[s].count && failures < 3; ++t) {
        for (std::uint32_t h = 0; h < shape_.heads && failures < 3; ++h) failures += check(out, s, t, h) ? 0 : 1;
      }
    }
  }

 private:
  [[nodiscard]] AttentionTask task() const {
    AttentionTask task{layer_, runs_, q_.data(), nullptr, shape_.heads, scale(), nullptr};
    task.softcap = extras_.softcap;
    task.alibi = extras_.alibi;
    task.window = extras_.window;
    task.chunk = extras_.chunk;
    task.sinks = extras_.sinks ? sinks_.data() : nullptr;
    return task;
  }
  [[nodiscard]] double slope(std::uint32_t head) const {
    double n = 1;
    while (2 * n <= shape_.heads) n *= 2;
    return head < n ? std::pow(2.0, -extras_.alibi * (head + 1) / n)
                    : std::pow(2.0, -extras_.alibi / 2 * (2 * (head - n) + 1) / n);
  }
  [[nodiscard]] float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape_.dim_k)); }
  static std::uint32_t pages_for(std::uint32_t cells) { return (cells + 31) / 32; }
  [[nodiscard]] std::uint32_t page_count() const {
    std::uint32_t pages = 0;
    for (const Sequence& s : sequences_) pages += pages_for(s.before + s.tokens);
    return pages;
  }
  [[nodiscard]] std::size_t page_bytes(TensorType type, std::uint32_t dim) const {
    return quant::kv_page_head_bytes(type, dim).value * shape_.kv_heads;
  }
  static std::vector<float> rounded(TensorType type, std::vector<float> values) {
    std::vector<std::byte> bytes(quant::size_of(type, values.size()).value);
    quant::encode_row(type, values.data(), bytes.data(), values.size());
    quant::decode_row(type, bytes.data(), values.data(), values.size());
    return values;
  }

  bool check(const std::vector<float>& out, std::size_t s, std::uint32_t t, std::uint32_t h) {
    const std::uint32_t visible = runs_[s].first_position + t + 1;
    const std::uint32_t kv_head = h / (shape_.heads / shape_.kv_heads);
    const std::uint32_t token = runs_[s].first_token + t;
    const float* q = q_.data() + (std::size_t{token} * shape_.heads + h) * shape_.dim_k;
    std::vector<double> scores(visible);
    double uncertainty = 0;  // of a score, where the kernel rounds the query to 8 bits: six standard deviations
    float largest_q = 0;
    for (std::uint32_t i = 0; i < shape_.dim_k; ++i) largest_q = std::max(largest_q, std::fabs(q[i]));
    std::uint32_t first = 0;
    if (extras_.window != 0 && visible > extras_.window) first = visible - extras_.window;
    if (extras_.chunk != 0) first = std::max(first, (visible - 1) / extras_.chunk * extras_.chunk);
    for (std::uint32_t cell = first; cell < visible; ++cell) {
      const float* k = keys_[s].data() + (std::size_t{cell} * shape_.kv_heads + kv_head) * shape_.dim_k;
      double squares = 0;
      for (std::uint32_t i = 0; i < shape_.dim_k; ++i) {
        scores[cell] += double{q[i]} * k[i];
        squares += double{k[i]} * k[i];
      }
      scores[cell] *= scale();
      if (extras_.softcap != 0) scores[cell] = extras_.softcap * std::tanh(scores[cell] / extras_.softcap);
      if (extras_.alibi != 0) scores[cell] -= slope(h) * (visible - 1 - cell);
      if (layer_.k_type == TensorType::Q8_0) {
        uncertainty = std::max(uncertainty, 6 * scale() * largest_q / 254 / std::sqrt(3.0) * std::sqrt(squares));
      }
    }
    const double maximum = *std::max_element(scores.begin() + first, scores.end());
    double weight = extras_.sinks ? std::exp(sinks_[h] - maximum) : 0;
    for (std::uint32_t cell = first; cell < visible; ++cell) weight += scores[cell] = std::exp(scores[cell] - maximum);
    for (std::uint32_t i = 0; i < shape_.dim_v; ++i) {
      double expected = 0;
      double largest = 0;
      for (std::uint32_t cell = first; cell < visible; ++cell) {
        const std::size_t at = std::size_t{cell} * shape_.kv_heads + kv_head;
        const double v = extras_.values_in_keys ? keys_[s][at * shape_.dim_k + i] : values_[s][at * shape_.dim_v + i];
        expected += scores[cell] / weight * v;
        largest = std::max(largest, std::fabs(v));
      }
      const double tolerance = (2e-6 + std::expm1(uncertainty)) * largest;
      const float got = out[(std::size_t{token} * shape_.heads + h) * shape_.dim_v + i];
      if (std::fabs(got - expected) <= tolerance) continue;
      ADD_FAILURE() << "sequence " << s << " token " << t << " of " << runs_[s].count << " head " << h << " value " << i
                    << " with " << visible << " cells: " << got << " instead of " << expected << " +- " << tolerance;
      return false;
    }
    return true;
  }

  const KernelTable& table_;
  Shape shape_;
  Extras extras_;
  std::vector<Sequence> sequences_;
  Buffer k_, v_;  // filled with a pattern that reads as NaN or garbage where no cell was stored
  KvLayer layer_;
  std::vector<std::vector<std::uint32_t>> pages_;
  std::vector<std::vector<float>> keys_, values_;
  std::vector<TokenRun> runs_;
  std::vector<float> q_, sinks_;
  std::uint32_t tokens_ = 0;
};

using Types = std::tuple<const KernelTable*, TensorType, TensorType>;
constexpr TensorType kTypes[] = {TensorType::F32, TensorType::F16, TensorType::Q8_0};

class Attention : public testing::TestWithParam<Types> {
 protected:
  Cache cache(Shape shape, std::vector<Sequence> sequences, Extras extras = {}) {
    const auto [table, k, v] = GetParam();
    return Cache(*table, k, v, shape, std::move(sequences), random_, extras);
  }
  // What does not depend on how values are stored is tested where K and V are stored alike.
  static bool is_of_one_format() { return std::get<1>(GetParam()) == std::get<2>(GetParam()); }
  Random random_{1};
};

std::string name_of_types(const testing::TestParamInfo<Types>& row) {
  const auto& [table, k, v] = row.param;
  return std::string(table->name) + "_K" + std::string(quant::name_of(k)) + "_V" + std::string(quant::name_of(v));
}
INSTANTIATE_TEST_SUITE_P(Kernels, Attention,
                         testing::Combine(testing::ValuesIn(tables()), testing::ValuesIn(kTypes),
                                          testing::ValuesIn(kTypes)),
                         name_of_types);

TEST_P(Attention, agrees_with_double_arithmetic_for_any_shape) {
  // Of 70 heads a KV head has 35, which are no two equal parts of 32 at most.
  constexpr Shape kShapes[] = {{4, 4, 64, 64},  {8, 2, 128, 128}, {6, 2, 96, 32},   {7, 1, 64, 96}, {40, 1, 32, 64},
                               {70, 2, 32, 64}, {3, 1, 32, 160},  {14, 2, 64, 128}, {8, 1, 128, 64}};
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(std::to_string(shape.heads) + " heads of " + std::to_string(shape.dim_k) + "/" +
                 std::to_string(shape.dim_v));
    for (const std::vector<Sequence>& sequences :
         {std::vector<Sequence>{{0, 1}}, {{31, 1}}, {{32, 3}}, {{0, 33}}, {{70, 41}}, {{5, 1}, {40, 20}, {0, 2}}}) {
      Cache c = cache(shape, sequences);
      c.expect_agreement(c.attend());
    }
  }
}

TEST_P(Attention, over_a_long_cache_is_split_and_merged) {
  for (const std::vector<Sequence>& sequences :
       {std::vector<Sequence>{{1500, 1}}, {{511, 1}}, {{512, 2}}, {{1020, 8}}, {{600, 2}, {3, 1}, {513, 1}}}) {
    Cache c = cache({4, 2, 32, 32}, sequences);
    c.expect_agreement(c.attend());
  }
}

// Short, long enough to be split, a prompt's, and several at once.
const std::vector<std::vector<Sequence>> kPasses = {
    {{70, 41}}, {{33, 1}}, {{1500, 1}}, {{1020, 8}}, {{5, 1}, {140, 20}, {0, 2}}, {{600, 2}, {3, 1}, {513, 1}}};

TEST_P(Attention, sees_no_more_than_a_window) {
  if (!is_of_one_format()) return;
  for (const std::uint32_t window : {1U, 64U, 600U}) {
    for (const std::vector<Sequence>& sequences : kPasses) {
      SCOPED_TRACE("window of " + std::to_string(window));
      Cache c = cache({4, 2, 32, 64}, sequences, {.window = window});
      c.expect_agreement(c.attend());
    }
  }
}

TEST_P(Attention, sees_no_more_than_a_chunk) {
  if (!is_of_one_format()) return;
  for (const std::uint32_t chunk : {50U, 512U}) {
    for (const std::vector<Sequence>& sequences : kPasses) {
      SCOPED_TRACE("chunks of " + std::to_string(chunk));
      Cache c = cache({4, 2, 32, 64}, sequences, {.chunk = chunk});
      c.expect_agreement(c.attend());
    }
  }
}

TEST_P(Attention, caps_scores_counts_sinks_and_takes_distance_off) {
  if (!is_of_one_format()) return;
  for (const std::vector<Sequence>& sequences : kPasses) {
    for (const Extras& extras : {Extras{.softcap = 0.5F},
                                 {.alibi = 8},
                                 {.sinks = true},
                                 {.softcap = 1, .alibi = 4, .window = 70, .sinks = true}}) {
      SCOPED_TRACE("softcap " + std::to_string(extras.softcap) + " alibi " + std::to_string(extras.alibi));
      Cache c = cache({6, 2, 32, 96}, sequences, extras);
      c.expect_agreement(c.attend());
    }
  }
}

TEST_P(Attention, finds_values_in_the_keys) {
  if (!is_of_one_format()) return;
  for (const std::vector<Sequence>& sequences : kPasses) {
    for (const Shape& shape : {Shape{16, 1, 96, 64}, {40, 1, 160, 96}, {3, 1, 64, 64}}) {
      Cache c = cache(shape, sequences, {.values_in_keys = true});
      c.expect_agreement(c.attend());
    }
  }
}

TEST_P(Attention, does_not_depend_on_the_order_of_the_units) {
  for (const std::vector<Sequence>& sequences : {std::vector<Sequence>{{700, 2}}, {{20, 50}}}) {
    Cache c = cache({8, 2, 64, 64}, sequences);
    EXPECT_EQ(c.attend(false), c.attend(true));
  }
}

TEST_P(Attention, ends_early_when_asked_to_stop) {
  const auto [table, k, v] = GetParam();
  Buffer pages(1 << 16);
  const KvLayer layer{k, v, pages.data(), pages.data(), 1, 32, 32};
  const std::uint32_t page = 0;
  const TokenRun run{0, 1, 0, &page};
  std::vector<float> q(32);
  std::vector<float> out(32, -777.0F);
  const StopFlag stop{true};
  const AttentionTask task{layer, {&run, 1}, q.data(), out.data(), 1, 1.0F, nullptr};
  table->attention(task, 0, attention_units(task), &stop);
  EXPECT_EQ(std::count(out.begin(), out.end(), -777.0F), 32);
}

TEST(AttentionWorkspace, is_enough_for_every_split_of_a_batch) {
  for (const std::uint32_t cells : {1U, 512U, 513U, 4096U, 20000U, 131072U}) {
    for (const std::uint32_t tokens : {1U, 8U, 9U, 512U}) {
      const quant::CellSplit split = quant::split_cells(cells, tokens);
      EXPECT_GE(std::uint64_t{split.chunks} * split.chunk_cells, cells);
      EXPECT_LT(std::uint64_t{split.chunks - 1} * split.chunk_cells, cells);
      EXPECT_EQ(split.chunk_cells % 32, 0U);
      const std::uint64_t used = split.chunks > 1 ? split.chunks * tokens * 32 * quant::partial_floats(128) * 4 : 0;
      EXPECT_LE(used, quant::attention_workspace(32, 128, tokens, cells).value) << cells << " cells";
    }
  }
}

}  // namespace
}  // namespace loadline::cpu::test

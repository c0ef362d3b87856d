// The shaders between the products that make q, k and v and the one that reads what attention makes of them, each
// alone, against plain loops in double. Caches are filled, and read, by hand.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "quant/kv_page.h"
#include "selftest/checks.h"
#include "selftest/workbench.h"

namespace loadline::selftest {
namespace {

using quant::TensorType;
using vulkan::Buffer;
using vulkan::CommandList;

// Cosines, then sines, [tokens][pairs].
Floats random_angles(std::uint32_t tokens, std::uint32_t pairs, Random& random) {
  std::uniform_real_distribution<float> angle(-3, 3);
  const std::size_t count = std::size_t{tokens} * pairs;
  Floats angles(2 * count);
  for (std::size_t i = 0; i < count; ++i) {
    const float turn = angle(random);
    angles[i] = std::cos(turn);
    angles[count + i] = std::sin(turn);
  }
  return angles;
}

// Turns the pairs of a head by the angles of its token.
void turn(std::span<double> head, const Floats& angles, std::uint32_t token, std::uint32_t pairs, bool neox) {
  for (std::uint32_t i = 0; i < pairs; ++i) {
    const double cosine = angles[std::size_t{token} * pairs + i];
    const double sine = angles[angles.size() / 2 + std::size_t{token} * pairs + i];
    double& a = head[neox ? i : 2 * i];
    double& b = head[neox ? i + pairs : 2 * i + 1];
    const double turned = a * cosine - b * sine;
    b = a * sine + b * cosine;
    a = turned;
  }
}

void check_rope(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 3, kHeads = 2, kHead = 48, kPairs = 16, kOffset = 8;
  Workbench bench(subject.options);
  Random random(2);
  Comparison comparison;
  for (const bool neox : {false, true}) {
    const Floats x = random_floats(std::size_t{kTokens} * kHeads * kHead, random);
    const Floats angles = random_angles(kTokens, kPairs, random);
    const Buffer x_buffer = bench.buffer(x);
    const Buffer angle_buffer = bench.buffer(angles);
    const Buffer table = bench.table(kTokens);
    vulkan::RopeArguments arguments;
    arguments.x = x_buffer.address();
    arguments.angles = angle_buffer.address();
    arguments.table = table.address();
    arguments.sine_offset = kTokens * kPairs;
    arguments.pairs = kPairs;
    arguments.heads = kHeads;
    arguments.head = kHead;
    arguments.offset = kOffset;
    arguments.neox = neox ? 1 : 0;
    bench.run([&](CommandList& list) { bench.operations.rope(list, arguments, 4); });
    std::vector<double> wanted(x.begin(), x.end());
    for (std::uint32_t h = 0; h < kTokens * kHeads; ++h) {
      turn(std::span(wanted).subspan(std::size_t{h} * kHead + kOffset), angles, h / kHeads, kPairs, neox);
    }
    const auto results = floats_of(x_buffer, x.size());
    for (std::uint32_t i = 0; i < x.size(); ++i) {
      comparison.expect(results[i], wanted[i], 1e-5, neox ? "halves" : "pairs", i / (kHeads * kHead),
                        i % (kHeads * kHead));
    }
  }
  row.said = comparison.text();
}

// One head's part of a page, as kv.glsl has it.
void store(std::byte* part, TensorType type, std::uint32_t width, std::uint32_t cell, std::span<const float> values) {
  for (std::uint32_t i = 0; i < width; ++i) {
    const std::size_t at = std::size_t{cell} * width + i;
    if (type == TensorType::F32) {
      std::memcpy(part + at * 4, &values[i], 4);
    } else if (type == TensorType::F16) {
      const std::uint16_t bits = float_to_half(values[i]);
      std::memcpy(part + at * 2, &bits, 2);
    } else {
      // Whole numbers between -100 and 100 times a scale of 1/64: exact.
      part[at] = static_cast<std::byte>(static_cast<std::int8_t>(std::lround(values[i] * 64)));
      const std::uint16_t scale = float_to_half(1.0F / 64);
      const std::size_t block = std::size_t{cell} * (width / 32) + i / 32;
      std::memcpy(part + std::size_t{quant::kKvPageCells} * width + block * 2, &scale, 2);
    }
  }
}

float load(const std::byte* part, TensorType type, std::uint32_t width, std::uint32_t cell, std::uint32_t i) {
  const std::size_t at = std::size_t{cell} * width + i;
  float value = 0;
  std::uint16_t bits = 0;
  if (type == TensorType::F32) {
    std::memcpy(&value, part + at * 4, 4);
    return value;
  }
  if (type == TensorType::F16) {
    std::memcpy(&bits, part + at * 2, 2);
    return half_to_float(bits);
  }
  const std::size_t block = std::size_t{cell} * (width / 32) + i / 32;
  std::memcpy(&bits, part + std::size_t{quant::kKvPageCells} * width + block * 2, 2);
  return static_cast<float>(static_cast<std::int8_t>(part[at])) * half_to_float(bits);
}

struct HeadCase {
  std::string_view name;
  vulkan::AttentionShape shape;
  double stored;  // what storing costs of a value around 1
};
const HeadCase kHeadCases[] = {
    {"F32", {8, 4, 32, 32, TensorType::F32, TensorType::F32, 32, false}, 1e-5},
    {"F16", {8, 2, 64, 64, TensorType::F16, TensorType::F16, 64, true}, 4e-3},
    {"Q8_0", {4, 4, 128, 128, TensorType::Q8_0, TensorType::Q8_0, 128, true}, 4e-2},
    {"F16 and Q8_0", {6, 2, 96, 64, TensorType::F16, TensorType::Q8_0, 32, false}, 4e-2},
    {"one KV head", {12, 1, 80, 80, TensorType::F32, TensorType::F16, 80, true}, 4e-3},
    {"wide heads", {2, 1, 256, 256, TensorType::F32, TensorType::F32, 64, true}, 1e-5},
};

// Head norms, rope, q in its place, k and v into the cache.
void check_heads_of(Workbench& bench, const HeadCase& c, Comparison& comparison) {
  constexpr std::uint32_t kTokens = 3, kFirst = 30, kPages = 2;  // over the end of a page
  const vulkan::AttentionShape& s = c.shape;
  const std::uint32_t pairs = s.rotary / 2;
  Random random(7);
  const Floats q = random_floats(std::size_t{kTokens} * s.heads * s.head_dim_k, random);
  const Floats k = random_floats(std::size_t{kTokens} * s.kv_heads * s.head_dim_k, random);
  const Floats v = random_floats(std::size_t{kTokens} * s.kv_heads * s.head_dim_v, random);
  const Floats norm = random_floats(s.head_dim_k, random);
  const Floats angles = random_angles(kTokens, pairs, random);
  const std::vector<std::uint32_t> entries = {kFirst, 0, kFirst + 1, 0, kFirst + 2, 0};
  const std::vector<std::uint32_t> pages = {1, 0};
  const std::size_t k_part = quant::kv_page_head_bytes(s.k_type, s.head_dim_k).value;
  const std::size_t v_part = quant::kv_page_head_bytes(s.v_type, s.head_dim_v).value;
  const Buffer q_buffer = bench.buffer(q);
  const Buffer k_buffer = bench.buffer(k);
  const Buffer v_buffer = bench.buffer(v);
  const Buffer norm_buffer = bench.buffer(norm);
  const Buffer angle_buffer = bench.buffer(angles);
  const Buffer entry_buffer = bench.buffer(entries);
  const Buffer page_buffer = bench.buffer(pages);
  const Buffer k_cache = bench.buffer(k_part * s.kv_heads * kPages);
  const Buffer v_cache = bench.buffer(v_part * s.kv_heads * kPages);
  const Buffer table = bench.table(kTokens);
  vulkan::HeadsArguments arguments;
  arguments.q = q_buffer.address();
  arguments.k = k_buffer.address();
  arguments.v = v_buffer.address();
  arguments.q_norm = arguments.k_norm = norm_buffer.address();
  arguments.k_cache = k_cache.address();
  arguments.v_cache = v_cache.address();
  arguments.angles = angle_buffer.address();
  arguments.tokens = entry_buffer.address();
  arguments.pages = page_buffer.address();
  arguments.table = table.address();
  arguments.sine_offset = kTokens * pairs;
  arguments.heads = s.heads;
  arguments.kv_heads = arguments.k_heads = arguments.v_heads = s.kv_heads;
  arguments.epsilon = 1e-5F;
  bench.run([&](CommandList& list) { bench.operations.heads(list, s, arguments, 4); });
  const auto prepared = [&](const Floats& x, std::size_t head, std::uint32_t token) {
    const auto own = std::span(x).subspan(head * s.head_dim_k, s.head_dim_k);
    std::vector<double> values(own.begin(), own.end());
    double squares = 0;
    for (const double value : values) squares += value * value;
    const double scale = 1 / std::sqrt(squares / s.head_dim_k + 1e-5);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] *= scale * norm[i];
    turn(values, angles, token, pairs, s.neox);
    return values;
  };
  const auto q_seen = floats_of(q_buffer, q.size());
  for (std::uint32_t t = 0; t < kTokens; ++t) {
    for (std::uint32_t h = 0; h < s.heads; ++h) {
      const std::size_t head = std::size_t{t} * s.heads + h;
      const std::vector<double> wanted = prepared(q, head, t);
      for (std::uint32_t i = 0; i < s.head_dim_k; ++i) {
        comparison.expect(q_seen[head * s.head_dim_k + i], wanted[i], 5e-5, c.name, t, i);
      }
    }
    const std::uint32_t position = kFirst + t;
    const std::size_t page = pages[position / quant::kKvPageCells];
    for (std::uint32_t h = 0; h < s.kv_heads; ++h) {
      const std::size_t head = std::size_t{t} * s.kv_heads + h;
      const std::vector<double> wanted = prepared(k, head, t);
      const std::uint32_t cell = position % quant::kKvPageCells;
      const std::byte* k_at = k_cache.data() + (page * s.kv_heads + h) * k_part;
      const std::byte* v_at = v_cache.data() + (page * s.kv_heads + h) * v_part;
      for (std::uint32_t i = 0; i < s.head_dim_k; ++i) {
        comparison.expect(load(k_at, s.k_type, s.head_dim_k, cell, i), wanted[i], c.stored * (1 + std::fabs(wanted[i])),
                          c.name, t, i);
      }
      for (std::uint32_t i = 0; i < s.head_dim_v; ++i) {
        const double value = v[head * s.head_dim_v + i];
        comparison.expect(load(v_at, s.v_type, s.head_dim_v, cell, i), value, c.stored * (1 + std::fabs(value)), c.name,
                          t, i);
      }
    }
  }
}

// A sequence's cells, in pages and as rows of what was stored.
struct Cells {
  Cells(const vulkan::AttentionShape& shape, std::uint32_t cells, Random& random) : s(shape) {
    const std::uint32_t page_count = (cells + quant::kKvPageCells - 1) / quant::kKvPageCells;
    for (std::uint32_t p = 0; p < page_count; ++p) pages.push_back(page_count - 1 - p);
    fill(k_bytes, k, s.k_type, s.head_dim_k, cells, random);
    fill(v_bytes, v, s.v_type, s.head_dim_v, cells, random);
  }

  void fill(std::vector<std::byte>& bytes, Floats& rows, TensorType type, std::uint32_t width, std::uint32_t cells,
            Random& random) const {
    const std::size_t part = quant::kv_page_head_bytes(type, width).value;
    bytes.resize(part * s.kv_heads * pages.size(), std::byte{0xFF});
    std::uniform_int_distribution<int> whole(-100, 100);
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
      for (std::uint32_t h = 0; h < s.kv_heads; ++h) {
        Floats values(width);
        for (float& value : values) value = static_cast<float>(whole(random)) / 64;  // exact in every type
        const std::size_t page = pages[cell / quant::kKvPageCells];
        store(bytes.data() + (page * s.kv_heads + h) * part, type, width, cell % quant::kKvPageCells, values);
        rows.insert(rows.end(), values.begin(), values.end());
      }
    }
  }

  const vulkan::AttentionShape s;
  std::vector<std::uint32_t> pages;
  std::vector<std::byte> k_bytes, v_bytes;
  Floats k, v;  // [cells][kv heads][width]
};

// Attention of one head over cells [0, end).
std::vector<double> attended(const Cells& cells, std::span<const float> q, std::uint32_t head, std::uint32_t end) {
  const vulkan::AttentionShape& s = cells.s;
  const std::uint32_t kv_head = head / (s.heads / s.kv_heads);
  std::vector<double> scores(end);
  for (std::uint32_t c = 0; c < end; ++c) {
    const float* key = cells.k.data() + (std::size_t{c} * s.kv_heads + kv_head) * s.head_dim_k;
    for (std::uint32_t i = 0; i < s.head_dim_k; ++i) scores[c] += double{q[i]} * key[i];
    scores[c] /= std::sqrt(static_cast<double>(s.head_dim_k));
  }
  const double highest = *std::ranges::max_element(scores);
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - highest);
  std::vector<double> out(s.head_dim_v);
  for (std::uint32_t c = 0; c < end; ++c) {
    const float* value = cells.v.data() + (std::size_t{c} * s.kv_heads + kv_head) * s.head_dim_v;
    for (std::uint32_t i = 0; i < s.head_dim_v; ++i) out[i] += scores[c] / total * value[i];
  }
  return out;
}

// The last `tokens` tokens of a sequence of `length` cells, in a pass of up to `most`, in `splits` parts, which are put
// together here.
void check_attention_of(Workbench& bench, const HeadCase& c, std::uint32_t tokens, std::uint32_t most,
                        std::uint32_t splits, Comparison& comparison) {
  constexpr std::uint32_t kLength = 150;
  const vulkan::AttentionShape& s = c.shape;
  Random random(8);
  const Cells cells(s, kLength, random);
  const Floats q = random_floats(std::size_t{tokens} * s.heads * s.head_dim_k, random);
  const vulkan::AttentionTile tile = bench.operations.attention_tile(s, most);
  std::vector<std::uint32_t> entries;
  std::vector<std::uint32_t> tiles;
  for (std::uint32_t t = 0; t < tokens; ++t) entries.insert(entries.end(), {kLength - tokens + t, 0});
  for (std::uint32_t t = 0; t < tokens; t += tile.tokens) tiles.push_back(t * 256 + std::min(tile.tokens, tokens - t));
  const std::size_t width = std::size_t{s.heads} * s.head_dim_v;
  const std::size_t part = s.head_dim_v + 2;  // attention.glsl
  const Buffer q_buffer = bench.buffer(q);
  const Buffer k_cache = bench.buffer(cells.k_bytes);
  const Buffer v_cache = bench.buffer(cells.v_bytes);
  const Buffer tile_buffer = bench.buffer(tiles);
  const Buffer entry_buffer = bench.buffer(entries);
  const Buffer page_buffer = bench.buffer(cells.pages);
  const Buffer table = bench.table(tokens, 0, static_cast<std::uint32_t>(tiles.size()));
  const Buffer out = bench.buffer(tokens * width * sizeof(float), 0xFF);
  const Buffer workspace = bench.buffer(std::size_t{tokens} * s.heads * splits * part * sizeof(float), 0xFF);
  vulkan::AttentionArguments arguments;
  arguments.q = q_buffer.address();
  arguments.result = out.address();
  arguments.k_cache = k_cache.address();
  arguments.v_cache = v_cache.address();
  arguments.tiles = tile_buffer.address();
  arguments.tokens = entry_buffer.address();
  arguments.pages = page_buffer.address();
  arguments.workspace = workspace.address();
  arguments.table = table.address();
  arguments.heads = s.heads;
  arguments.kv_heads = s.kv_heads;
  arguments.scale = 1 / std::sqrt(static_cast<float>(s.head_dim_k));
  bench.run([&](CommandList& list) {
    bench.operations.attention(list, s, tile, splits, arguments, static_cast<std::uint32_t>(tiles.size()));
  });
  const auto results = floats_of(out, tokens * width);
  const auto parts = floats_of(workspace, std::size_t{tokens} * s.heads * splits * part);
  for (std::uint32_t t = 0; t < tokens; ++t) {
    for (std::uint32_t h = 0; h < s.heads; ++h) {
      const std::size_t head = std::size_t{t} * s.heads + h;
      const std::vector<double> wanted =
          attended(cells, std::span(q).subspan(head * s.head_dim_k, s.head_dim_k), h, kLength - tokens + t + 1);
      for (std::uint32_t i = 0; i < s.head_dim_v; ++i) {
        double seen = results[head * s.head_dim_v + i];
        if (splits > 1) {
          const auto own = parts.subspan(head * splits * part, splits * part);
          double highest = -1e30;
          for (std::uint32_t p = 0; p < splits; ++p) highest = std::max<double>(highest, own[p * part + s.head_dim_v]);
          double sum = 0;
          double total = 0;
          for (std::uint32_t p = 0; p < splits; ++p) {
            const double factor = std::exp(own[p * part + s.head_dim_v] - highest);
            sum += factor * own[p * part + i];
            total += factor * own[p * part + s.head_dim_v + 1];
          }
          seen = sum / total;
        }
        comparison.expect(seen, wanted[i], 2e-4, c.name, t, i);
      }
    }
  }
}

void check_merge(Subject& subject, Row& row) {
  constexpr std::uint32_t kTokens = 3, kHeads = 2, kWidth = 70, kSplits = 4, kPart = kWidth + 2;
  Workbench bench(subject.options);
  Random random(9);
  Floats parts = random_floats(std::size_t{kTokens} * kHeads * kSplits * kPart, random);
  for (std::size_t p = 0; p < parts.size(); p += kPart) parts[p + kWidth + 1] = 1 + std::fabs(parts[p + kWidth + 1]);
  const Buffer workspace = bench.buffer(parts);
  const std::size_t count = std::size_t{kTokens} * kHeads * kWidth;
  const Buffer out = bench.buffer(count * sizeof(float));
  const Buffer table = bench.table(kTokens);
  vulkan::MergeArguments arguments;
  arguments.workspace = workspace.address();
  arguments.result = out.address();
  arguments.table = table.address();
  arguments.heads = kHeads;
  arguments.width = kWidth;
  arguments.splits = kSplits;
  bench.run([&](CommandList& list) { bench.operations.merge_attention(list, arguments, 4); });
  const auto results = floats_of(out, count);
  Comparison comparison;
  for (std::uint32_t head = 0; head < kTokens * kHeads; ++head) {
    const float* own = parts.data() + std::size_t{head} * kSplits * kPart;
    double total = 0;
    for (std::uint32_t p = 0; p < kSplits; ++p) {
      total += std::exp(double{own[p * kPart + kWidth]}) * own[p * kPart + kWidth + 1];
    }
    for (std::uint32_t i = 0; i < kWidth; ++i) {
      double sum = 0;
      for (std::uint32_t p = 0; p < kSplits; ++p) sum += std::exp(double{own[p * kPart + kWidth]}) * own[p * kPart + i];
      comparison.expect(results[std::size_t{head} * kWidth + i], sum / total, 1e-5 * (1 + std::fabs(sum / total)),
                        "parts", head / kHeads, i);
    }
  }
  row.said = comparison.text();
}

}  // namespace

void add_attention_checks(Checks& checks) {
  checks.push_back({"shader", "Attention", 1, [](Subject& subject, Row& row) {
                      Workbench bench(subject.options);
                      Comparison comparison;
                      for (const HeadCase& c : kHeadCases) {
                        subject.check_time();
                        check_attention_of(bench, c, 40, 64, 1, comparison);
                        check_attention_of(bench, c, 3, vulkan::kMostVectorRows, 1, comparison);
                        check_attention_of(bench, c, 1, 1, 4, comparison);
                      }
                      row.said = comparison.text();
                    }});
  checks.push_back({"shader", "Heads", 1, [](Subject& subject, Row& row) {
                      Workbench bench(subject.options);
                      Comparison comparison;
                      for (const HeadCase& c : kHeadCases) {
                        subject.check_time();
                        check_heads_of(bench, c, comparison);
                      }
                      row.said = comparison.text();
                    }});
  checks.push_back({"shader", "MergeAttention", 1, check_merge});
  checks.push_back({"shader", "Rope", 3, check_rope});
}

}  // namespace loadline::selftest

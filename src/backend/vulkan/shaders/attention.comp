// Attention over the paged cache in one pass: scores, their running maximum and sum, and the weighted sum of v together,
// so that each cell is read once. A workgroup takes a tile of query rows (kTileTokens tokens of one run by kTileHeads query
// heads that share a KV head) and walks the cells they see in blocks of kCells. For a few tokens over a long cache the
// blocks are split over kSplits workgroups, whose partial results merge_attention.comp puts together.
// AttentionArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "kv.glsl"
#include "attention.glsl"
#include "activation.glsl"

layout(local_size_x = 128) in;
layout(constant_id = 1) const uint kHeadK = 128u;
layout(constant_id = 2) const uint kHeadV = 128u;
layout(constant_id = 3) const uint kKType = kKvF16;
layout(constant_id = 4) const uint kVType = kKvF16;
layout(constant_id = 5) const uint kTileTokens = 1u;
layout(constant_id = 6) const uint kTileHeads = 4u;
layout(constant_id = 7) const uint kCells = 32u;  // of a block; divides the page
layout(constant_id = 8) const uint kSplits = 1u;
layout(constant_id = 9) const uint kValueRow = 128u;  // values in a cell that a value is the first kHeadV of

layout(push_constant, std430) uniform AttentionArguments {
  uint64_t q;          // [tokens][heads * kHeadK] floats, rotated
  uint64_t result;     // [tokens][heads * kHeadV] floats
  uint64_t k_cache, v_cache;
  uint64_t tiles;      // first token * 256 + tokens, per tile
  uint64_t tokens;     // TokenEntry per token
  uint64_t pages;      // page numbers
  uint64_t workspace;  // with kSplits > 1
  uint64_t table;      // the pass
  uint64_t sinks;      // [heads] floats, or 0: one more logit for each head, whose weight is dropped
  uint heads;
  uint kv_heads;
  uint first_tile;     // of this dispatch
  float scale;
  float softcap;       // c tanh(score / c); 0: none
  uint window;         // cells that a token sees at most; 0: all
  uint chunk;          // of cells: a token sees those of its own; 0: all
  float alibi;         // exponent of the largest slope; 0: none
  float temperature;   // queries times 1 + temperature ln(floor((position + ahead) / length) + 1)
  uint temperature_length;
  uint temperature_ahead;
} arguments;

const uint kThreads = 128u;
const uint kRows = kTileTokens * kTileHeads;
const uint kKeyStride = kHeadK + 1u;  // odd, so that lanes with neighbouring cells use different banks
const uint kBlockFloats = kCells * (kKeyStride > kHeadV ? kKeyStride : kHeadV);
const uint kSumsEach = (kRows * kHeadV + kThreads - 1u) / kThreads;

shared float queries[kRows * kHeadK];
shared float block_values[kBlockFloats];
shared float weights[kRows * kCells];
shared float highest[kRows];
shared float total[kRows];
shared float correction[kRows];

// The first `width` values of cells of `row` values.
void load_block(uint64_t cache, uint type, uint row, uint width, uint stride, uint page, uint head, uint first_cell,
                uint cells) {
  const uint64_t part = kv_page_head(cache, type, row, arguments.kv_heads, page, head);
  for (uint i = gl_LocalInvocationID.x; i < cells * width; i += kThreads) {
    block_values[i / width * stride + i % width] = kv_load(part, type, row, first_cell + i / width, i % width);
  }
}

// The first cell that a token sees.
uint first_seen(uint position) {
  uint first = 0u;
  if (arguments.window != 0u && position + 1u > arguments.window) first = position + 1u - arguments.window;
  if (arguments.chunk != 0u) first = max(first, position / arguments.chunk * arguments.chunk);
  return first;
}

float query_scale(uint position) {
  if (arguments.temperature == 0.0) return arguments.scale;
  const uint passed = (position + arguments.temperature_ahead) / arguments.temperature_length;
  return arguments.scale * (1.0 + arguments.temperature * log(float(passed) + 1.0));
}

// What ALiBi takes off for each position of distance.
float slope(uint head) {
  const uint whole = 1u << findMSB(arguments.heads);
  const float place = head < whole ? float(head + 1u) : (2.0 * float(head - whole) + 1.0) / 2.0;
  return exp2(-arguments.alibi * place / float(whole));
}

void main() {
  const uint tile_index = arguments.first_tile + gl_WorkGroupID.x;
  if (tile_index >= Words(arguments.table).v[2]) return;
  const uint tile = Words(arguments.tiles).v[tile_index];
  const uint first_token = tile / 256u;
  const uint tile_tokens = tile % 256u;
  const uint first_head = gl_WorkGroupID.y * kTileHeads;
  const uint kv_head = first_head / (arguments.heads / arguments.kv_heads);
  const uint first_position = Words(arguments.tokens).v[first_token * 2u];
  const uint first_page = Words(arguments.tokens).v[first_token * 2u + 1u];
  const uint visible = first_position + tile_tokens;  // cells the tile's last token sees

  for (uint i = gl_LocalInvocationID.x; i < kRows * kHeadK; i += kThreads) {
    const uint token = first_token + min(i / kHeadK / kTileHeads, tile_tokens - 1u);
    const uint head = first_head + i / kHeadK % kTileHeads;
    queries[i] = Floats(arguments.q).v[(token * arguments.heads + head) * kHeadK + i % kHeadK] *
                 query_scale(first_position + token - first_token);
  }
  for (uint row = gl_LocalInvocationID.x; row < kRows; row += kThreads) {
    highest[row] = -3.0e38;
    total[row] = 0.0;
  }
  float sums[kSumsEach];
  [[unroll]] for (uint i = 0u; i < kSumsEach; ++i) sums[i] = 0.0;
  barrier();

  const uint blocks = (visible + kCells - 1u) / kCells;
  const uint unseen = first_seen(first_position) / kCells;  // blocks before what the tile's first token sees
  const uint blocks_each = (blocks - unseen + kSplits - 1u) / kSplits;
  const uint end_block = min(blocks, unseen + (gl_WorkGroupID.z + 1u) * blocks_each);
  for (uint block = unseen + gl_WorkGroupID.z * blocks_each; block < end_block; ++block) {
    const uint first_cell = block * kCells;
    const uint cells = min(kCells, visible - first_cell);
    const uint page = Words(arguments.pages).v[first_page + first_cell / kPageCells];
    load_block(arguments.k_cache, kKType, kHeadK, kHeadK, kKeyStride, page, kv_head, first_cell % kPageCells, cells);
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < kRows * kCells; i += kThreads) {
      const uint row = i / kCells;
      const uint cell = i % kCells;
      const uint position = first_position + row / kTileHeads;
      float score = -3.0e38;
      if (cell < cells && first_cell + cell <= position && first_cell + cell >= first_seen(position)) {
        score = 0.0;
        for (uint d = 0u; d < kHeadK; ++d) score += queries[row * kHeadK + d] * block_values[cell * kKeyStride + d];
        if (arguments.softcap != 0.0) score = arguments.softcap * bounded_tanh(score / arguments.softcap);
        if (arguments.alibi != 0.0) {
          score -= slope(first_head + row % kTileHeads) * float(position - first_cell - cell);
        }
      }
      weights[i] = score;
    }
    barrier();
    load_block(arguments.v_cache, kVType, kValueRow, kHeadV, kHeadV, page, kv_head, first_cell % kPageCells, cells);
    for (uint row = gl_LocalInvocationID.x; row < kRows; row += kThreads) {
      float most = highest[row];
      for (uint cell = 0u; cell < cells; ++cell) most = max(most, weights[row * kCells + cell]);
      float sum = 0.0;
      for (uint cell = 0u; cell < cells; ++cell) {
        const float score = weights[row * kCells + cell];
        const float weight = score > -1.0e38 ? exp(score - most) : 0.0;
        weights[row * kCells + cell] = weight;
        sum += weight;
      }
      correction[row] = exp(highest[row] - most);
      total[row] = total[row] * correction[row] + sum;
      highest[row] = most;
    }
    barrier();
    [[unroll]] for (uint i = 0u; i < kSumsEach; ++i) {
      const uint at = gl_LocalInvocationID.x + i * kThreads;
      if (at < kRows * kHeadV) {
        const uint row = at / kHeadV;
        float sum = sums[i] * correction[row];
        for (uint cell = 0u; cell < cells; ++cell) {
          sum += weights[row * kCells + cell] * block_values[cell * kHeadV + at % kHeadV];
        }
        sums[i] = sum;
      }
    }
    barrier();
  }

  [[unroll]] for (uint i = 0u; i < kSumsEach; ++i) {
    const uint at = gl_LocalInvocationID.x + i * kThreads;
    const uint row = at / kHeadV;
    if (at >= kRows * kHeadV || row / kTileHeads >= tile_tokens) continue;
    const uint token = first_token + row / kTileHeads;
    const uint head = first_head + row % kTileHeads;
    if (kSplits == 1u) {
      float divisor = total[row];
      float factor = 1.0;
      if (arguments.sinks != 0ul) {
        const float sink = Floats(arguments.sinks).v[head];
        const float most = max(highest[row], sink);
        factor = exp(highest[row] - most);
        divisor = divisor * factor + exp(sink - most);
      }
      Floats(arguments.result).v[(token * arguments.heads + head) * kHeadV + at % kHeadV] = sums[i] * factor / divisor;
    } else {
      const uint64_t partial =
          partial_result(arguments.workspace, kHeadV, arguments.heads, kSplits, token, head, gl_WorkGroupID.z);
      Floats(partial).v[at % kHeadV] = sums[i];
      if (at % kHeadV == 0u) {
        Floats(partial).v[kHeadV] = highest[row];
        Floats(partial).v[kHeadV + 1u] = total[row];
      }
    }
  }
}

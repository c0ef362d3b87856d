// Between the products that make q, k and v and the attention that reads them: a workgroup takes one head of one token,
// normalises it where the model has head norms, rotates it (q and k), and puts it in place (q) or into the cache (k, v).
// HeadsArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "kv.glsl"

layout(local_size_x = 64) in;
layout(constant_id = 1) const uint kHeadK = 128u;
layout(constant_id = 2) const uint kHeadV = 128u;
layout(constant_id = 3) const uint kKType = kKvF16;
layout(constant_id = 4) const uint kVType = kKvF16;
layout(constant_id = 5) const uint kRotary = 128u;  // values of a head that are rotated
layout(constant_id = 6) const bool kNeox = false;   // pairs (i, i + kRotary / 2) instead of (2 i, 2 i + 1)

layout(push_constant, std430) uniform HeadsArguments {
  uint64_t q, k, v;         // [tokens][heads * width] floats
  uint64_t q_norm, k_norm;  // [kHeadK] floats, or 0
  uint64_t k_cache, v_cache;
  uint64_t angles;          // cosines, at sine_offset sines: [tokens][kRotary / 2] floats
  uint64_t tokens;          // TokenEntry per token
  uint64_t pages;           // page numbers
  uint64_t table;           // the pass
  uint sine_offset;         // in floats
  uint heads;
  uint kv_heads;
  float epsilon;
  uint k_heads;             // that come: kv_heads, or none
  uint v_heads;
} arguments;

const uint kWidest = kHeadK > kHeadV ? kHeadK : kHeadV;

shared float values[kWidest];
shared float partial[64];

void normalise(uint64_t weight) {
  float squares = 0.0;
  for (uint i = gl_LocalInvocationID.x; i < kHeadK; i += 64u) squares += values[i] * values[i];
  partial[gl_LocalInvocationID.x] = squares;
  barrier();
  float sum = 0.0;
  for (uint i = 0u; i < 64u; ++i) sum += partial[i];
  const float scale = 1.0 / sqrt(sum / float(kHeadK) + arguments.epsilon);
  for (uint i = gl_LocalInvocationID.x; i < kHeadK; i += 64u) values[i] *= scale * Floats(weight).v[i];
  barrier();
}

void rotate(uint token) {
  for (uint pair = gl_LocalInvocationID.x; pair < kRotary / 2u; pair += 64u) {
    const uint angle = token * (kRotary / 2u) + pair;
    const float cosine = Floats(arguments.angles).v[angle];
    const float sine = Floats(arguments.angles).v[arguments.sine_offset + angle];
    const uint first = kNeox ? pair : 2u * pair;
    const uint second = kNeox ? pair + kRotary / 2u : 2u * pair + 1u;
    const float a = values[first];
    const float b = values[second];
    values[first] = a * cosine - b * sine;
    values[second] = a * sine + b * cosine;
  }
  barrier();
}

void store_quantised(uint64_t part, uint width, uint cell) {
  for (uint block = gl_LocalInvocationID.x; block < width / 32u; block += 64u) {
    float largest = 0.0;
    for (uint i = 0u; i < 32u; ++i) largest = max(largest, abs(values[block * 32u + i]));
    const uint bits = packHalf2x16(vec2(largest / 127.0, 0.0));
    const float scale = half_value(bits);
    const float inverse = scale == 0.0 ? 0.0 : 1.0 / scale;
    for (uint i = 0u; i < 32u; ++i) {
      const int quant = int(clamp(roundEven(values[block * 32u + i] * inverse), -127.0, 127.0));
      Octets(part).v[cell * width + block * 32u + i] = uint8_t(quant & 255);
    }
    Halves(part).v[kv_scale_index(width, cell, block)] = uint16_t(bits);
  }
}

void store(uint64_t part, uint type, uint width, uint cell) {
  if (type == kKvQ8) {
    store_quantised(part, width, cell);
    return;
  }
  for (uint i = gl_LocalInvocationID.x; i < width; i += 64u) {
    if (type == kKvF32) {
      Floats(part).v[cell * width + i] = values[i];
    } else {
      Halves(part).v[cell * width + i] = uint16_t(packHalf2x16(vec2(values[i], 0.0)));
    }
  }
}

void main() {
  const uint token = gl_WorkGroupID.y;
  if (token >= pass_rows(arguments.table, false)) return;
  const uint index = gl_WorkGroupID.x;  // the heads of q, then of k, then of v
  const bool is_q = index < arguments.heads;
  const bool is_v = index >= arguments.heads + arguments.k_heads;
  const uint head = is_q ? index : is_v ? index - arguments.heads - arguments.k_heads : index - arguments.heads;
  const uint width = is_v ? kHeadV : kHeadK;
  const uint row_heads = is_q ? arguments.heads : arguments.kv_heads;
  const uint64_t source = (is_q ? arguments.q : is_v ? arguments.v : arguments.k) +
                          uint64_t(token * row_heads + head) * width * 4u;
  for (uint i = gl_LocalInvocationID.x; i < width; i += 64u) values[i] = Floats(source).v[i];
  barrier();
  if (!is_v) {
    const uint64_t norm = is_q ? arguments.q_norm : arguments.k_norm;
    if (norm != 0ul) normalise(norm);
    rotate(token);
  }
  if (is_q) {
    for (uint i = gl_LocalInvocationID.x; i < width; i += 64u) Floats(source).v[i] = values[i];
    return;
  }
  const uint position = Words(arguments.tokens).v[token * 2u];
  const uint page = Words(arguments.pages).v[Words(arguments.tokens).v[token * 2u + 1u] + position / kPageCells];
  const uint type = is_v ? kVType : kKType;
  const uint64_t cache = is_v ? arguments.v_cache : arguments.k_cache;
  store(kv_page_head(cache, type, width, arguments.kv_heads, page, head), type, width, position % kPageCells);
}

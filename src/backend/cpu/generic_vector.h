// Activations and norms, written once over the primitives of an instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backend/cpu/generic_activations.h"
#include "backend/cpu/kernel_sets.h"
#include "quant/activation.h"

namespace loadline::cpu {
namespace {

using quant::ActivationKind;
using quant::Int8Block;

// As the scalar kernels do it, bit for bit.
void prepare_block(const float* x, Int8Block& out) {
  const std::int32_t bits = largest_bits(x, 256);
  float largest;
  std::memcpy(&largest, &bits, sizeof largest);
  const bool finite = bits < 0x7F800000;
  if (!finite || largest < kNegligible) {
    std::memset(&out, 0, sizeof out);
    out.scale = finite ? 0.0F : __builtin_nanf("");
    return;
  }
  out.scale = largest / 127.0F;
  const F inverse = V::set(127.0F / largest);
  for (int i = 0; i < 256; i += 16) {
    V::store_chars(out.values + i, V::round_to_int(V::mul(V::load_f(x + i), inverse)));
  }
  alignas(64) std::int32_t quads[64];  // sums of 4 values each
  for (int i = 0; i < 4; ++i) {
    auto products = V::Dots<1>::from(V::zero());
    products.add(V::bytes(1), V::load(out.values + 64 * i));
    V::store(quads + 16 * i, products.total());
  }
  out.start256 = 0;
  for (int i = 0; i < 8; ++i) {
    std::int32_t pair[2];
    for (int j = 0; j < 2; ++j) {
      const std::int32_t* quad = quads + 8 * i + 4 * j;
      pair[j] = quad[0] + quad[1] + quad[2] + quad[3];
      out.starts16[2 * i + j] = -128 * pair[j];
      out.sums16[quant::sum_index(2 * i + j)] = static_cast<std::int16_t>(pair[j]);
    }
    out.starts32[i] = -128 * (pair[0] + pair[1]);
    out.sums32[quant::sum_index(i)] = static_cast<std::int16_t>(pair[0] + pair[1]);
    out.start256 += out.starts32[i];
  }
  std::memset(out.padding, 0, sizeof out.padding);
}

}  // namespace

namespace LOADLINE_ISA {

void prepare(ActivationKind kind, const float* x, std::uint64_t stride, std::uint64_t columns, std::uint32_t begin,
             std::uint32_t end, std::uint32_t tokens, std::byte* out) {
  for (std::uint32_t t = begin; t < end; ++t) {
    const float* row = x + t * stride;
    if (kind == ActivationKind::Int8) {
      auto* target = reinterpret_cast<Int8Block*>(out) + t;
      std::uint64_t c = 0;
      for (; c + 256 <= columns; c += 256, target += tokens) prepare_block(row + c, *target);
      if (c < columns) {
        alignas(64) float last[256] = {};
        std::memcpy(last, row + c, (columns - c) * sizeof(float));
        prepare_block(last, *target);
      }
    } else {
      const std::uint64_t padded = (columns + 15) / 16 * 16;
      float* target = reinterpret_cast<float*>(out) + t * padded;
      std::memcpy(target, row, columns * sizeof(float));
      std::memset(target + columns, 0, (padded - columns) * sizeof(float));
    }
  }
}

void rms_norm(const float* x, const float* weight, float* out, std::uint64_t columns, std::uint64_t begin,
              std::uint64_t end, float epsilon) {
  F sums[4] = {V::zero_f(), V::zero_f(), V::zero_f(), V::zero_f()};
  std::uint64_t c = 0;
  for (; c + 64 <= columns; c += 64) {
    unrolled<4>(LOADLINE_EACH(i) {
      const F value = V::load_f(x + c + 16 * i);
      sums[i] = V::fma(value, value, sums[i]);
    });
  }
  float squares = V::sum(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
  for (; c < columns; ++c) squares += x[c] * x[c];
  const float factor = 1.0F / __builtin_sqrtf(squares / static_cast<float>(columns) + epsilon);
  for (c = begin; c + 16 <= end; c += 16) {
    V::store_f(out + c, V::mul(V::mul(V::load_f(x + c), V::set(factor)), V::load_f(weight + c)));
  }
  for (; c < end; ++c) out[c] = x[c] * factor * weight[c];
}

// The loops of the next two are plain enough for the compiler to vectorise.
void rope(float* x, std::uint32_t heads, std::uint32_t head_dim, std::uint32_t rotary, const float* cosines,
          const float* sines, bool neox) {
  const std::uint32_t half = rotary / 2;
  for (std::uint32_t h = 0; h < heads; ++h, x += head_dim) {
    if (neox) {
      float* __restrict first = x;
      float* __restrict second = x + half;
      for (std::uint32_t i = 0; i < half; ++i) {
        const float a = first[i];
        const float b = second[i];
        first[i] = a * cosines[i] - b * sines[i];
        second[i] = a * sines[i] + b * cosines[i];
      }
    } else {
      for (std::uint32_t i = 0; i < half; ++i) {
        const float a = x[2 * i];
        const float b = x[2 * i + 1];
        x[2 * i] = a * cosines[i] - b * sines[i];
        x[2 * i + 1] = a * sines[i] + b * cosines[i];
      }
    }
  }
}

void add(float* target, const float* source, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) target[i] += source[i];
}

}  // namespace LOADLINE_ISA
}  // namespace loadline::cpu

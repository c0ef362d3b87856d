// The weight format this program was compiled for. Each include of formats/ defines
//   kBlockBytes, kBlockUnits      a block's size, and the units it is read in
//   kUnitVectors                  vec4s a unit decodes to
//   vector_offset(unit, i)        where the unit's vec4 i lies in the block, in elements
//   dequant(block, unit, values)  decodes one unit of the block at that address
//   integers(block, unit, packed, scales)  where that is of use (dots.glsl): the same as whole numbers in signed bytes,
//                                 and scale and offset of each vec4, which those of neighbours that make a step of
//                                 matmul.glsl share
// so that a unit is what one lane takes at a time: neighbouring lanes read neighbouring bytes.
// Layouts: quant/blocks.h. FLOAT_FORMAT marks those whose "block" is only a run of eight values.
#if defined(FORMAT_F32)
#include "formats/f32.glsl"
#elif defined(FORMAT_F16)
#include "formats/f16.glsl"
#elif defined(FORMAT_BF16)
#include "formats/bf16.glsl"
#elif defined(FORMAT_Q4_0)
#include "formats/q4_0.glsl"
#elif defined(FORMAT_Q4_1)
#include "formats/q4_1.glsl"
#elif defined(FORMAT_Q5_0)
#include "formats/q5_0.glsl"
#elif defined(FORMAT_Q5_1)
#include "formats/q5_1.glsl"
#elif defined(FORMAT_Q8_0)
#include "formats/q8_0.glsl"
#elif defined(FORMAT_Q2_K)
#include "formats/q2_k.glsl"
#elif defined(FORMAT_Q3_K)
#include "formats/q3_k.glsl"
#elif defined(FORMAT_Q4_K)
#include "formats/q4_k.glsl"
#elif defined(FORMAT_Q5_K)
#include "formats/q5_k.glsl"
#elif defined(FORMAT_Q6_K)
#include "formats/q6_k.glsl"
#elif defined(FORMAT_IQ4_NL)
#include "formats/iq4_nl.glsl"
#elif defined(FORMAT_IQ4_XS)
#include "formats/iq4_xs.glsl"
#elif defined(FORMAT_IQ1_S)
#include "formats/iq1_s.glsl"
#elif defined(FORMAT_IQ1_M)
#include "formats/iq1_m.glsl"
#elif defined(FORMAT_IQ2_XXS)
#include "formats/iq2_xxs.glsl"
#elif defined(FORMAT_IQ2_XS)
#include "formats/iq2_xs.glsl"
#elif defined(FORMAT_IQ2_S)
#include "formats/iq2_s.glsl"
#elif defined(FORMAT_IQ3_XXS)
#include "formats/iq3_xxs.glsl"
#elif defined(FORMAT_IQ3_S)
#include "formats/iq3_s.glsl"
#elif defined(FORMAT_MXFP4)
#include "formats/mxfp4.glsl"
#elif defined(FORMAT_NVFP4)
#include "formats/nvfp4.glsl"
#elif defined(FORMAT_TQ1_0)
#include "formats/tq1_0.glsl"
#elif defined(FORMAT_TQ2_0)
#include "formats/tq2_0.glsl"
#elif defined(FORMAT_Q1_0)
#include "formats/q1_0.glsl"
#elif defined(FORMAT_Q2_0)
#include "formats/q2_0.glsl"
#endif

const uint kBlockElements = kBlockUnits * kUnitVectors * 4u;

// Rows whose length is not a multiple of eight occur with the float formats only; they are read value by value.
layout(constant_id = 1) const bool kRagged = false;

// Decodes unit `unit` of a row, counted through all its blocks; zeros past the row's end.
void dequant_row(uint64_t row, uint unit, uint columns, out vec4 values[kUnitVectors]) {
#ifdef FLOAT_FORMAT
  if (kRagged) {
    [[unroll]] for (uint i = 0u; i < 8u; ++i) {
      const uint at = unit * 8u + i;
      values[i / 4u][i % 4u] = at < columns ? value_at(row, at) : 0.0;
    }
    return;
  }
#endif
  dequant(row + uint64_t(unit / kBlockUnits) * kBlockBytes, unit % kBlockUnits, values);
}

#ifdef DOTS
void integers_of_row(uint64_t row, uint unit, out uint packed[kUnitVectors], out vec2 scales[kUnitVectors]) {
  integers(row + uint64_t(unit / kBlockUnits) * kBlockBytes, unit % kBlockUnits, packed, scales);
}
#endif

// Where the unit's vec4 i lies in the row, in elements.
uint row_offset(uint unit, uint i) {
  return unit / kBlockUnits * kBlockElements + vector_offset(unit % kBlockUnits, i);
}

uint row_units(uint columns) { return (columns + 4u * kUnitVectors - 1u) / (4u * kUnitVectors); }

// Four activations of a row of floats; zeros past its end.
vec4 load_activations(uint64_t row, uint at, uint columns) {
#ifdef FLOAT_FORMAT
  if (kRagged) {
    vec4 x = vec4(0.0);
    [[unroll]] for (uint i = 0u; i < 4u; ++i) {
      if (at + i < columns) x[i] = Floats(row).v[at + i];
    }
    return x;
  }
#endif
  return Vectors(row).v[at / 4u];
}

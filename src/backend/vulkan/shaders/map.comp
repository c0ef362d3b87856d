// Value by value: an invocation for each value of a row.
// MapArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "memory.glsl"
#include "pass.glsl"
#include "activation.glsl"

layout(local_size_x = 64) in;
layout(push_constant, std430) uniform MapArguments {
  uint64_t a;       // [..][columns] floats
  uint64_t b;       // likewise; of MultiplyByOne [..][1]
  uint64_t result;  // [..][columns] floats; may be a or b
  uint64_t tensor;  // of Scale: a float, or 0
  uint64_t table;   // the pass
  uint columns;
  uint kind;
  uint function;    // of Activate and Multiply
  uint selected;    // rows are the outputs of the pass
  float factor;     // of Add and Scale; the limit of Clamp, the cap of SoftCap
  float alpha_p, alpha_n, beta, epsilon;  // of XIelu
} arguments;

const uint kActivate = 0u;
const uint kAdd = 1u;  // a + factor * b
const uint kMultiply = 2u;  // a * function(b)
const uint kMultiplyByOne = 3u;
const uint kScale = 4u;
const uint kClamp = 5u;
const uint kSoftCap = 6u;
const uint kXIelu = 7u;

float xielu(float x) {
  const float ends = arguments.beta * x;
  if (x > 0.0) return arguments.alpha_p * x * x + ends;
  const float low = min(x, arguments.epsilon);
  // exp(low) - 1, where the difference would keep few bits by its series.
  const float less = abs(low) < 0.05 ? low * (1.0 + low * (0.5 + low * (1.0 / 6.0 + low / 24.0))) : exp(low) - 1.0;
  return (less - x) * arguments.alpha_n + ends;
}

void main() {
  const uint row = gl_WorkGroupID.y;
  const uint column = gl_GlobalInvocationID.x;
  if (row >= pass_rows(arguments.table, arguments.selected != 0u) || column >= arguments.columns) return;
  const uint at = row * arguments.columns + column;
  const float a = Floats(arguments.a).v[at];
  float value = a;
  switch (arguments.kind) {
    case kActivate: value = activated(arguments.function, a); break;
    case kAdd: value = a + arguments.factor * Floats(arguments.b).v[at]; break;
    case kMultiply: value = a * activated(arguments.function, Floats(arguments.b).v[at]); break;
    case kMultiplyByOne: value = a * activated(arguments.function, Floats(arguments.b).v[row]); break;
    case kScale: value = a * arguments.factor * (arguments.tensor != 0ul ? Floats(arguments.tensor).v[0] : 1.0); break;
    case kClamp: value = clamp(a, -arguments.factor, arguments.factor); break;
    case kSoftCap: value = arguments.factor * bounded_tanh(a / arguments.factor); break;
    case kXIelu: value = xielu(a); break;
  }
  Floats(arguments.result).v[at] = value;
}

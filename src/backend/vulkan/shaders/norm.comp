// Normalises runs of a row, a workgroup each: heads, groups, or the whole row. matvec.comp does it itself for a row that only
// it reads. result = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * weight + bias; the mean is 0 unless `layer`.
// NormArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, std430) uniform NormArguments {
  uint64_t x;       // [..][columns] floats
  uint64_t weight;  // [part] floats, with per_part for each part its own; or 0
  uint64_t bias;    // likewise
  uint64_t result;  // [..][columns] floats; may be x
  uint64_t table;   // the pass
  uint columns;
  uint part;        // values of a run
  uint offset;      // of the first
  uint selected;    // rows are the outputs of the pass
  float epsilon;
  uint layer;
  uint per_part;
} arguments;

shared float partial[64];  // a sum per subgroup; workgroups have at most 64 of them

float workgroup_sum(float own) {
  own = subgroupAdd(own);
  barrier();  // what was read of the sum before
  if (gl_SubgroupInvocationID == 0u) partial[gl_SubgroupID] = own;
  barrier();
  float sum = 0.0;
  for (uint i = 0u; i < gl_NumSubgroups; ++i) sum += partial[i];
  return sum;
}

void main() {
  if (gl_WorkGroupID.y >= pass_rows(arguments.table, arguments.selected != 0u)) return;
  const uint run = gl_WorkGroupID.x;
  const uint part = arguments.part;
  const uint64_t at =
      (uint64_t(gl_WorkGroupID.y) * arguments.columns + arguments.offset + run * part) * 4u;
  Floats x = Floats(arguments.x + at);
  float mean = 0.0;
  if (arguments.layer != 0u) {
    float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < part; i += gl_WorkGroupSize.x) sum += x.v[i];
    mean = workgroup_sum(sum) / float(part);
  }
  float squares = 0.0;
  for (uint i = gl_LocalInvocationID.x; i < part; i += gl_WorkGroupSize.x) {
    const float value = x.v[i] - mean;
    squares += value * value;
  }
  const float scale = 1.0 / sqrt(workgroup_sum(squares) / float(part) + arguments.epsilon);
  const uint first = arguments.per_part != 0u ? run * part : 0u;
  for (uint i = gl_LocalInvocationID.x; i < part; i += gl_WorkGroupSize.x) {
    float value = (x.v[i] - mean) * scale;
    if (arguments.weight != 0ul) value *= Floats(arguments.weight).v[first + i];
    if (arguments.bias != 0ul) value += Floats(arguments.bias).v[first + i];
    Floats(arguments.result + at).v[i] = value;
  }
}

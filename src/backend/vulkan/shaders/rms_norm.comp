// result = x / sqrt(mean(x^2) + epsilon) * weight, a row per workgroup. Used before matmul.comp; matvec.comp does it itself.
// NormArguments in arguments.h is the same structure.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#include "memory.glsl"
#include "pass.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, std430) uniform NormArguments {
  uint64_t x;       // [..][columns] floats
  uint64_t weight;  // [columns] floats
  uint64_t result;  // [..][columns] floats
  uint64_t table;   // the pass
  uint columns;
  uint selected;    // rows are the outputs of the pass
  float epsilon;
} arguments;

shared float partial[64];  // a sum per subgroup; workgroups have at most 64 of them

void main() {
  if (gl_WorkGroupID.x >= pass_rows(arguments.table, arguments.selected != 0u)) return;
  const uint64_t offset = uint64_t(gl_WorkGroupID.x) * arguments.columns * 4u;
  Floats x = Floats(arguments.x + offset);
  float squares = 0.0;
  for (uint i = gl_LocalInvocationID.x; i < arguments.columns; i += gl_WorkGroupSize.x) squares += x.v[i] * x.v[i];
  squares = subgroupAdd(squares);
  if (gl_SubgroupInvocationID == 0u) partial[gl_SubgroupID] = squares;
  barrier();
  float sum = 0.0;
  for (uint i = 0u; i < gl_NumSubgroups; ++i) sum += partial[i];
  const float scale = 1.0 / sqrt(sum / float(arguments.columns) + arguments.epsilon);
  for (uint i = gl_LocalInvocationID.x; i < arguments.columns; i += gl_WorkGroupSize.x) {
    Floats(arguments.result + offset).v[i] = x.v[i] * scale * Floats(arguments.weight).v[i];
  }
}

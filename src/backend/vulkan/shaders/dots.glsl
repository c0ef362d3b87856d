// Products of bytes, four at a time. A weight is scale * q + offset with a whole q, which a format's `integers` gives;
// activations become signed bytes times a scale of their own. What is rounded are the activations alone.
#extension GL_EXT_spirv_intrinsics : require

// OpSDotKHR of two words of four signed bytes (PackedVectorFormat4x8Bit), which glslc has no name for.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int packed_dot(int a, int b, spirv_literal int packed_format);

int dot_of(uint a, uint b) { return packed_dot(int(a), int(b), 0); }
// What offsets are multiplied with: as the bytes have it, so that rounding does not see offset and scale apart.
int sum_of(uint bytes) { return dot_of(bytes, 0x01010101u); }

const float kMostByte = 127.0;  // packSnorm4x8

float largest_of(vec4 x) {
  const vec4 size = abs(x);
  return max(max(size.x, size.y), max(size.z, size.w));
}

// What to multiply values with, of which the largest is this, before packSnorm4x8.
float to_bytes(float largest) { return largest > 1e-30 ? 1.0 / largest : 0.0; }

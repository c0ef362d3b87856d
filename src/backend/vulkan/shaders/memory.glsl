// How shaders see memory: by device address, through views of the element they read or write.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Quads { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Halves { uint16_t v[]; };
layout(buffer_reference, std430, buffer_reference_align = 1) buffer Octets { uint8_t v[]; };

uint load_octet(uint64_t address) { return uint(Octets(address).v[0]); }
uint load_half(uint64_t address) { return uint(Halves(address).v[0]); }
uint load_word(uint64_t address) { return Words(address).v[0]; }
// A word on an even address: blocks of 18, 34, 110 or 210 bytes keep no better alignment.
uint load_split_word(uint64_t address) {
  return uint(Halves(address).v[0]) | uint(Halves(address).v[1]) << 16;
}

// The value of a binary16 in the low half of `bits`.
float half_value(uint bits) { return unpackHalf2x16(bits).x; }

// The four bytes of a word as numbers 0..255, and as signed ones.
vec4 octets(uint word) {
  return vec4(word & 255u, (word >> 8) & 255u, (word >> 16) & 255u, word >> 24);
}
vec4 signed_octets(uint word) {
  const int w = int(word);
  return vec4(bitfieldExtract(w, 0, 8), bitfieldExtract(w, 8, 8), bitfieldExtract(w, 16, 8), bitfieldExtract(w, 24, 8));
}

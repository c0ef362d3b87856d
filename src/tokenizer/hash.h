// Hashes for the tables of this module, whose keys come from model files and prompts. The seed differs from process to
// process, so that a file cannot be made whose keys all fall into one place. Never part of a result.
#pragma once

#include <cstdint>
#include <string_view>

namespace loadline::tokenizer {

// Chosen once per process.
std::uint64_t hash_seed();

// Every input bit reaches every output bit (the finaliser of Stafford's "Mix13").
inline std::uint64_t mix_bits(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed);

}  // namespace loadline::tokenizer

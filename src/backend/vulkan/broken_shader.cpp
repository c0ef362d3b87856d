#include "backend/vulkan/broken_shader.h"

#include <fmt/format.h>

#include "base/error.h"

namespace loadline::vulkan {
namespace {

#ifdef LOADLINE_BREAK_SHADER
constexpr std::string_view kOfBuild = LOADLINE_BREAK_SHADER;
#else
constexpr std::string_view kOfBuild;
#endif

// SPIR-V's instructions (SPIR-V specification 1.6, 3.49.13), which all have a type, a result and two operands.
constexpr std::uint32_t kAdd = 129;
constexpr std::uint32_t kSubtract = 131;
constexpr std::uint32_t kMultiply = 133;
// Of GLSL's extended instructions, which say which they are in their fifth word: what the optimiser makes of a
// multiplication and an addition, and another one of three operands.
constexpr std::uint32_t kExtended = 12;
constexpr std::uint32_t kFused = 50;
constexpr std::uint32_t kMix = 46;
constexpr std::size_t kHeaderWords = 5;

// True where there was such an instruction.
bool replace_fused(std::vector<std::uint32_t>& words) {
  bool any = false;
  for (std::size_t at = kHeaderWords; at < words.size();) {
    const std::uint32_t length = words[at] >> 16;
    if (length == 0) break;
    if ((words[at] & 0xFFFFU) == kExtended && length == 8 && words[at + 4] == kFused) {
      words[at + 4] = kMix;
      any = true;
    }
    at += length;
  }
  return any;
}

// Likewise.
bool replace(std::vector<std::uint32_t>& words, std::uint32_t from, std::uint32_t to) {
  bool any = false;
  for (std::size_t at = kHeaderWords; at < words.size();) {
    const std::uint32_t length = words[at] >> 16;
    if (length == 0) break;
    if ((words[at] & 0xFFFFU) == from) {
      words[at] = length << 16 | to;
      any = true;
    }
    at += length;
  }
  return any;
}

}  // namespace

std::string_view broken_by_build() { return kOfBuild; }

bool is_broken(const std::string& name, Shader shader, std::optional<quant::TensorType> format) {
  if (name.empty() && kOfBuild.empty()) return false;
  const std::string all(name_of(shader));
  const std::string one = format ? fmt::format("{}{}", all, quant::name_of(*format)) : all;
  const auto means = [&](std::string_view meant) { return meant == all || meant == one; };
  return means(name) || means(kOfBuild);
}

std::vector<std::uint32_t> broken_program(std::span<const std::uint32_t> words) {
  std::vector<std::uint32_t> changed(words.begin(), words.end());
  const bool fused = replace_fused(changed);
  if (!replace(changed, kMultiply, kAdd) && !fused && !replace(changed, kAdd, kSubtract)) {
    throw Error(ErrorCode::Internal, "a shader that neither multiplies nor adds cannot be broken");
  }
  return changed;
}

}  // namespace loadline::vulkan

// The compiled shaders, as the build embeds them. The list itself is shaders/shaders.inc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "quant/format.h"

namespace loadline::vulkan {

enum class Shader : std::uint8_t {
#define LOADLINE_SHADER(name, source) name,
#define LOADLINE_FORMAT_SHADER(name, source) name,
#define LOADLINE_DOTS_SHADER(name, source) name,
#include "backend/vulkan/shaders/shaders.inc"
#undef LOADLINE_SHADER
#undef LOADLINE_FORMAT_SHADER
#undef LOADLINE_DOTS_SHADER
};

std::string_view name_of(Shader shader);

struct ShaderCode {
  Shader shader;
  std::optional<quant::TensorType> format;  // of the weights, for a shader that comes once per format
  std::span<const std::uint32_t> words;     // SPIR-V
};

std::span<const ShaderCode> all_shaders();
const ShaderCode& shader_code(Shader shader, std::optional<quant::TensorType> format);

}  // namespace loadline::vulkan

#include "backend/vulkan/shader_code.h"

#include <algorithm>
#include <cassert>

namespace loadline::vulkan {

std::string_view name_of(Shader shader) {
  switch (shader) {
#define LOADLINE_SHADER(name, source) \
  case Shader::name: return #name;
#define LOADLINE_FORMAT_SHADER(name, source) LOADLINE_SHADER(name, source)
#define LOADLINE_DOTS_SHADER(name, source) LOADLINE_SHADER(name, source)
#include "backend/vulkan/shaders/shaders.inc"
#undef LOADLINE_SHADER
#undef LOADLINE_FORMAT_SHADER
#undef LOADLINE_DOTS_SHADER
  }
  return "unknown";
}

const ShaderCode& shader_code(Shader shader, std::optional<quant::TensorType> format) {
  const auto all = all_shaders();
  const auto found =
      std::ranges::find_if(all, [&](const ShaderCode& code) { return code.shader == shader && code.format == format; });
  assert(found != all.end());
  return *found;
}

}  // namespace loadline::vulkan

// Shaders that are wrong on purpose, to prove that checks find them: by a build option (LOADLINE_BREAK_SHADER), or by
// DeviceOptions::broken_shader. Ordinary builds and devices have none.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/vulkan/shader_code.h"

namespace loadline::vulkan {

// The shader that this build breaks; empty: none.
std::string_view broken_by_build();

// Whether it is the one of that name ("Attention", "MatvecQ4_K"; "Matvec": in all formats), or the one of the build.
bool is_broken(const std::string& name, Shader shader, std::optional<quant::TensorType> format);

// The program with other arithmetic: what it multiplied is added or mixed, or, where it multiplies nothing, what it
// added is subtracted, in floating point only, so that no address changes. Throws Error(Internal) for one that does
// neither.
std::vector<std::uint32_t> broken_program(std::span<const std::uint32_t> words);

}  // namespace loadline::vulkan

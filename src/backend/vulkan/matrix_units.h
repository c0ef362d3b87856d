// Matrix units, as VK_KHR_cooperative_matrix offers them: what a device has, and shaders for it.
// Vulkan headers of Debian 12 do not know the extension yet, nor does its glslc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "hardware/vulkan_api.h"

namespace loadline::vulkan {

// What a subgroup multiplies in one step: [rows][depth] weights by [depth][tokens] activations, both float16, with sums
// in float32. matmul_units.glsl wants all three to divide 32.
struct MatrixShape {
  std::uint32_t rows = 16;
  std::uint32_t tokens = 16;
  std::uint32_t depth = 16;

  bool operator==(const MatrixShape&) const = default;
};

inline constexpr const char* kMatrixExtension = "VK_KHR_cooperative_matrix";

// VkPhysicalDeviceCooperativeMatrixFeaturesKHR, to ask for them and to enable them.
struct MatrixFeatures {
  VkStructureType type = static_cast<VkStructureType>(1000506000);
  void* next = nullptr;
  VkBool32 matrices = VK_FALSE;
  VkBool32 robust_access = VK_FALSE;
};

// The largest shape of the device that is of use; nullopt where it has none, or lacks what else the shaders need.
std::optional<MatrixShape> find_matrix_shape(const hardware::VulkanInstance& instance, VkPhysicalDevice device);

// A program that glslc made with GL_NV_cooperative_matrix, as SPV_KHR_cooperative_matrix has it. The two differ in how
// a type says what it is for, which is taken from the products it is used in: the three types of a product must differ,
// which matrices of specialised sizes do. Words that are not such a program come back as they are.
std::vector<std::uint32_t> with_khr_matrices(std::span<const std::uint32_t> words);

}  // namespace loadline::vulkan

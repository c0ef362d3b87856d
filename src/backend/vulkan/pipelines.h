// Shaders made ready for one device: pipelines by shader, format and specialisation, each made once.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>

#include "backend/vulkan/context.h"
#include "backend/vulkan/shader_code.h"

namespace loadline::vulkan {

// `constants` are the shader's specialisation constants by id; what an id means is said in the shader.
struct PipelineKey {
  Shader shader;
  std::optional<quant::TensorType> format;
  std::array<std::uint32_t, 10> constants{};

  auto operator<=>(const PipelineKey&) const = default;
};

// Owns the pipelines, and the driver's cache of them: read from the cache folder when constructed, where there is one
// of this device and driver. Not thread-safe.
class Pipelines {
 public:
  explicit Pipelines(Context& context);
  ~Pipelines();
  Pipelines(const Pipelines&) = delete;
  Pipelines& operator=(const Pipelines&) = delete;

  // Makes it where it is not there yet. Throws Error(DeviceFailure).
  VkPipeline get(const PipelineKey& key);
  [[nodiscard]] VkPipelineLayout layout() const { return layout_; }
  [[nodiscard]] std::size_t made() const { return pipelines_.size(); }
  // Writes the cache back if pipelines were made. What fails here is not worth a word: the next start is slower.
  void save() noexcept;

 private:
  VkPipeline create(const PipelineKey& key);
  void release() noexcept;

  Context& context_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::size_t loaded_bytes_ = 0;
  std::map<PipelineKey, VkPipeline> pipelines_;
};

}  // namespace loadline::vulkan

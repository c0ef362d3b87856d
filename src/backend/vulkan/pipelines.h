// Shaders made ready for one device: pipelines by shader, format and specialisation, each made once.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>

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
// A driver takes a while for each, and can make several at once. So what records many dispatches does it twice: at
// first while keys are only collected, then, after `make_wanted`, in earnest.
class Pipelines {
 public:
  explicit Pipelines(Context& context);
  ~Pipelines();
  Pipelines(const Pipelines&) = delete;
  Pipelines& operator=(const Pipelines&) = delete;

  // Makes it where it is not there yet. Throws Error(DeviceFailure).
  VkPipeline get(const PipelineKey& key);
  void collect(bool on) { collecting_ = on; }
  [[nodiscard]] bool collecting() const { return collecting_; }
  void want(const PipelineKey& key) { wanted_.insert(key); }
  // Makes what is wanted and not there yet, on so many threads. What the driver refuses is left to `get`, which says so
  // where it is used. With a fault hook, which counts calls in their order, everything is. Seconds that it took, 0
  // where nothing was to be made.
  double make_wanted(unsigned threads = usual_threads());
  static unsigned usual_threads();

  [[nodiscard]] VkPipelineLayout layout() const { return layout_; }
  [[nodiscard]] std::size_t made() const { return pipelines_.size(); }
  // Writes the cache back if pipelines were made. What fails here is not worth a word: the next start is slower.
  void save() noexcept;

 private:
  // Thread-safe.
  [[nodiscard]] VkPipeline create(const PipelineKey& key) const;
  void release() noexcept;

  Context& context_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::size_t loaded_bytes_ = 0;
  std::map<PipelineKey, VkPipeline> pipelines_;
  std::set<PipelineKey> wanted_;
  bool collecting_ = false;
};

}  // namespace loadline::vulkan

// What parts of a program need on a GPU that Vulkan drives, and what it reaches. Pure: no device is looked at.
#pragma once

#include "backend/vulkan/recipe.h"
#include "plan/lowering.h"

namespace loadline::vulkan {

// Throws Error(BadInput) for what a GPU cannot do.
Recipe lower(const plan::LoweringTask& task, const plan::Part& part);

class VulkanLowering final : public plan::Lowering {
 public:
  [[nodiscard]] plan::Needs needs(const plan::LoweringTask& task, const plan::Part& part) const override;
  [[nodiscard]] std::vector<std::string_view> own_buffers() const override { return {"attention", "rope", "experts"}; }
  [[nodiscard]] std::vector<plan::StagingNeed> staging(const plan::LoweringTask& task,
                                                       const plan::DeviceTask& device) const override;
  [[nodiscard]] bool can_pass_through(const model::Group& group) const override;
  [[nodiscard]] plan::DeviceRates rates(const hardware::Profile& profile, plan::DeviceIndex device,
                                        const plan::Shape& shape, std::vector<std::string>& assumed) const override;
};

}  // namespace loadline::vulkan

// Lowers parts of a program to the CPU's recipes. Total: every operation of the part, and everything an operation has,
// is used exactly once, or lowering throws an Error that names it. Pure: nothing is allocated for the run, no processor
// is looked at. An operation that the CPU learns is one function in lower.cpp, one structure in recipe.h and one step.
#pragma once

#include <functional>
#include <utility>

#include "backend/cpu/recipe.h"
#include "hardware/kernel_rates.h"
#include "plan/lowering.h"

namespace loadline::cpu {

Recipe lower(const plan::LoweringTask& task, const plan::Part& part);

// What its kernels were measured to reach on a machine with such a processor; null: nobody measured it.
using KnownKernels = std::function<const hardware::KernelRates*(const hardware::Cpu&)>;

class CpuLowering final : public plan::Lowering {
 public:
  CpuLowering() = default;
  explicit CpuLowering(KnownKernels known) : known_(std::move(known)) {}

  [[nodiscard]] plan::Needs needs(const plan::LoweringTask& task, const plan::Part& part) const override {
    return lower(task, part).needs;
  }
  [[nodiscard]] std::vector<std::string_view> own_buffers() const override {
    return {kOwnNames.begin(), kOwnNames.end()};
  }
  [[nodiscard]] std::vector<plan::StagingNeed> staging(const plan::LoweringTask&,
                                                       const plan::DeviceTask&) const override {
    return {};
  }
  [[nodiscard]] bool can_pass_through(const model::Group&) const override { return false; }
  [[nodiscard]] plan::DeviceRates rates(const hardware::Profile& profile, plan::DeviceIndex device,
                                        const plan::Shape& shape, std::vector<std::string>& assumed) const override;

 private:
  KnownKernels known_;
};

}  // namespace loadline::cpu

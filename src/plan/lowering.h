// What the planner asks of a backend: how it would run parts of a program, on a device of its kind, and how fast. Pure:
// nothing is allocated, and no device need be there. The planner knows no backend and none of their formulas.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/needs.h"
#include "plan/plan.h"
#include "plan/rates.h"

namespace loadline::plan {

// What is lowered. `model` is a header; its formats may be others than the file's where a plan is only thought of.
struct LoweringTask {
  const gguf::Model& model;
  const model::Program& program;
  const Shape& shape;
};

// What is known of a device once groups are placed.
struct DeviceTask {
  bool makes_logits = false;
  const PromptStream* prompt = nullptr;  // weights of prompts pass through it; null: none do
};

class Lowering {
 public:
  virtual ~Lowering() = default;

  // Throws Error(BadInput) that names the operation, or what of it, that the backend cannot do.
  [[nodiscard]] virtual Needs needs(const LoweringTask& task, const Part& part) const = 0;
  // How many buffers of its own it has, and what they are called.
  [[nodiscard]] virtual std::vector<std::string_view> own_buffers() const = 0;
  // Always as many, in the same order, some of no bytes.
  [[nodiscard]] virtual std::vector<StagingNeed> staging(const LoweringTask& task, const DeviceTask& device) const = 0;
  // Whether large passes may run this group on the device while its weights stay in RAM and pass through a ring, slice
  // after slice (PromptStream).
  [[nodiscard]] virtual bool can_pass_through(const model::Group& group) const = 0;
  // What device `device` of the plan reaches. Figures that nobody measured are named in `assumed`.
  [[nodiscard]] virtual DeviceRates rates(const hardware::Profile& profile, DeviceIndex device, const Shape& shape,
                                          std::vector<std::string>& assumed) const = 0;
};

// The backend of each device of a plan. Refers to them; they must outlive it.
class Backends {
 public:
  // Of the CPU first, then of each GPU; the last stands for all that follow.
  explicit Backends(std::vector<const Lowering*> devices) : devices_(std::move(devices)) {}
  [[nodiscard]] const Lowering& of(DeviceIndex device) const {
    return *devices_[device < devices_.size() ? device : devices_.size() - 1];
  }

 private:
  std::vector<const Lowering*> devices_;
};

}  // namespace loadline::plan

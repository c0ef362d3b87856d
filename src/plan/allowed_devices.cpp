// Where what the user asked for lets groups run.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <regex>

#include "base/error.h"
#include "base/setting.h"
#include "base/text.h"
#include "plan/placement.h"

namespace loadline::plan {

using model::GroupKind;

bool has_experts(const model::Group& group) {
  return std::ranges::any_of(group.ops, [](const model::Op& op) { return op.kind == model::OpKind::Experts; });
}

std::vector<std::vector<bool>> allowed_devices(const NeedsTable& needs, const Options& options, std::size_t devices) {
  const model::Program& program = needs.task().program;
  const gguf::Model& model = needs.task().model;
  using Kind = GpuLayers::Kind;
  const std::uint32_t layers = program.config.layers;
  if (devices == 1 && (options.gpu_layers.kind == Kind::All || options.gpu_layers.count > 0)) {
    throw bad_input("layers are asked for on a GPU, and there is none to use",
                    "Ask for none, for the CPU alone; a software GPU is used only where it is named.",
                    Setting::GpuLayers);
  }
  std::vector<std::vector<bool>> allowed;
  for (const model::Group& group : program.groups) {
    std::vector<bool> devices_of_group(devices, true);
    const GpuLayers& wanted = options.gpu_layers;
    if (group.kind == GroupKind::Embedding || devices == 1) {
      // Looking rows up is no work; the table would only take room on a GPU.
      std::fill(devices_of_group.begin() + 1, devices_of_group.end(), false);
    } else if (wanted.kind != Kind::Auto) {
      const bool output = group.kind == GroupKind::Output;
      const bool on_gpu =
          wanted.kind == Kind::All || (output ? wanted.count > layers : group.layer + wanted.count >= layers);
      devices_of_group[kCpu] = !on_gpu;
      if (!on_gpu) std::fill(devices_of_group.begin() + 1, devices_of_group.end(), false);
    }
    allowed.push_back(std::move(devices_of_group));
  }
  std::vector<bool> placed(program.groups.size(), false);
  for (const TensorOverride& override : options.overrides) {
    if (override.device >= devices) {
      throw bad_input(
          fmt::format("\"{}\" is to go to GPU {}, but there {} {} GPU{}", printable(override.pattern),
                      override.device - 1, devices == 2 ? "is" : "are", devices - 1, devices == 2 ? "" : "s"),
          "", Setting::TensorPlacement);
    }
    std::regex pattern;
    try {
      pattern = std::regex(override.pattern);
    } catch (const std::regex_error&) {
      throw bad_input(fmt::format("\"{}\" is not a regular expression", printable(override.pattern)), "",
                      Setting::TensorPlacement);
    }
    bool matched = false;
    for (std::size_t g = 0; g < program.groups.size(); ++g) {
      const auto matches = [&](model::TensorIndex index) {
        return std::regex_search(model.tensors[static_cast<std::size_t>(index)].name, pattern);
      };
      if (!std::ranges::any_of(program.groups[g].tensors(), matches)) continue;
      matched = true;
      if (placed[g]) continue;  // by a pattern before this one
      placed[g] = true;
      std::fill(allowed[g].begin(), allowed[g].end(), false);
      allowed[g][override.device] = true;
    }
    if (!matched) {
      throw bad_input(fmt::format("no tensor's name matches \"{}\"", printable(override.pattern)), "",
                      Setting::TensorPlacement);
    }
  }
  // As elsewhere, where it is a pattern for experts' tensors behind those that are named.
  for (std::size_t g = 0; g < allowed.size(); ++g) {
    const model::Group& group = program.groups[g];
    if (placed[g] || !has_experts(group) || group.layer >= options.cpu_experts) continue;
    std::fill(allowed[g].begin(), allowed[g].end(), false);
    allowed[g][kCpu] = true;
  }
  for (std::size_t g = 0; g < allowed.size(); ++g) {
    std::optional<DeviceIndex> unable;
    for (DeviceIndex device = 0; device < devices; ++device) {
      if (!allowed[g][device] || needs.can_run(device, g)) continue;
      allowed[g][device] = false;
      unable = device;
    }
    if (std::ranges::find(allowed[g], true) == allowed[g].end()) throw bad_input(needs.why_not(*unable, g));
  }
  return allowed;
}

}  // namespace loadline::plan

#include "engine/divided.h"

#include <algorithm>

#include "plan/budgets.h"
#include "plan/layout.h"
#include "plan/planner.h"

namespace loadline::test {

hardware::Profile machine_with_gpus(const std::filesystem::path& file, std::size_t count) {
  hardware::Profile profile = hardware::probe(file);
  vulkan::test::Messages unused;
  hardware::Gpu gpu;
  gpu.id = vulkan::test::options_for_tests(unused).device;
  gpu.name = "test GPU";
  gpu.total = gpu.free = 2 * kGiB;
  profile.gpus.assign(count, gpu);
  return profile;
}

plan::Plan plan_divided(const gguf::Model& model, const model::Program& program, const std::filesystem::path& file,
                        std::size_t tokens, const Places& places, const Settings& settings) {
  const hardware::Profile profile = machine_with_gpus(file, 2);
  plan::Options options;
  options.context = settings.context == 0 ? static_cast<std::uint32_t>(tokens) : settings.context;
  options.batch = settings.batch;
  options.outputs = settings.batch;
  options.sequences = settings.sequences;
  options.threads = 2;
  options.k_type = settings.kv;
  options.v_type = settings.kv;
  plan::Placement placement;
  placement.groups.resize(program.groups.size());
  for (std::size_t i = 0; i < placement.groups.size(); ++i) {
    placement.groups[i].device = places.device_of(i);
    placement.groups[i].kv_on_cpu = places.kv_on_cpu;
  }
  // Small slices, so that matrices are cut.
  if (!places.through.empty()) placement.prompt = {16, 1, 64 * kKiB, places.through};
  const plan::Shape shape = plan::make_shape(program, profile, options);
  const plan::NeedsTable needs(model, program, shape, engine::backends(), profile.gpus.size() + 1);
  plan::Plan plan =
      plan::lay_out(needs, plan::make_tiers(profile, options), plan::context_overheads(profile), placement);
  return plan;
}

std::unique_ptr<engine::Engine> load_divided(const std::filesystem::path& file, std::size_t tokens,
                                             const Places& places, const Settings& settings,
                                             const engine::Engine::Options& hooks) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan_divided(model, program, file, tokens, places, settings);
  return load(std::move(model), std::move(program), std::move(plan), hooks);
}

std::string identifier(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace loadline::test

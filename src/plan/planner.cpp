#include "plan/planner.h"

#include <fmt/format.h>

#include "base/error.h"
#include "plan/budgets.h"
#include "plan/fingerprint.h"
#include "plan/layout.h"

namespace loadline::plan {
namespace {

std::string model_name(const gguf::Model& model) {
  const std::string* name = model.metadata.get_string("general.name");
  if (name != nullptr && !name->empty()) return *name;
  return model.files.empty() ? std::string() : model.files.front().path().filename().string();
}

}  // namespace

Plan make_plan(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
               const Options& options) {
  const std::vector<Tier> tiers = make_tiers(profile, options);
  const Shape shape = make_shape(program, profile, options);
  Placement placement;
  placement.groups.resize(program.groups.size());
  Plan plan = lay_out(model, program, tiers, context_overheads(profile), shape, placement);
  plan.model_name = model_name(model);
  plan.model_fingerprint = fingerprint(model);
  const Bytes needed = tier_total(plan, kCpu);
  if (needed > tiers[kCpu].budget) {
    throw Error(ErrorCode::DoesNotFit, fmt::format("this needs {} of RAM, and {} may be used", to_string(needed),
                                                   to_string(tiers[kCpu].budget)));
  }
  return plan;
}

}  // namespace loadline::plan

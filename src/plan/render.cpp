#include "plan/render.h"

#include <fmt/format.h>

namespace loadline::plan {

std::string summary_line(const Plan& plan, std::string_view title) {
  std::string places;
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    const Bytes total = tier_total(plan, tier);
    if (total.value == 0) continue;
    places += fmt::format("{}{} {} {}", places.empty() ? "" : ", ", to_string(total), tier == kCpu ? "in" : "on",
                          plan.tiers[tier].name);
  }
  return fmt::format("{} · {} · context {}", title, places, plan.shape.context);
}

}  // namespace loadline::plan

// The tiers of a machine with what may be used of each, and the shape of the run, from what the user asked for.
#pragma once

#include <string>
#include <vector>

#include "hardware/profile.h"
#include "model/program.h"
#include "plan/layout.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::plan {

// RAM, each GPU, the disk. A budget that the user names is the most to take, and is lowered to what is available.
// Throws Error(BadInput) for a budget of a GPU that is not there.
std::vector<Tier> make_tiers(const hardware::Profile& profile, const Options& options);

// What a user calls the budgets.
struct BudgetWords {
  std::string ram, vram;
};

// What to tell a user whose budget was lowered, or is of nothing: a sentence for each.
std::vector<std::string> lowered_budgets(const Options& options, const std::vector<Tier>& tiers,
                                         const BudgetWords& words);

// What a GPU's context costs, per tier (zero for RAM and the disk).
std::vector<ContextOverhead> context_overheads(const hardware::Profile& profile, Bytes of_requests = {});

// The headroom left on a tier unless the user names one: what other programs may come to need.
Bytes default_headroom(TierKind kind, Bytes capacity, bool own_limit);

// Defaults filled in and checked. Throws Error(BadInput) naming the option.
Shape make_shape(const model::Program& program, const hardware::Profile& profile, const Options& options);

// `cells` for all sequences together, rounded up so that each has whole pages.
std::uint32_t whole_pages(std::uint64_t cells, std::uint32_t sequences);

}  // namespace loadline::plan

#include "plan/refusal.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/setting.h"
#include "base/text.h"
#include "plan/suggest.h"

namespace loadline::plan {
namespace {

// With the bytes, since what is missing may be less than the rounding hides.
std::string exact(Bytes size) { return fmt::format("{} ({} bytes)", to_string(size), size.value); }

constexpr std::string_view kAssumed = " (assumed)";

// Of RAM's runtime arena, as layout.cpp names it.
bool is_driver(const Region& region) {
  return region.purpose == Purpose::Runtime && region.name.starts_with("driver of ");
}
Bytes driver_memory(const Plan& plan) {
  Bytes bytes;
  for (const Region& region : plan.regions) bytes += is_driver(region) ? region.size : Bytes(0);
  return bytes;
}

std::string parts_of(const Plan& plan, std::uint32_t tier) {
  std::string parts;
  for (const Purpose purpose :
       {Purpose::Weights, Purpose::KvCache, Purpose::Scratch, Purpose::Staging, Purpose::Runtime}) {
    const Bytes bytes = tier_total(plan, tier, purpose);
    if (bytes.value == 0) continue;
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", name_of(purpose), to_string(bytes));
  }
  return parts;
}

std::string may_be_used(const Tier& tier) {
  if (tier.headroom.value == 0) {
    return tier.budget < tier.available ? fmt::format("the budget is {}", exact(tier.budget))
                                        : fmt::format("only {} are available", exact(tier.budget));
  }
  return fmt::format("{} may be used ({} available less {} headroom)", exact(tier.budget), to_string(tier.available),
                     to_string(tier.headroom));
}

std::string subject(const model::Program& program, const Options& options, std::uint32_t tier) {
  using Kind = GpuLayers::Kind;
  if (tier == kCpu || options.gpu_layers.kind == Kind::Auto) return "this";
  const std::uint32_t all = program.config.layers + 1;
  const std::uint32_t layers = options.gpu_layers.kind == Kind::All ? all : std::min(options.gpu_layers.count, all);
  return fmt::format("{} layer{}", layers, layers == 1 ? "" : "s");
}

}  // namespace

std::string shortfall_sentence(const model::Program& program, const Options& options, const Plan& plan) {
  std::string sentence;
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    const Bytes needed = tier_total(plan, tier);
    if (plan.tiers[tier].kind == TierKind::Disk || needed <= plan.tiers[tier].budget) continue;
    const std::string who = subject(program, options, tier);
    const std::string where = tier == kCpu ? "RAM" : fmt::format("GPU {} ({})", tier - 1, plan.tiers[tier].name);
    sentence += fmt::format("{}{} need{} {} of {} ({}), and {}", sentence.empty() ? "" : "; ", who,
                            who.ends_with('s') && who != "this" ? "" : "s", exact(needed), where, parts_of(plan, tier),
                            may_be_used(plan.tiers[tier]));
  }
  return sentence;
}

void require_available(const Plan& plan, const hardware::Profile& profile) {
  const auto require = [&](std::uint32_t tier, Bytes available) {
    const Bytes needed = tier_total(plan, tier);
    if (needed <= available) return;
    throw Error(ErrorCode::DoesNotFit,
                fmt::format("the plan takes {} of {}, and {} are free now", exact(needed), plan.tiers[tier].name,
                            exact(available)),
                "Close other programs, or plan for less.");
  };
  require(kCpu, profile.ram.available);
  for (std::uint32_t tier = 1; tier + 1 < plan.tiers.size(); ++tier) {
    if (tier_total(plan, tier).value == 0) continue;
    const auto gpu = std::ranges::find(profile.gpus, plan.tiers[tier].device, &hardware::Gpu::id);
    if (gpu == profile.gpus.end()) {
      throw bad_input(fmt::format("the plan uses {}, which this machine does not have", plan.tiers[tier].name));
    }
    require(tier, gpu->free);
  }
}

void require_held(const Plan& plan, const Held& held) {
  const Bytes for_drivers = driver_memory(plan);
  const Bytes excess = held.drivers - std::min(held.drivers, for_drivers);
  const Bytes planned = tier_total(plan, kCpu);
  if (held.process > planned + held.software + excess) {
    // What its arenas take is verified device by device (Engine::verify).
    const Bytes runtime = tier_total(plan, kCpu, Purpose::Runtime);
    const Bytes besides = held.process - held.software - excess - (planned - runtime);
    throw Error(
        ErrorCode::Internal,
        fmt::format("the process holds {} of RAM where the plan says {}: besides weights, KV cache, scratch and "
                    "staging that is {}, and the row {} has {}",
                    exact(held.process), exact(planned + held.software + excess), exact(besides),
                    name_of(Purpose::Runtime), exact(runtime)));
  }
  const Tier& ram = plan.tiers[kCpu];
  if (excess.value > 0 && held.process > ram.budget + ram.headroom + held.software) {
    throw SettingError(
        ErrorCode::DoesNotFit,
        fmt::format("opening the GPUs took {} of RAM where the plan has {}, and the budget does not hold that",
                    exact(held.drivers), exact(for_drivers)),
        "Give more RAM, or plan for a smaller context.", Setting::RamBudget);
  }
}

std::string why_not_verified(const Plan& plan) {
  for (const Region& region : plan.regions) {
    if (!is_driver(region) || !region.name.ends_with(kAssumed)) continue;
    return fmt::format("RAM is not verified: nobody measured what the {} takes (`loadline devices --measure` does)",
                       printable(region.name.substr(0, region.name.size() - kAssumed.size()), 60));
  }
  return {};
}

Error refusal(const gguf::Model& model, const model::Program& program, const hardware::Profile& profile,
              const Options& options, const Backends& backends, const Plan& plan) {
  const std::vector<Suggestion> fitting = suggest_fitting(model, program, profile, options, backends);
  std::string hint =
      fitting.empty() ? "Nothing smaller that was tried fits either." : "What fits:\n" + suggestion_lines(fitting);
  if (hint.ends_with('\n')) hint.pop_back();
  return {ErrorCode::DoesNotFit, shortfall_sentence(program, options, plan), std::move(hint)};
}

}  // namespace loadline::plan

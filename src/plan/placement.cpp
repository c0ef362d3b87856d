#include "plan/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>

#include "plan/crossing.h"
#include "plan/group_bytes.h"
#include "plan/placement_search.h"
#include "plan/predict.h"
#include "plan/stream_choice.h"

namespace loadline::plan {
namespace {

using model::GroupKind;

// Which kinds of groups GPUs may take in one attempt: a kind left out needs no scratch there.
struct Kinds {
  bool attention, feed_forward, output;
};
constexpr std::array<Kinds, 6> kAttempts = {{
    {true, true, true},
    {true, true, false},
    {false, true, false},
    {false, true, true},
    {true, false, false},
    {true, false, true},
}};

class Placer {
 public:
  explicit Placer(const PlacementTask& task)
      : task_(task), devices_(task.tiers.size() - 1), allowed_(allowed_devices(task.needs, task.options, devices_)) {
    if (task.shared_caches) {
      for (const std::uint32_t g : groups_that_share_caches(task.program)) {
        std::fill(allowed_[g].begin(), allowed_[g].end(), false);
        allowed_[g][*task.shared_caches] = true;
      }
    }
    const std::uint64_t depth = task.costs.generation_depth();
    for (std::size_t g = 0; g < task.program.groups.size(); ++g) {
      const model::Group& group = task.program.groups[g];
      PlacementProblem::Item item;
      for (DeviceIndex device = 0; device < devices_; ++device) {
        if (!task.needs.can_run(device, g)) {
          item.seconds.push_back(0);
          item.bytes.push_back(0);
          continue;
        }
        double seconds = task.costs.group(g, device, kv_on_cpu(g, device), 1, 1, depth).total();
        if (group.kind == GroupKind::Output) seconds += task.costs.finish(device, 1);
        item.seconds.push_back(seconds);
        item.bytes.push_back(group_bytes(task.needs, device, g, kv_on_cpu(g, device)).total().value);
      }
      item.allowed = allowed_[g];
      items_.push_back(std::move(item));
    }
    for (std::size_t g = 0; g < items_.size(); ++g) rounding_.push_back(rounding(g));
  }

  [[nodiscard]] bool whole_layers_beat(double limit) const {
    if (devices_ != 2) return true;
    const std::uint32_t most = task_.program.config.layers;
    for (std::uint32_t layers = 0; layers <= most + 1; ++layers) {
      const Assignment assignment = whole_layers(1, std::min(layers, most), layers > most);
      if (seconds(assignment) >= limit || bytes_at_least(assignment, 1) > task_.tiers[1].budget) continue;
      if (within_budgets(task_.lay_out(placement_of(assignment)))) return true;
    }
    return false;
  }

  Placed run() {
    attempt(0.0);
    if (devices_ > 2 && task_.options.gpu_layers.kind == GpuLayers::Kind::Auto) take_whole_layers_over_several();
    if (!best_ && worth_saving_ram()) attempt_saving_ram();
    if (!best_ && task_.options.disk.value_or(true)) attempt_streaming();
    if (best_) return {true, std::move(*best_)};
    return {false, std::move(*nearest_)};
  }

 private:
  [[nodiscard]] bool kv_on_cpu(std::size_t group, DeviceIndex device) const {
    return device != kCpu && !task_.options.kv_offload && task_.program.groups[group].kind == GroupKind::Attention;
  }

  // Per device, of layers that a GPU has all of.
  [[nodiscard]] std::vector<std::uint64_t> rounding(std::size_t group) const {
    std::vector<std::uint64_t> all(devices_, 0);
    for (DeviceIndex device = 1; device < devices_; ++device) {
      const auto bytes_of = [&](std::size_t g) {
        return items_[g].allowed[device] ? group_bytes(task_.needs, device, g, kv_on_cpu(g, device)) : GroupBytes{};
      };
      all[device] = layer_rounding(task_.program, group, bytes_of).value;
    }
    return all;
  }

  [[nodiscard]] Placement placement_of(const Assignment& assignment) const {
    Placement placement;
    for (std::size_t g = 0; g < assignment.size(); ++g) {
      placement.groups.push_back({assignment[g], false, kv_on_cpu(g, assignment[g])});
    }
    return placement;
  }

  [[nodiscard]] bool kind_allowed(std::size_t group, const Kinds& kinds) const {
    switch (task_.program.groups[group].kind) {
      case GroupKind::Attention: return kinds.attention;
      case GroupKind::FeedForward: return kinds.feed_forward;
      case GroupKind::Output: return kinds.output;
      case GroupKind::Embedding: return true;
    }
    return true;
  }

  // Some group that could be on a GPU or not.
  [[nodiscard]] bool leaves_out_any(const Kinds& kinds) const {
    for (std::size_t g = 0; g < items_.size(); ++g) {
      const std::vector<bool>& allowed = items_[g].allowed;
      if (allowed[kCpu] && !kind_allowed(g, kinds) && std::ranges::count(allowed, true) > 1) return true;
    }
    return false;
  }

  // What is left of a GPU's budget for weights and cache when it runs every group it may.
  [[nodiscard]] std::uint64_t capacity(DeviceIndex device, const std::vector<PlacementProblem::Item>& items) const {
    Assignment all(items.size(), kCpu);
    bool any = false;
    for (std::size_t g = 0; g < items.size(); ++g) {
      if (!items[g].allowed[device]) continue;
      all[g] = device;
      any = true;
    }
    if (!any) return 0;
    const Plan plan = task_.lay_out(placement_of(all));
    const Bytes total = tier_total(plan, device);
    const Bytes fixed = total - tier_total(plan, device, Purpose::Weights) - tier_total(plan, device, Purpose::KvCache);
    // Of a layer that is divided each part is rounded up, which counts once here: room for two such layers.
    const Bytes divided = 2 * (2 * kMiB);
    const Bytes budget = task_.tiers[device].budget;
    return budget > fixed + divided ? (budget - fixed - divided).value : 0;
  }

  [[nodiscard]] PlacementProblem problem_for(const Kinds& kinds, double ram_price) const {
    PlacementProblem problem;
    problem.items = items_;
    for (std::size_t g = 0; g < items_.size(); ++g) {
      PlacementProblem::Item& item = problem.items[g];
      if (item.allowed[kCpu] && !kind_allowed(g, kinds)) {
        std::fill(item.allowed.begin() + 1, item.allowed.end(), false);
      }
      item.seconds[kCpu] += ram_price * static_cast<double>(item.bytes[kCpu]);
      for (DeviceIndex device = 1; device < devices_; ++device) item.bytes[device] += rounding_[g][device];
    }
    problem.switch_seconds.assign(devices_, std::vector<double>(devices_, 0.0));
    for (DeviceIndex a = 0; a < devices_; ++a) {
      for (DeviceIndex b = 0; b < devices_; ++b) problem.switch_seconds[a][b] = task_.costs.change(a, b, 1);
    }
    problem.capacity.push_back(0);
    for (DeviceIndex device = 1; device < devices_; ++device) {
      problem.capacity.push_back(capacity(device, problem.items));
    }
    return problem;
  }

  // Searches with a price on RAM (seconds per byte) and offers what it finds; so, too, every whole-layer choice.
  void attempt(double ram_price) {
    ram_price_ = ram_price;
    if (ram_price == 0 && devices_ > 1) try_all_of_few();
    for (const Kinds& kinds : kAttempts) {
      const bool first = &kinds == kAttempts.data();
      // Leaving a kind out frees its scratch, which is little; and where RAM is what is short, everything counts.
      if (!first && (devices_ == 1 || ram_price > 0)) break;
      if (!first && !leaves_out_any(kinds)) continue;
      const double limit = ram_price > 0 ? kUnlimited : best_seconds_ * (first ? 1.0 : kWorthwhile);
      PlacementProblem problem = problem_for(kinds, ram_price);
      Assignment found = search(problem, limit, ram_price > 0 ? Effort::Quick : Effort::Thorough);
      if (found.empty()) continue;
      fill_exactly(found);
      offer(found);
    }
    offer_whole_layers();
    if (!nearest_) offer(everything_where_it_must());
  }

  // What is found by the problem's count may be too much by the real sums, where many layers are divided: then there is
  // as much less room as that.
  [[nodiscard]] Assignment search(PlacementProblem& problem, double limit, Effort effort) const {
    Assignment found = search_placement(problem, limit, effort);
    for (int times = 0; times < kSearches && devices_ > 1 && !found.empty(); ++times) {
      const Plan plan = task_.lay_out(placement_of(found));
      if (gpus_within_budget(plan)) break;
      for (DeviceIndex device = 1; device < devices_; ++device) {
        const Bytes budget = task_.tiers[device].budget;
        const Bytes over = tier_total(plan, device) - std::min(tier_total(plan, device), budget);
        problem.capacity[device] -= std::min(problem.capacity[device], over.value);
      }
      found = search_placement(problem, limit, effort);
    }
    return found;
  }

  // Where nothing fits, the plan that is asked for tells what is missing.
  [[nodiscard]] Assignment everything_where_it_must() const {
    Assignment assignment;
    for (const PlacementProblem::Item& item : items_) {
      const auto first = std::ranges::find(item.allowed, true);
      assignment.push_back(static_cast<DeviceIndex>(first - item.allowed.begin()));
    }
    return assignment;
  }

  [[nodiscard]] double seconds(const Assignment& assignment) const {
    double total = 0;
    for (std::size_t g = 0; g < assignment.size(); ++g) {
      total += items_[g].seconds[assignment[g]];
      if (g > 0) total += task_.costs.change(assignment[g - 1], assignment[g], 1);
    }
    return total;
  }
  [[nodiscard]] double priced_seconds(const Assignment& assignment) const {
    double total = seconds(assignment);
    for (std::size_t g = 0; g < assignment.size(); ++g) {
      if (assignment[g] == kCpu) total += ram_price_ * static_cast<double>(items_[g].bytes[kCpu]);
    }
    return total;
  }

  // The search rounds up; what that left over is given to the groups that still fit, by the real sums.
  void fill_exactly(Assignment& assignment) const {
    bool moved = devices_ > 1;
    while (moved) {
      moved = false;
      const Plan plan = task_.lay_out(placement_of(assignment));
      const double now = priced_seconds(assignment);
      std::vector<std::pair<double, std::pair<std::size_t, DeviceIndex>>> moves;
      for (std::size_t g = 0; g < assignment.size(); ++g) {
        for (DeviceIndex device = 1; device < devices_; ++device) {
          if (assignment[g] == device || !items_[g].allowed[device]) continue;
          const Bytes left =
              task_.tiers[device].budget - std::min(task_.tiers[device].budget, tier_total(plan, device));
          if (items_[g].bytes[device] > (left + 4 * kMiB).value) continue;
          Assignment tried = assignment;
          tried[g] = device;
          const double won = now - priced_seconds(tried);
          if (won > 0) moves.push_back({-won, {g, device}});
        }
      }
      std::ranges::sort(moves);
      // Groups of one size and kind stand or fall together, where the other part of their layer is there or is not:
      // those that failed need not be tried again.
      std::vector<std::tuple<std::uint64_t, DeviceIndex, bool>> failed;
      for (const auto& [won, move] : moves) {
        const auto& [g, device] = move;
        const std::tuple kind{items_[g].bytes[device], device, has_other_part(task_.program, assignment, g, device)};
        if (std::ranges::find(failed, kind) != failed.end()) continue;
        Assignment tried = assignment;
        tried[g] = device;
        if (gpus_within_budget(task_.lay_out(placement_of(tried)))) {
          assignment = std::move(tried);
          moved = true;
          break;
        }
        failed.push_back(kind);
      }
    }
  }

  [[nodiscard]] bool gpus_within_budget(const Plan& plan) const {
    for (DeviceIndex device = 1; device < devices_; ++device) {
      if (tier_total(plan, device) > task_.tiers[device].budget) return false;
    }
    return true;
  }

  // The last `layers` layers on a GPU, with or without the output; everything else where it must be.
  [[nodiscard]] Assignment whole_layers(DeviceIndex device, std::uint32_t layers, bool output) const {
    Assignment assignment = everything_where_it_must();
    for (std::size_t g = 0; g < items_.size(); ++g) {
      const model::Group& group = task_.program.groups[g];
      const bool wanted = group.kind == GroupKind::Output      ? output
                          : group.kind == GroupKind::Embedding ? false
                                                               : group.layer + layers >= task_.program.config.layers;
      if (wanted && items_[g].allowed[device]) assignment[g] = device;
    }
    return assignment;
  }

  // With several GPUs the search is near the optimum only, and -ngl lets layers be spread over them: where a number of
  // layers might be faster than what was found, it is placed as -ngl would place it.
  void take_whole_layers_over_several() {
    Options options = task_.options;
    for (std::uint32_t layers = 1; layers <= task_.program.config.layers + 1; ++layers) {
      options.gpu_layers = {GpuLayers::Kind::Count, layers};
      if (!may_be_faster(allowed_devices(task_.needs, options, devices_))) continue;
      const PlacementTask task{task_.model, task_.program, task_.tiers, task_.overheads,    task_.shape,
                               options,     task_.costs,   task_.needs, task_.shared_caches};
      Placer other(task);
      // Filling up what the search left may still win it a little.
      other.best_seconds_ = 1.01 * best_seconds_;
      other.attempt(0.0);
      if (!other.best_ || other.best_seconds_ >= best_seconds_) continue;
      best_seconds_ = other.best_seconds_;
      best_ = std::move(other.best_);
    }
  }

  // False where nothing that is allowed, each group on the CPU or on GPUs, fits by bytes alone or takes less than what
  // was found, even if groups could be cut and every byte took what the fastest one of any group takes on its device.
  [[nodiscard]] bool may_be_faster(const std::vector<std::vector<bool>>& allowed) const {
    double on_cpu = 0;  // seconds
    Bytes cpu_bytes;
    Bytes gpu_bytes;
    std::vector<std::pair<double, Bytes>> gpus(devices_ - 1);  // seconds per byte, and what there is room for
    for (DeviceIndex device = 1; device < devices_; ++device)
      gpus[device - 1] = {kUnlimited, task_.tiers[device].budget};
    for (std::size_t g = 0; g < items_.size(); ++g) {
      const PlacementProblem::Item& item = items_[g];
      if (allowed[g][kCpu]) {
        on_cpu += item.seconds[kCpu];
        cpu_bytes += Bytes(item.bytes[kCpu]);
        continue;
      }
      gpu_bytes += Bytes(std::ranges::min(item.bytes));
      for (DeviceIndex device = 1; device < devices_; ++device) {
        const double per_byte =
            item.seconds[device] / static_cast<double>(std::max<std::uint64_t>(1, item.bytes[device]));
        gpus[device - 1].first = std::min(gpus[device - 1].first, per_byte);
      }
    }
    double least = on_cpu;
    std::ranges::sort(gpus);
    for (const auto& [per_byte, room] : gpus) {
      const Bytes taken = std::min(room, gpu_bytes);
      if (taken.value > 0) least += per_byte * static_cast<double>(taken.value);
      gpu_bytes -= taken;
    }
    return gpu_bytes.value == 0 && cpu_bytes <= task_.tiers[kCpu].budget && least < best_seconds_;
  }

  // With and without the output, for every number of layers: what -ngl can say. The search is never worse where bytes
  // are counted as it counts them; this makes it so for the real sums.
  void offer_whole_layers() {
    for (DeviceIndex device = 1; device < devices_; ++device) {
      for (const bool output : {true, false}) {
        for (std::uint32_t layers = 0; layers <= task_.program.config.layers; ++layers) {
          const Assignment assignment = whole_layers(device, layers, output);
          if (best_seconds_ <= seconds(assignment) || bytes_at_least(assignment, kCpu) > task_.tiers[kCpu].budget)
            continue;
          offer(assignment);
        }
      }
    }
  }

  // Every assignment by the real sums, where there are few: the search counts roundings of arenas before it knows them,
  // which matters where groups are small.
  void try_all_of_few() {
    constexpr std::uint64_t kFew = 1U << 10;
    std::uint64_t count = 1;
    for (const PlacementProblem::Item& item : items_) {
      count *= static_cast<std::uint64_t>(std::ranges::count(item.allowed, true));
      if (count > kFew) return;
    }
    const Assignment first = everything_where_it_must();
    Assignment assignment = first;
    const auto next_allowed = [&](std::size_t g) {
      DeviceIndex& device = assignment[g];
      do {
        device = (device + 1) % static_cast<DeviceIndex>(devices_);
      } while (!items_[g].allowed[device]);
      return device != first[g];  // else it is at its first again, and the next group moves
    };
    for (std::size_t g = 0; g < assignment.size();) {
      if (seconds(assignment) < best_seconds_) {
        Plan plan = task_.lay_out(placement_of(assignment));
        if (within_budgets(plan)) keep(assignment, std::move(plan));
      }
      for (g = 0; g < assignment.size() && !next_allowed(g);) ++g;
    }
  }

  void keep(const Assignment& assignment, Plan plan) {
    best_seconds_ = seconds(assignment);
    best_ = std::move(plan);
  }

  // What the groups on a device take by themselves.
  [[nodiscard]] Bytes bytes_at_least(const Assignment& assignment, DeviceIndex device) const {
    Bytes bytes;
    for (std::size_t g = 0; g < assignment.size(); ++g) {
      if (assignment[g] == device) bytes += Bytes(items_[g].bytes[device]);
    }
    return bytes;
  }

  // Keeps it if it fits and is the fastest so far; else remembers the one that misses RAM's budget least.
  void offer(const Assignment& assignment) {
    Plan plan = task_.lay_out(placement_of(assignment));
    const bool gpus_fit = gpus_within_budget(plan);
    const Bytes ram = tier_total(plan, kCpu);
    if (gpus_fit && ram <= task_.tiers[kCpu].budget) {
      if (seconds(assignment) < best_seconds_) keep(assignment, std::move(plan));
      return;
    }
    if (gpus_fit) candidates_.push_back(assignment);
    const bool better = !nearest_ || (gpus_fit && !nearest_fits_gpus_) ||
                        (gpus_fit == nearest_fits_gpus_ && ram < tier_total(*nearest_, kCpu));
    if (!better) return;
    nearest_ = std::move(plan);
    nearest_fits_gpus_ = gpus_fit;
  }

  [[nodiscard]] bool worth_saving_ram() const { return devices_ > 1 && !candidates_.empty(); }

  // Prices on RAM, from one that hardly matters to one that nothing else matters beside, until it fits.
  void attempt_saving_ram() {
    const double per_byte = 1.0 / task_.costs.rates().devices[kCpu].bandwidth;
    for (const double price : {0.1, 1.0, 1e4}) {
      attempt(price * per_byte);
      if (best_) return;
    }
  }

  // With part of the weights on disk, for each way to use the GPUs that was found.
  void attempt_streaming() {
    if (devices_ > 1) attempt(1.0 / task_.costs.rates().disk_bandwidth);
    double least = 0;
    std::vector<Assignment> tried;
    for (const Assignment& assignment : candidates_) {
      if (std::ranges::find(tried, assignment) != tried.end()) continue;
      tried.push_back(assignment);
      const std::optional<Placement> placement = choose_stream(task_, placement_of(assignment));
      if (!placement) continue;
      Plan plan = task_.lay_out(*placement);
      const double total = 1.0 / predict(task_.model, plan, task_.costs).generation_rate;
      if (best_ && total >= least) continue;
      least = total;
      best_ = std::move(plan);
    }
  }

  const PlacementTask& task_;
  std::size_t devices_;
  std::vector<std::vector<bool>> allowed_;
  std::vector<PlacementProblem::Item> items_;         // bytes: without what arenas are rounded up by
  std::vector<std::vector<std::uint64_t>> rounding_;  // [group][device]
  static constexpr int kSearches = 4;
  double ram_price_ = 0;
  std::optional<Plan> best_;
  static constexpr double kUnlimited = std::numeric_limits<double>::infinity();
  static constexpr double kWorthwhile = 0.9999;
  double best_seconds_ = kUnlimited;
  std::optional<Plan> nearest_;
  bool nearest_fits_gpus_ = false;
  std::vector<Assignment> candidates_;  // fit the GPUs but not RAM
};

}  // namespace

bool within_budgets(const Plan& plan) {
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    if (plan.tiers[tier].kind != TierKind::Disk && tier_total(plan, tier) > plan.tiers[tier].budget) return false;
  }
  return true;
}

// Groups that share caches are tried together on each device that may have all of them. Where there is none, as where
// so many layers are asked for on a GPU that some of them are, they stay with the CPU.
Placed choose_placement(const PlacementTask& task) {
  const std::size_t devices = task.tiers.size() - 1;
  const std::vector<std::uint32_t> together = groups_that_share_caches(task.program);
  if (together.empty() || devices == 1 || task.shared_caches) return Placer(task).run();
  const auto allowed = allowed_devices(task.needs, task.options, devices);
  std::optional<Placed> best;
  const auto attempt = [&](DeviceIndex device) {
    const auto rate = [&](const Placed& placed) {
      return predict(task.model, placed.plan, task.costs).generation_rate;
    };
    PlacementTask on_device = task;
    on_device.shared_caches = device;
    Placed placed = Placer(on_device).run();
    const bool better = !best || placed.fits > best->fits || (placed.fits == best->fits && rate(placed) > rate(*best));
    if (better) best = std::move(placed);
  };
  for (DeviceIndex device = 0; device < devices; ++device) {
    if (std::ranges::all_of(together, [&](std::uint32_t g) { return allowed[g][device]; })) attempt(device);
  }
  if (!best) attempt(kCpu);
  return std::move(*best);
}

bool whole_layers_beat(const PlacementTask& task, double seconds) { return Placer(task).whole_layers_beat(seconds); }

}  // namespace loadline::plan

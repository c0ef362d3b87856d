#include "plan/predict.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace loadline::plan {
namespace {

// The time of one pass, by what takes it.
struct Pass {
  std::vector<double> reading;     // per device: weights and cache at the speed of its memory
  std::vector<double> arithmetic;  // per device: weights at the speed of its dot products
  std::vector<double> operations;  // per device: fixed costs
  double crossing = 0;
  double transfer = 0;  // weights from RAM to a GPU, where that takes longer than what is done with them there
  double streaming = 0;

  [[nodiscard]] double computing() const {
    double total = crossing + transfer;
    for (std::size_t device = 0; device < reading.size(); ++device) {
      total += reading[device] + arithmetic[device] + operations[device];
    }
    return total;
  }
  [[nodiscard]] double total() const { return std::max(computing(), streaming); }
};

// `load.depth` is of all its sequences. One token of each: every one sees the cells of its own sequence, as one token
// would see all of them. Else they are taken for one sequence.
double cache_seconds(const CostModel& costs, std::size_t group, DeviceIndex device, bool kv_on_cpu,
                     const PassLoad& load) {
  const std::uint64_t tokens = load.sequences == load.tokens ? 1 : load.tokens;
  return costs.group(group, device, kv_on_cpu, tokens, load.outputs, load.depth).cache;
}

Pass pass_of(const Plan& plan, const CostModel& costs, const PassLoad& load) {
  const std::uint64_t tokens = load.tokens;
  const std::uint64_t outputs = load.outputs;
  Pass pass;
  pass.operations.assign(plan.scratch.size(), 0.0);
  pass.reading.assign(plan.scratch.size(), 0.0);
  pass.arithmetic.assign(plan.scratch.size(), 0.0);
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const DeviceIndex device = device_for(plan, g, tokens);
    Seconds seconds = costs.group(g, device, plan.groups[g].kv_on_cpu, tokens, outputs, load.depth);
    if (load.sequences > 1) seconds.cache = cache_seconds(costs, g, device, plan.groups[g].kv_on_cpu, load);
    const double transfer = device == plan.groups[g].device ? 0.0 : costs.transfer(g, device, plan.prompt.slice);
    if (transfer > seconds.weights) {  // the two go on at the same time
      pass.transfer += transfer;
    } else {
      (seconds.by_arithmetic ? pass.arithmetic : pass.reading)[device] += seconds.weights;
    }
    const DeviceIndex cache = plan.groups[g].device;
    if (seconds.cache > 0 && cache != device) {  // only its projections pass through
      pass.reading[cache] += cache_seconds(costs, g, cache, false, load);
      pass.crossing += costs.visit_cache(device, tokens);
    } else {
      pass.reading[device] += seconds.cache;
    }
    pass.operations[device] += seconds.operations;
    if (g > 0) pass.crossing += costs.change(device_for(plan, g - 1, tokens), device, tokens);
  }
  pass.operations[plan.groups.back().device] += costs.finish(plan.groups.back().device, outputs);
  pass.streaming = static_cast<double>(streamed_bytes(plan).value) / costs.rates().disk_bandwidth;
  return pass;
}

// What takes most of the time, in words.
std::string bound_of(const Plan& plan, const Pass& pass) {
  if (pass.streaming > pass.computing()) return std::string(kDiskBound);
  const double operations = std::accumulate(pass.operations.begin(), pass.operations.end(), 0.0);
  double most = operations + pass.crossing;
  std::string bound = pass.crossing > operations ? "changes of device" : "fixed costs";
  if (pass.transfer > most) {
    most = pass.transfer;
    bound = fmt::format("bandwidth from RAM to {}", plan.tiers[plan.prompt.device].name);
  }
  for (std::size_t device = 0; device < pass.reading.size(); ++device) {
    const std::string name = device == kCpu ? "RAM" : plan.tiers[device].name;
    if (pass.reading[device] > most) {
      most = pass.reading[device];
      bound = fmt::format("{} bandwidth", name);
    }
    if (pass.arithmetic[device] > most) {
      most = pass.arithmetic[device];
      bound = fmt::format("{} arithmetic", device == kCpu ? "CPU" : name);
    }
  }
  return bound;
}

}  // namespace

Bytes streamed_bytes(const Plan& plan) {
  Bytes bytes;
  for (const StreamSlot& slot : plan.stream) bytes += slot.bytes;
  return bytes;
}

std::optional<double> observed_disk_bandwidth(const Plan& plan, std::uint64_t passes, double seconds) {
  const Bytes read = streamed_bytes(plan) * passes;
  if (plan.prediction.generation_bound != kDiskBound || read < 4 * kGiB || seconds <= 0) return std::nullopt;
  return static_cast<double>(read.value) / seconds;
}

double prompt_seconds(const Plan& plan, const CostModel& costs, std::uint64_t tokens) {
  return pass_of(plan, costs, {tokens, 1, 1, tokens}).total();
}

PassSeconds pass_seconds(const Plan& plan, const CostModel& costs, const PassLoad& load) {
  const Pass pass = pass_of(plan, costs, load);
  PassSeconds seconds;
  for (std::size_t device = 0; device < pass.reading.size(); ++device) {
    seconds.devices.push_back(pass.reading[device] + pass.arithmetic[device] + pass.operations[device]);
  }
  if (pass.transfer > 0) seconds.devices[plan.prompt.device] += pass.transfer;
  seconds.crossing = pass.crossing;
  seconds.disk = pass.streaming;
  seconds.total = pass.total();
  return seconds;
}

Prediction predict(const gguf::Model& model, const Plan& plan, const CostModel& costs) {
  Prediction prediction;
  const Pass generation = pass_of(plan, costs, {1, 1, 1, costs.generation_depth()});
  prediction.generation_rate = 1.0 / generation.total();
  prediction.generation_bound = bound_of(plan, generation);

  const std::uint64_t tokens = std::min(plan.shape.batch, plan.shape.context / plan.shape.sequences);
  const Pass prompt = pass_of(plan, costs, {tokens, 1, 1, tokens});
  prediction.prompt_rate = static_cast<double>(tokens) / prompt.total();
  prediction.prompt_bound = bound_of(plan, prompt);

  Bytes loaded;
  for (const Region& region : plan.regions) {
    if (region.purpose == Purpose::Weights && region.tensor != model::kNoTensor) {
      loaded += model.tensors[static_cast<std::size_t>(region.tensor)].size;
    }
  }
  // The disk goes on reading while the threads lay out what came before into pages that they bring in: the slower of
  // the two counts. Bringing in pages is most of the threads' time on a virtual machine whose host has to find them
  // first (measured there with two threads and models of 0.8 to 5 GB, bench/predictions.py: 0.5 to 0.8 GB/s a thread);
  // with pages at hand a thread lays out 2.5 GB/s.
  constexpr double kLaidOutPerThread = 0.6e9;  // bytes/s
  constexpr double kOpening = 0.1;             // s: metadata, threads, the first plan
  const auto bytes = static_cast<double>(loaded.value);
  const double measured = costs.rates().devices[kCpu].loading;
  const double laid_out = measured > 0 ? measured : kLaidOutPerThread * plan.shape.threads;
  prediction.load_seconds = kOpening + bytes / std::min(costs.rates().disk_bandwidth, laid_out);
  return prediction;
}

}  // namespace loadline::plan

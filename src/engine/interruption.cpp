#include "engine/interruption.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "engine/backends.h"
#include "engine/benchmark.h"
#include "engine/engine.h"
#include "engine/kept_caches.h"
#include "engine/kept_gpus.h"
#include "engine/kept_weights.h"
#include "hardware/probe.h"
#include "plan/costs.h"
#include "plan/predict.h"
#include "storage/read_rate.h"

namespace loadline::engine {
namespace {

double number(Bytes bytes) { return static_cast<double>(bytes.value); }

// A time, and between what it lies.
struct Span {
  double seconds = 0, least = 0, most = 0;

  static Span sure(double seconds) { return {seconds, seconds, seconds}; }
  Span& operator+=(const Span& other) {
    seconds += other.seconds;
    least += other.least;
    most += other.most;
    return *this;
  }
};
// Whichever takes longer, since they go on at the same time.
Span longer(const Span& a, const Span& b) {
  return {std::max(a.seconds, b.seconds), std::max(a.least, b.least), std::max(a.most, b.most)};
}

// How much longer a device's part of passes takes than is predicted, as it was seen.
struct Ratio {
  double value = 1;
  bool seen = false;
};

class Predictor {
 public:
  Predictor(Engine& engine, const plan::Plan& to, const hardware::Profile& machine)
      : engine_(engine), to_(to), machine_(machine) {}

  Interruption run() {
    const auto failed = engine_.executor().failed_device();
    const KeptWeights kept = kept_weights(engine_.plan(), to_, failed);
    Interruption out;
    out.kept = kept.bytes();
    for (std::uint32_t tier = 0; tier < to_.scratch.size(); ++tier) out.weights += kept.missing(to_, tier);
    caches_kept_ = caches_stay(engine_.program(), engine_.plan(), to_, failed);
    if (caches_kept_) out.caches = plan::devices_total(to_, plan::Purpose::KvCache);
    out.from_disk = bytes_from_disk(engine_.model(), to_, kept);
    find_disk_rate(out.from_disk);
    Span all = giving_up(kept);
    all += coming_back(out.kept + out.caches);
    if (caches_kept_) all += moving();
    all += opening();
    all += reading(kept, out.from_disk);
    all += filling();
    all += computing(out.tokens, out.kept_tokens);
    out.seconds = all.seconds;
    out.least = all.least;
    out.most = all.most;
    return out;
  }

 private:
  // Bytes/s, where something has to come from there.
  void find_disk_rate(Bytes from_disk) {
    const bool streams = !to_.stream.empty();
    if (from_disk.value == 0 && !streams) return;
    const plan::Plan& present = engine_.plan();
    if (const double streamed = observed_stream(); streamed > 0) {
      disk_rate_ = streamed;
      disk_known_ = true;
      return;
    }
    const std::span<std::byte> buffer = engine_.host_memory(present.load_buffer);
    if (const auto rate = storage::read_rate(engine_.model().files, buffer)) {
      disk_rate_ = *rate;
      disk_known_ = true;
      return;
    }
    disk_rate_ = rates_for(to_, machine_).disk_bandwidth;
    disk_known_ = machine_.disk.read_bandwidth > 0;
  }

  // What passes that waited for the disk got of it.
  double observed_stream() {
    const double bytes = number(plan::streamed_bytes(engine_.plan()));
    if (bytes <= 0) return 0;
    std::array<exec::PassRecord, 8> records;
    const std::size_t count = engine_.executor().log().read(0, records);
    double seconds = 0;
    int passes = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (records[i].waited < 0.3 * records[i].seconds) continue;
      seconds += records[i].seconds;
      ++passes;
    }
    return passes >= 2 && seconds > 0 ? bytes * passes / seconds : 0;
  }

  // Memory goes back, and what is kept is moved within it.
  [[nodiscard]] Span giving_up(const KeptWeights& kept) const {
    constexpr double kGivenBack = 8e9;  // bytes/s; 4e9 to 20e9 were seen
    constexpr double kMoved = 5e9;      // bytes/s, by one thread
    Bytes held;
    for (std::uint32_t tier = 0; tier < engine_.plan().scratch.size(); ++tier) {
      held += plan::tier_total(engine_.plan(), tier);
      if (tier != plan::kCpu && tier < kept.by_tier.size()) held -= std::min(held, kept.by_tier[tier]);
    }
    const double seconds = number(held) / kGivenBack + number(kept.by_tier[plan::kCpu]) / kMoved;
    return {seconds, 0.3 * seconds, 3 * seconds};
  }

  // What stays and is swapped out is fetched first, page by page.
  [[nodiscard]] Span coming_back(Bytes stays) const {
    constexpr double kFetched = 100e6;  // bytes/s: a few pages at a time, whatever a disk gives in one go
    const double held = number(hardware::held_memory());
    if (held <= 0) return {};
    const double seconds = number(hardware::swapped_memory()) * std::min(1.0, number(stays) / held) / kFetched;
    return {seconds, seconds / 4, 2 * seconds};
  }

  // Between devices, laid out anew on the way.
  [[nodiscard]] Span moving() const {
    constexpr double kCrossing = 2e9;  // bytes/s
    const Bytes bytes = moving_bytes(engine_.program(), engine_.plan(), to_, engine_.executor().cache());
    const double seconds = number(bytes) / kCrossing;
    return {seconds, seconds / 5, 3 * seconds};
  }

  [[nodiscard]] static bool uses_gpus(const plan::Plan& plan) {
    return std::ranges::any_of(plan.stages, [](const plan::Stage& stage) { return stage.device != plan::kCpu; });
  }

  // All that the plan uses are open.
  [[nodiscard]] bool gpus_stay() const {
    const auto failed = engine_.executor().failed_device();
    for (plan::DeviceIndex i = 1; i < to_.scratch.size(); ++i) {
      if (uses_gpu(to_, i) && !gpu_stays(engine_.plan(), to_, i, failed)) return false;
    }
    return true;
  }

  [[nodiscard]] Span opening() const {
    const Engine::LoadFigures& last = engine_.load_figures();
    Span out = Span::sure(last.opening - last.gpus);
    if (!uses_gpus(to_)) return out;
    if (gpus_stay()) {
      const double again = last.gpus - last.gpus_once;  // recording
      out += {again, 0.7 * again, 1.4 * again};
    } else if (uses_gpus(engine_.plan())) {
      out += {last.gpus, 0.5 * last.gpus, 1.5 * last.gpus};  // shaders are there the second time
    } else {
      out += {0.5, 0.1, 3};
    }
    return out;
  }

  // The disk goes on reading while threads lay out what has come.
  [[nodiscard]] Span reading(const KeptWeights& kept, Bytes from_disk) const {
    Span laid_out;
    for (std::uint32_t tier = 0; tier < to_.scratch.size(); ++tier) {
      const Bytes bytes = kept.missing(to_, tier);
      if (bytes.value > 0) laid_out += laying_out(tier, bytes);
    }
    if (from_disk.value == 0) return laid_out;
    const double disk = number(from_disk) / disk_rate_;
    return longer(laid_out, disk_known_ ? Span{disk, 0.8 * disk, 1.25 * disk} : Span{disk, disk / 4, 8 * disk});
  }

  [[nodiscard]] Span laying_out(std::uint32_t tier, Bytes bytes) const {
    constexpr double kFreshPages = 0.6e9, kUsedPages = 2.5e9;  // bytes/s of a thread (plan/predict.cpp)
    const double threads = to_.shape.threads;
    if (const UploadFigures* seen = engine_.upload_figures(to_.tiers[tier].device)) {
      const double seconds = seen->seconds * number(bytes) / number(seen->bytes) / threads;
      return {seconds, 0.8 * seconds, 1.25 * seconds};
    }
    if (const double measured = rates_for(to_, machine_).devices[plan::kCpu].loading; measured > 0) {
      const double seconds = number(bytes) / measured;  // pages are at hand, unlike the first time
      return {seconds, seconds / 2, seconds};
    }
    return {number(bytes) / (threads * 1e9), number(bytes) / (threads * kUsedPages),
            number(bytes) / (threads * kFreshPages)};
  }

  // Caches, whose pages are brought in after the weights.
  [[nodiscard]] Span filling() const {
    if (caches_kept_) return {};
    const auto caches = [](const plan::Plan& plan) {
      return number(plan::tier_total(plan, plan::kCpu, plan::Purpose::KvCache));
    };
    constexpr double kEnough = 16 << 20;  // bytes: less says nothing of the rest
    const double before = caches(engine_.plan());
    const double filling = engine_.load_figures().filling;
    if (before >= kEnough && filling > 0) return Span::sure(filling * caches(to_) / before);
    const double seconds = caches(to_) / (1e9 * to_.shape.threads);
    return {seconds, seconds / 3, 2 * seconds};
  }

  // Prompts in whole batches, then what was generated, as tokens that are generated, and at last one token for each.
  // Where caches stay, that alone.
  Span computing(std::uint64_t& tokens, std::uint64_t& kept_tokens) {
    plan::Shape plain = to_.shape;  // what is rounded as if it were alone is not the matrix unit's
    plain.matrix_unit = false;
    const plan::Rates rates = rates_for(to_, machine_);
    const plan::CostModel costs(engine_.model(), engine_.program(), to_.shape, rates);
    const plan::CostModel alone(engine_.model(), engine_.program(), plain, rates);
    find_ratios();
    Span all;
    double deepest = 1;
    bool any = false;
    for (const exec::HeldText& text : engine_.scheduler().held_texts()) {
      deepest = std::max(deepest, static_cast<double>(text.prompt + text.generated));
      any = true;
      if (caches_kept_) {
        kept_tokens += text.prompt + text.generated;
        continue;
      }
      tokens += text.prompt + text.generated;
      for (std::uint64_t at = 0; at < text.prompt;) {
        const std::uint64_t count = std::min<std::uint64_t>(to_.shape.batch, text.prompt - at);
        at += count;
        all += pass(costs, count, at);
      }
      for (std::uint64_t at = 0; at < text.generated;) {
        const std::uint64_t count = std::min<std::uint64_t>(to_.shape.batch, text.generated - at);
        at += count;
        all += pass(alone, count, text.prompt + at);
      }
    }
    if (any) all += pass(costs, 1, static_cast<std::uint64_t>(deepest));
    return all;
  }

  Span pass(const plan::CostModel& costs, std::uint64_t tokens, std::uint64_t depth) {
    const plan::PassSeconds expected = plan::pass_seconds(to_, costs, {tokens, 1, 1, depth});
    Span out = Span::sure(expected.crossing);
    for (std::size_t device = 0; device < expected.devices.size(); ++device) {
      const Ratio& ratio = (tokens < kMany ? few_ : many_)[std::min(device, few_.size() - 1)];
      const double seconds = expected.devices[device] * ratio.value;
      const bool known = ratio.seen || !machine_.measured.empty();
      out += known ? Span{seconds, 0.8 * seconds, 1.25 * seconds} : Span{seconds, seconds / 3, 3 * seconds};
    }
    if (to_.stream.empty()) return out;
    const double disk = number(plan::streamed_bytes(to_)) / disk_rate_;
    return longer(out, disk_known_ ? Span{disk, 0.8 * disk, 1.25 * disk} : Span{disk, disk / 4, 8 * disk});
  }

  // From the passes of the present plan, or of the last one that had the device.
  void find_ratios() {
    const plan::Plan& present = engine_.plan();
    const plan::CostModel costs(engine_.model(), engine_.program(), present.shape, rates_for(present, machine_));
    const exec::PassLog& log = engine_.executor().log();
    std::array<exec::PassRecord, 40> records;
    std::size_t count = log.read_large(std::span(records).first(8));
    std::array<exec::PassRecord, 32> last;
    for (const exec::PassRecord& record : std::span(last).first(log.read(0, last))) {
      if (record.tokens < kMany) records[count++] = record;
    }
    struct Sum {
      double took = 0, expected = 0;
    };
    std::array<std::array<Sum, exec::kLoggedDevices>, 2> sums = {};
    std::array<std::array<std::vector<double>, exec::kLoggedDevices>, 2> ratios;  // of each pass
    std::array<Sum, 2> all = {};                                                  // devices
    for (std::size_t i = 0; i < count; ++i) {
      const exec::PassRecord& record = records[i];
      const plan::PassSeconds seconds =
          plan::pass_seconds(present, costs,
                             {record.tokens, std::max<std::uint64_t>(1, record.outputs),
                              std::max<std::uint64_t>(1, record.sequences), std::max<std::uint64_t>(1, record.depth)});
      for (std::size_t d = 0; d < std::min(seconds.devices.size(), few_.size()); ++d) {
        const std::size_t kind = record.tokens < kMany ? 0 : 1;
        const double took = std::max(0.0, record.busy[d] - (d == plan::kCpu ? record.waited : 0));
        for (Sum* sum : {&sums[kind][d], &all[kind]}) {
          sum->took += took;
          sum->expected += seconds.devices[d];
        }
        if (took > 0 && seconds.devices[d] > 0) ratios[kind][d].push_back(took / seconds.devices[d]);
      }
    }
    for (std::size_t d = 0; d < few_.size(); ++d) {
      const auto device = static_cast<std::uint32_t>(d);
      const bool both = device < present.tiers.size() && device < to_.tiers.size() &&
                        present.tiers[device].device == to_.tiers[device].device;
      const auto ratio = [&](std::size_t kind) {
        const Sum& sum = sums[kind][d];
        const std::vector<double>& each = ratios[kind][d];
        constexpr double kMost = 1e5;  // a software GPU that nobody measured is thousands of times slower than a card
        // What is a few fixed costs beside another device's work says nothing of how fast this one works.
        constexpr double kLeastShare = 0.1;
        const bool much = sum.expected > kLeastShare * all[kind].expected || sum.took > kLeastShare * all[kind].took;
        if (!both || !much || each.empty()) return Ratio{};
        // The middle one: a device's first pass may be many times the others (a driver that compiles).
        return Ratio{std::clamp(quantile(each, 0.5), 1 / kMost, kMost), true};
      };
      few_[d] = ratio(0);
      many_[d] = ratio(1);
      if (device < to_.tiers.size()) {
        Engine::Slowness& known = engine_.slowness(to_.tiers[device].device);
        recall(few_[d], known.few);
        recall(many_[d], known.many);
      }
      // One kind says something of the other: others use the machine, or its speeds were assumed. Of a small model
      // fixed costs are most of what a token alone takes, and little of what many take.
      constexpr double kMostOfFew = 1.3;
      if (!many_[d].seen) many_[d].value = d == plan::kCpu ? std::min(few_[d].value, kMostOfFew) : few_[d].value;
      if (!few_[d].seen) few_[d].value = many_[d].value;
    }
  }

  static void recall(Ratio& ratio, double& known) {
    if (ratio.seen) {
      known = ratio.value;
    } else if (known > 0) {
      ratio = {known, true};
    }
  }

  static constexpr std::uint64_t kMany = exec::PassLog::kLargeTokens;

  Engine& engine_;
  const plan::Plan& to_;
  const hardware::Profile& machine_;
  double disk_rate_ = 1e9;  // bytes/s
  bool disk_known_ = false;
  bool caches_kept_ = false;
  std::array<Ratio, exec::kLoggedDevices> few_, many_;
};

}  // namespace

Interruption predict_interruption(Engine& engine, const plan::Plan& to, const hardware::Profile& machine) {
  return Predictor(engine, to, machine).run();
}

std::string words_of(const Interruption& predicted, double seconds) {
  std::string text = fmt::format("{} of weights read", to_string(predicted.weights));
  if (predicted.from_disk.value > 0) text += fmt::format(" ({} from disk)", to_string(predicted.from_disk));
  text += predicted.caches.value > 0
              ? fmt::format(", {} and {} tokens kept", to_string(predicted.kept), predicted.kept_tokens)
              : fmt::format(", {} kept, {} tokens computed again", to_string(predicted.kept), predicted.tokens);
  text += fmt::format("; {:.2f} s without tokens, ", seconds);
  constexpr double kWide = 1.5;  // a narrower range is a figure
  const bool wide = predicted.most > kWide * predicted.seconds || kWide * predicted.least < predicted.seconds;
  return text + (wide ? fmt::format("{:.2f} to {:.2f} s predicted", predicted.least, predicted.most)
                      : fmt::format("{:.2f} s predicted", predicted.seconds));
}

Bytes bytes_from_disk(const gguf::Model& model, const plan::Plan& plan, const KeptWeights& kept) {
  const std::vector<plan::RegionIndex> there = kept.there();
  Bytes bytes;
  for (plan::RegionIndex i = 0; i < plan.regions.size(); ++i) {
    const plan::Region& region = plan.regions[i];
    if (region.purpose != plan::Purpose::Weights || region.tensor == model::kNoTensor) continue;
    if (std::ranges::binary_search(there, i)) continue;
    const gguf::TensorInfo& tensor = model.tensors[static_cast<std::size_t>(region.tensor)];
    bytes += tensor.size - storage::cached_bytes(model.files[tensor.file], tensor.offset, tensor.size);
  }
  return bytes;
}

}  // namespace loadline::engine

#include "plan/budgets.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/setting.h"
#include "quant/kv_page.h"

namespace loadline::plan {
namespace {

constexpr std::uint32_t kDefaultContext = 4096;
constexpr std::uint64_t kMostCells = std::uint64_t{1} << 30;
constexpr std::uint32_t kMostBatch = 1U << 16;
constexpr std::uint32_t kMostThreads = 1024;

Tier make_tier(TierKind kind, std::string name, Bytes capacity, Bytes available, std::optional<Bytes> budget,
               Bytes headroom) {
  Tier tier{kind, std::move(name), capacity, available, Bytes(0), Bytes(0)};
  if (budget) {
    tier.budget = std::min(*budget, available);
  } else {
    tier.headroom = headroom;
    tier.budget = available > headroom ? available - headroom : Bytes(0);
  }
  return tier;
}

// What the user named for GPU `index`.
std::optional<Bytes> named_budget(const Options& options, std::uint32_t index) {
  const auto named = options.gpu_budgets.find(index);
  return named != options.gpu_budgets.end() ? std::optional(named->second) : options.gpu_budget;
}

void check_kv_type(quant::TensorType type, std::uint32_t head_dim, const char* what, Setting setting) {
  using quant::TensorType;
  if (type != TensorType::F32 && type != TensorType::F16 && type != TensorType::Q8_0) {
    throw bad_input(fmt::format("{} is not a type that {} in the KV cache can have", quant::name_of(type), what),
                    "It can be f32, f16 or q8_0.", setting);
  }
  if (head_dim % quant::format_of(type).block_elements != 0) {
    throw bad_input(fmt::format("{} for {} does not suit this model: its heads have {} values, not a multiple of {}",
                                quant::name_of(type), what, head_dim, quant::format_of(type).block_elements),
                    "", setting);
  }
}

template <class Number>
void check_range(const char* what, Number value, Number least, Number most, Setting setting) {
  if (value < least || value > most) {
    throw bad_input(fmt::format("{}: {} is out of range; it can be {} to {}", what, value, least, most), "", setting);
  }
}

}  // namespace

Bytes default_headroom(TierKind kind, Bytes capacity, bool own_limit) {
  if (kind == TierKind::Disk) return Bytes(0);
  // 5 % for what others may come to take, within bounds: a desktop's windows on a GPU, programs and the page cache in
  // RAM. Inside a limit of its own (a cgroup) nobody else can take anything.
  const Bytes share = capacity / 20;
  if (kind == TierKind::Gpu) return std::clamp(share, 128 * kMiB, 512 * kMiB);
  if (own_limit) return std::clamp(capacity / 50, 8 * kMiB, 256 * kMiB);
  return std::clamp(share, 256 * kMiB, 2 * kGiB);
}

std::vector<Tier> make_tiers(const hardware::Profile& profile, const Options& options) {
  for (const auto& [index, budget] : options.gpu_budgets) {
    if (index >= profile.gpus.size()) {
      throw bad_input(fmt::format("a budget is named for GPU {}, but there {} {} GPU{}", index,
                                  profile.gpus.size() == 1 ? "is" : "are", profile.gpus.size(),
                                  profile.gpus.size() == 1 ? "" : "s"),
                      "`loadline devices` lists them, counted from 0.", Setting::GpuBudget);
    }
  }
  const auto headroom = [&](TierKind kind, Bytes capacity, bool own_limit) {
    return options.headroom.value_or(default_headroom(kind, capacity, own_limit));
  };
  std::vector<Tier> tiers;
  const hardware::Ram& ram = profile.ram;
  const Bytes ram_capacity = ram.cgroup_limit ? std::min(*ram.cgroup_limit, ram.total) : ram.total;
  tiers.push_back(make_tier(TierKind::Ram, "RAM", ram_capacity, ram.available, options.ram_budget,
                            headroom(TierKind::Ram, ram_capacity, ram_capacity < ram.total)));
  for (std::uint32_t i = 0; i < profile.gpus.size(); ++i) {
    const hardware::Gpu& gpu = profile.gpus[i];
    tiers.push_back(make_tier(TierKind::Gpu, gpu.name, gpu.total, gpu.free, named_budget(options, i),
                              headroom(TierKind::Gpu, gpu.total, false)));
    tiers.back().device = gpu.id;
  }
  tiers.push_back(make_tier(TierKind::Disk, profile.disk.name, Bytes(0), Bytes(0), std::nullopt, Bytes(0)));
  return tiers;
}

std::vector<std::string> lowered_budgets(const Options& options, const std::vector<Tier>& tiers,
                                         const BudgetWords& words) {
  std::vector<std::string> sentences;
  const bool gpus = std::ranges::any_of(tiers, [](const Tier& tier) { return tier.kind == TierKind::Gpu; });
  if (options.gpu_budget && !gpus) {
    sentences.push_back(fmt::format("{} has no effect: there is no GPU to use", words.vram));
  }
  for (std::uint32_t i = 0; i < tiers.size(); ++i) {
    if (tiers[i].kind == TierKind::Disk) continue;
    const std::optional<Bytes> named = i == kCpu ? options.ram_budget : named_budget(options, i - 1);
    if (!named || *named <= tiers[i].budget) continue;
    sentences.push_back(fmt::format("{} {} is more than is available{}: the budget is {} ({} bytes)",
                                    i == kCpu ? words.ram : words.vram, to_string(*named),
                                    i == kCpu ? "" : fmt::format(" on GPU {}", i - 1), to_string(tiers[i].budget),
                                    tiers[i].budget.value));
  }
  return sentences;
}

std::vector<ContextOverhead> context_overheads(const hardware::Profile& profile, Bytes of_requests) {
  std::vector<ContextOverhead> overheads(1);
  overheads[kCpu].host = of_requests;
  for (const hardware::Gpu& gpu : profile.gpus) {
    // A software device's context is of RAM alone, and measured as it is opened (Engine::held).
    overheads.push_back({gpu.context_memory, gpu.context_host_memory, gpu.context_measured || gpu.software});
  }
  overheads.emplace_back();
  return overheads;
}

std::uint32_t whole_pages(std::uint64_t cells, std::uint32_t sequences) {
  const std::uint64_t each = (cells + sequences - 1) / sequences;
  return static_cast<std::uint32_t>(align_up(each, std::uint64_t{quant::kKvPageCells}) * sequences);
}

Shape make_shape(const model::Program& program, const hardware::Profile& profile, const Options& options) {
  const model::ModelConfig& config = program.config;
  Shape shape;
  check_range<std::uint64_t>("the number of sequences", options.sequences, 1, 4096, Setting::Sequences);
  shape.sequences = options.sequences;
  const std::uint32_t trained = config.trained_context > 0 ? config.trained_context : kDefaultContext;
  const std::uint64_t cells =
      options.trained_context ? trained : options.context.value_or(std::min(kDefaultContext, trained));
  check_range<std::uint64_t>("the context", cells, 1, kMostCells, Setting::Context);
  if (cells < shape.sequences) {
    throw bad_input(
        fmt::format("a context of {} is less than a token for each of {} sequences", cells, shape.sequences), "",
        Setting::Context);
  }
  shape.context = whole_pages(cells, shape.sequences);
  check_range<std::uint32_t>("the batch", options.batch, 1, kMostBatch, Setting::Batch);
  // A pass never has more tokens than the cache has cells, nor fewer than the sequences.
  shape.batch = std::max(std::min(options.batch, shape.context), shape.sequences);
  shape.outputs = options.outputs > 0 ? std::min(options.outputs, shape.batch) : shape.sequences;
  shape.threads = options.threads > 0 ? options.threads : std::max(1U, profile.cpu.cores);
  check_range<std::uint32_t>("the number of threads", shape.threads, 1, kMostThreads, Setting::Threads);
  shape.matrix_unit = options.matrix_unit && hardware::lists_matrix_unit(profile.cpu);
  shape.k_type = options.k_type;
  shape.v_type = options.v_type;
  check_kv_type(shape.k_type, config.head_dim_k, "keys", Setting::CacheTypeK);
  check_kv_type(shape.v_type, config.head_dim_v, "values", Setting::CacheTypeV);
  return shape;
}

}  // namespace loadline::plan

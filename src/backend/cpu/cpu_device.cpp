#include "backend/cpu/cpu_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "backend/cpu/recipe.h"
#include "base/error.h"
#include "plan/cache_pages.h"

namespace loadline::cpu {

CpuDevice::CpuDevice(const gguf::Model& model, const model::Program& program, const plan::Plan& plan, ThreadPool& pool,
                     const backend::StopFlag& stop, KeptArenas kept)
    : model_(model), program_(program), plan_(plan), pool_(pool), kernels_(kernels()), shares_(pool.threads()) {
  arenas_.resize(plan.arenas.size());
  for (std::size_t i = 0; i < plan.arenas.size(); ++i) {
    const plan::Arena& arena = plan.arenas[i];
    const plan::DeviceIndex holder = plan::holder_of(plan, static_cast<std::uint32_t>(i));
    if (holder != plan::kCpu || arena.purpose == plan::Purpose::Runtime) continue;
    HostArena none;
    HostArena& there = arena.purpose == plan::Purpose::Weights   ? kept.weights
                       : arena.purpose == plan::Purpose::KvCache ? kept.caches
                                                                 : none;
    if (there.data() != nullptr && there.size() == arena.size) {
      arenas_[i] = std::move(there);
    } else {
      arenas_[i] = HostArena(arena.size, arena.huge_pages, plan::name_of(arena.purpose));
    }
  }
  for (std::size_t i = 0; i < arenas_.size(); ++i) {
    const plan::Purpose purpose = plan.arenas[i].purpose;
    if (purpose != plan::Purpose::Weights && purpose != plan::Purpose::KvCache) populate(arenas_[i], stop);
  }
}

void CpuDevice::populate(const backend::StopFlag& stop) {
  for (HostArena& arena : arenas_) populate(arena, stop);
}

// All threads together, since most of the time goes into clearing pages.
void CpuDevice::populate(HostArena& arena, const backend::StopFlag& stop) {
  WorkQueue queue;
  std::atomic<bool> refused{false};
  const std::uint64_t size = arena.size().value;
  const std::uint64_t steps = (size + HostArena::kStep - 1) / HostArena::kStep;
  pool_.run([&](int /*thread*/) noexcept {
    while (true) {
      const auto [begin, end] = queue.claim(steps, pool_.threads(), 1);
      if (begin == end) return;
      for (std::uint64_t step = begin; step < end; ++step) {
        if (refused.load(std::memory_order_relaxed) || stop.load(std::memory_order_relaxed)) return;
        const std::uint64_t last = std::min(size, (step + 1) * HostArena::kStep);
        if (!arena.require(step * HostArena::kStep, last)) refused.store(true, std::memory_order_relaxed);
      }
    }
  });
  if (refused) throw no_memory();
}

Error CpuDevice::no_memory() const {
  return Error(
      ErrorCode::DoesNotFit,
      fmt::format("the system has no more memory: {} were planned for RAM, and were free when the plan was made",
                  to_string(plan::tier_total(plan_, plan::kCpu))),
      "Another program took memory meanwhile; plan again.");
}

std::byte* CpuDevice::address(plan::RegionIndex region) const {
  const plan::Region& r = plan_.regions[region];
  return arenas_[r.arena].data() + r.offset.value;
}

std::span<std::byte> CpuDevice::host_memory(plan::RegionIndex region) {
  if (region == plan::kNoRegion || arenas_[plan_.regions[region].arena].data() == nullptr) return {};
  return {address(region), plan_.regions[region].size.value};
}

bool CpuDevice::is_of_weights(std::size_t arena) const { return plan_.arenas[arena].purpose == plan::Purpose::Weights; }

std::span<const std::byte> CpuDevice::weights() const {
  for (std::size_t i = 0; i < arenas_.size(); ++i) {
    if (!is_of_weights(i) || arenas_[i].data() == nullptr) continue;
    return {arenas_[i].data(), arenas_[i].size().value};
  }
  return {};
}

HostArena CpuDevice::give(plan::Purpose purpose) {
  for (std::size_t i = 0; i < arenas_.size(); ++i) {
    if (plan_.arenas[i].purpose == purpose && arenas_[i].data() != nullptr) return std::move(arenas_[i]);
  }
  return {};
}

void CpuDevice::upload(plan::RegionIndex region, std::uint64_t first_row, std::uint64_t rows,
                       std::span<const std::byte> data) {
  const plan::Region& r = plan_.regions[region];
  const gguf::TensorInfo& tensor = model_.tensors[static_cast<std::size_t>(r.tensor)];
  const std::uint64_t begin = r.offset.value + first_row * quant::size_of(tensor.type, tensor.columns()).value;
  if (!arenas_[r.arena].require(begin, begin + data.size())) throw no_memory();
  if (r.layout == kRows16) {
    repack_rows(tensor.type, tensor.columns(), tensor.rows(), first_row, rows, data.data(), address(region));
    return;
  }
  std::memcpy(arenas_[r.arena].data() + begin, data.data(), data.size());
}

void CpuDevice::prepare() {
  schedules_.resize(plan_.stages.size());
  for (std::size_t i = 0; i < plan_.stages.size(); ++i) {
    if (plan_.stages[i].device != plan::kCpu) continue;
    schedules_[i] = record_stage(model_, program_, plan_, plan_.stages[i],
                                 [this](plan::RegionIndex region) { return address(region); });
  }
}

bool CpuDevice::run(std::uint32_t stage, const backend::Batch& batch, const backend::StopFlag& stop) {
  Recording& schedule = schedules_[stage];
  for (WorkQueue& queue : schedule.queues) queue.reset();
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  const Pass pass{&batch, &stop, &kernels_, pool_.threads(), &shares_, gate_, &failed, &error};
  renew_shares(shares_, pool_.threads());
  pool_.run([&](int thread) noexcept {
    for (std::size_t i = 0; i < schedule.steps.size(); ++i) {
      run_step(schedule.steps[i], i, pass, schedule.queues[i], thread);
      // Also when stopping: every thread passes every barrier, so none is left waiting.
      pool_.barrier().wait();
    }
  });
  if (error) std::rethrow_exception(error);
  return !pass.ending();
}

// All threads together, a tile of 16 rows at a time.
void CpuDevice::read(std::span<const Rows> all) noexcept {
  const auto tiles = [](const Rows& part) { return (part.rows + kTileRows - 1) / kTileRows; };
  std::uint64_t total = 0;
  for (const Rows& part : all) total += tiles(part);
  WorkQueue queue;
  pool_.run([&](int /*thread*/) noexcept {
    while (true) {
      auto [begin, end] = queue.claim(total, pool_.threads(), 1);
      if (begin == end) return;
      for (const Rows& part : all) {
        const std::uint64_t first = std::min(begin, tiles(part));
        const std::uint64_t last = std::min(end, tiles(part));
        if (first < last) read_tiles(part, first, last);
        begin -= first;
        end -= last;
      }
    }
  });
}

void CpuDevice::read_tiles(const Rows& part, std::uint64_t first_tile, std::uint64_t end_tile) const noexcept {
  const plan::Region& r = plan_.regions[part.region];
  const gguf::TensorInfo& tensor = model_.tensors[static_cast<std::size_t>(r.tensor)];
  const std::uint64_t skipped = first_tile * kTileRows;
  const std::uint64_t rows = std::min(end_tile * kTileRows, part.rows) - skipped;
  const Bytes row = quant::size_of(tensor.type, tensor.columns());
  std::byte* target = part.target + (row * skipped).value;
  if (r.layout == kRows16) {
    restore_rows(tensor.type, tensor.columns(), tensor.rows(), part.first_row + skipped, rows, address(part.region),
                 target);
  } else {
    std::memcpy(target, address(part.region) + (row * (part.first_row + skipped)).value, (row * rows).value);
  }
}

float* CpuDevice::crossing(model::ValueId value) {
  return reinterpret_cast<float*>(address(plan_.scratch[plan::kCpu].values[value]));
}

bool CpuDevice::copy_page(std::uint32_t from, std::uint32_t to) { return copy_page(false, from, to); }
bool CpuDevice::copy_window_page(std::uint32_t from, std::uint32_t to) { return copy_page(true, from, to); }

// A page's K, or V, of all heads lies together.
bool CpuDevice::copy_page(bool windows, std::uint32_t from, std::uint32_t to) {
  const bool apart = plan::has_window_pages(program_, plan_.shape);
  for (std::size_t i = 0; i < plan_.kv.size(); ++i) {
    const model::CacheKind kind = program_.caches[i].kind;
    if (kind == model::CacheKind::State || (apart && kind == model::CacheKind::Window) != windows) continue;
    const plan::KvRegions& kv = plan_.kv[i];
    if (from >= kv.pages || to >= kv.pages) return false;
    for (const plan::RegionIndex region : {kv.k, kv.v}) {
      if (region == plan::kNoRegion || arenas_[plan_.regions[region].arena].data() == nullptr) continue;
      const std::uint64_t bytes = plan_.regions[region].size.value / kv.pages;
      std::memcpy(address(region) + to * bytes, address(region) + from * bytes, bytes);
    }
  }
  return true;
}

const float* CpuDevice::logits() {
  return reinterpret_cast<const float*>(address(plan_.scratch[plan::kCpu].values[program_.logits]));
}

const float* CpuDevice::states() {
  return reinterpret_cast<const float*>(address(plan_.scratch[plan::kCpu].values[program_.normed]));
}

Bytes CpuDevice::allocated() const {
  Bytes total;
  for (const HostArena& arena : arenas_) total += arena.held();
  return total;
}

}  // namespace loadline::cpu

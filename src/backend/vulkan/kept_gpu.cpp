#include "backend/vulkan/kept_gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace loadline::vulkan {
namespace {

constexpr Bytes kBuffer = kMiB;
constexpr const char* kMoving = "moving its caches";

}  // namespace

Arena make_arena(Context& context, const plan::Plan& plan, std::uint32_t arena) {
  std::vector<Piece> pieces;
  for (const plan::Region& region : plan.regions) {
    if (region.arena == arena) pieces.push_back({region.offset, region.offset + region.size});
  }
  std::ranges::sort(pieces, {}, &Piece::begin);
  const plan::Arena& planned = plan.arenas[arena];
  const MemoryKind kind = planned.tier == plan::kCpu ? MemoryKind::Host : MemoryKind::Device;
  return {context, kind, planned.size, pieces, fmt::format("the {}", plan::name_of(planned.purpose))};
}

Mover::Mover(Context& context)
    : buffer_(context, MemoryKind::Host, kBuffer, "moving caches"), list_(context), timeline_(context) {}

void Mover::move(const Place& from, const Place& to, Bytes size, bool to_host) {
  list_.begin(false);
  list_.copy(from, to, size);
  to_host ? list_.barrier_to_host() : list_.barrier();
  list_.end();
  timeline_.wait(timeline_.submit(list_, kMoving), kMoving);
}

void Mover::copy(const Place& from, const Place& to, Bytes size) { move(from, to, size, false); }

void Mover::read(Place from, std::span<std::byte> target) {
  while (!target.empty()) {
    const std::size_t count = std::min<std::size_t>(target.size(), buffer_.size().value);
    move(from, on_the_way(), Bytes(count), true);
    std::memcpy(target.data(), buffer_.data(), count);
    target = target.subspan(count);
    from.offset += count;
  }
}

void Mover::write(std::span<const std::byte> source, Place to) {
  while (!source.empty()) {
    const std::size_t count = std::min<std::size_t>(source.size(), buffer_.size().value);
    std::memcpy(buffer_.data(), source.data(), count);
    move(on_the_way(), to, Bytes(count), false);
    source = source.subspan(count);
    to.offset += count;
  }
}

}  // namespace loadline::vulkan

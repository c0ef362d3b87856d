#include "backend/vulkan/kept_gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace loadline::vulkan {
namespace {

constexpr Bytes kBuffer = kMiB;
constexpr const char* kMoving = "moving what it keeps";

}  // namespace

Bytes KeptGpu::allocated() const {
  Bytes total;
  for (const HeldArenas* some : {&before, &arenas}) {
    for (const auto& [number, arena] : *some) total += arena.allocated();
  }
  return total;
}

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

Mover::Mover(Context& context) : context_(context), list_(context), timeline_(context) {}

Place Mover::on_the_way() {
  if (!buffer_) buffer_.emplace(context_, MemoryKind::Host, kBuffer, "moving what is kept");
  return {buffer_->handle(), 0, buffer_->address(), buffer_->data()};
}

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
    const std::size_t count = std::min<std::size_t>(target.size(), kBuffer.value);
    const Place host = on_the_way();
    move(from, host, Bytes(count), true);
    std::memcpy(target.data(), host.data, count);
    target = target.subspan(count);
    from.offset += count;
  }
}

void Mover::write(std::span<const std::byte> source, Place to) {
  while (!source.empty()) {
    const std::size_t count = std::min<std::size_t>(source.size(), kBuffer.value);
    const Place host = on_the_way();
    std::memcpy(host.data, source.data(), count);
    move(host, to, Bytes(count), false);
    source = source.subspan(count);
    to.offset += count;
  }
}

}  // namespace loadline::vulkan

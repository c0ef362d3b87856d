#include "plan/liveness.h"

#include <algorithm>
#include <numeric>

namespace loadline::plan {
namespace {

using Order = std::vector<std::size_t>;

// Places the buffers one after the other, each at the lowest offset where nothing that is alive with it lies.
Bytes place(const std::vector<Buffer>& buffers, const std::vector<std::vector<bool>>& conflict, const Order& order,
            Bytes alignment, std::vector<Bytes>& offsets) {
  Bytes end;
  std::vector<std::size_t> placed;
  for (const std::size_t index : order) {
    std::vector<std::pair<Bytes, Bytes>> taken;
    for (const std::size_t other : placed) {
      if (conflict[index][other]) taken.emplace_back(offsets[other], offsets[other] + buffers[other].size);
    }
    std::ranges::sort(taken);
    Bytes offset;
    for (const auto& [begin, finish] : taken) {
      if (offset + buffers[index].size <= begin) break;
      offset = std::max(offset, align_up(finish, alignment));
    }
    offsets[index] = offset;
    end = std::max(end, offset + buffers[index].size);
    placed.push_back(index);
  }
  return end;
}

// The most bytes alive at one time, less what alignment adds: no packing can be smaller.
Bytes lower_bound(const std::vector<Buffer>& buffers) {
  struct Change {
    std::uint64_t time;  // twice the operation's place, plus one where a buffer dies after it
    std::int64_t bytes;
    auto operator<=>(const Change&) const = default;
  };
  std::vector<Change> changes;
  for (const Buffer& buffer : buffers) {
    const auto bytes = static_cast<std::int64_t>(buffer.size.value);
    for (const Interval& interval : buffer.alive) {
      changes.push_back({std::uint64_t{2} * interval.begin, bytes});
      changes.push_back({std::uint64_t{2} * interval.end + 1, -bytes});
    }
  }
  std::ranges::sort(changes);
  std::int64_t alive = 0;
  std::int64_t most = 0;
  for (const Change& change : changes) {
    alive += change.bytes;
    most = std::max(most, alive);
  }
  for (const Buffer& buffer : buffers) most = std::max(most, static_cast<std::int64_t>(buffer.size.value));
  return Bytes(static_cast<std::uint64_t>(most));
}

}  // namespace

bool alive_together(const Buffer& a, const Buffer& b) {
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.alive.size() && j < b.alive.size()) {
    if (a.alive[i].end < b.alive[j].begin) {
      ++i;
    } else if (b.alive[j].end < a.alive[i].begin) {
      ++j;
    } else {
      return true;
    }
  }
  return false;
}

Bytes pack(std::vector<Buffer>& buffers, Bytes alignment) {
  const std::size_t count = buffers.size();
  std::vector<std::vector<bool>> conflict(count, std::vector<bool>(count, false));
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = a + 1; b < count; ++b) {
      conflict[a][b] = conflict[b][a] = alive_together(buffers[a], buffers[b]);
    }
  }
  Order order(count);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return buffers[a].size > buffers[b].size; });

  std::vector<Bytes> best(count);
  Bytes best_end = place(buffers, conflict, order, alignment, best);
  const Bytes least = lower_bound(buffers);
  // Largest first is nearly always best. Exchanging neighbours mends the few cases where it is not; the number of
  // rounds is bounded so that the time is.
  constexpr int kRounds = 4;
  std::vector<Bytes> tried(count);
  bool improved = true;
  for (int round = 0; round < kRounds && improved && best_end > least; ++round) {
    improved = false;
    for (std::size_t a = 0; a < count; ++a) {
      for (std::size_t b = a + 1; b < count; ++b) {
        std::swap(order[a], order[b]);
        const Bytes end = place(buffers, conflict, order, alignment, tried);
        if (end < best_end) {
          best_end = end;
          best = tried;
          improved = true;
        } else {
          std::swap(order[a], order[b]);
        }
      }
    }
  }
  for (std::size_t index = 0; index < count; ++index) buffers[index].offset = best[index];
  return best_end;
}

}  // namespace loadline::plan

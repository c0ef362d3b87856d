#include "plan/stream_choice.h"

#include <algorithm>
#include <cstdint>

#include "plan/stream.h"

namespace loadline::plan {
namespace {

// One group on the CPU whose matrices may be streamed.
struct Candidate {
  std::size_t group;
  std::vector<model::TensorIndex> tensors;
  std::vector<Bytes> sizes;  // of each tensor, aligned
};

class StreamChoice {
 public:
  StreamChoice(const PlacementTask& task, Placement placement) : task_(task), placement_(std::move(placement)) {
    placement_.streamed.assign(task.model.tensors.size(), false);
    placement_.embedding_on_disk = placement_.groups.front().device == kCpu && !tied_here();
    collect();
    const Plan resident = task.lay_out(placement_);
    const Bytes others = tier_total(resident, kCpu) - tier_total(resident, kCpu, Purpose::Weights);
    const Bytes budget = task.tiers[kCpu].budget;
    room_ = budget > others ? budget - others : Bytes(0);
    for (const Region& region : resident.regions) {
      if (region.purpose != Purpose::Weights || resident.arenas[region.arena].tier != kCpu) continue;
      weights_ = std::max(weights_, region.offset + region.size);
    }
    std::vector<bool> all(task.model.tensors.size(), false);
    for (const Candidate& candidate : candidates_) {
      for (const model::TensorIndex index : candidate.tensors) all[static_cast<std::size_t>(index)] = true;
    }
    // Where the embedding stays on disk, a row of it is read into the same arena.
    const gguf::TensorInfo& table =
        task.model.tensors[static_cast<std::size_t>(task.program.groups.front().tensors().front())];
    const Bytes row = align_up(Bytes(table.size.value / table.rows()), Bytes(4096)) + Bytes(4096);
    buffer_ = arena_size(TierKind::Ram, stream_buffer_bytes(task.model, all) + row);
  }

  std::optional<Placement> run() {
    if (needed(Choice(candidates_.size(), 0)) <= room_) return finish(Choice(candidates_.size(), 0));
    std::optional<Choice> best;
    Bytes least(UINT64_MAX);
    for (const Bytes most : slot_sizes()) {
      Choice choice = stream_up_to(most);
      if (needed(choice) > room_) continue;
      keep_what_fits(choice);
      const Bytes bytes = total(choice);
      if (bytes >= least) continue;
      least = bytes;
      best = std::move(choice);
    }
    return best ? finish(*best) : std::nullopt;
  }

 private:
  using Choice = std::vector<std::uint32_t>;  // per candidate: which of its tensors are streamed, as bits

  [[nodiscard]] Bytes size(model::TensorIndex index) const {
    return align_up(task_.model.tensors[static_cast<std::size_t>(index)].size, kSlotAlignment);
  }

  // The output matrix is the embedding too, and on the CPU: Embed finds its rows there unless it is streamed.
  [[nodiscard]] bool tied_here() const {
    return task_.program.tied_embeddings && placement_.groups.back().device == kCpu;
  }

  void collect() {
    constexpr std::size_t kMostTensors = 12;  // subsets are tried one by one
    for (std::size_t g = 0; g < task_.program.groups.size(); ++g) {
      if (placement_.groups[g].device != kCpu) continue;
      if (task_.program.groups[g].kind == model::GroupKind::Embedding) continue;
      Candidate candidate{g, {}, {}};
      for (const SlabNeed& slab : task_.needs.of(kCpu, g).slabs) {
        if (!slab.matrix || candidate.tensors.size() == kMostTensors) continue;
        candidate.tensors.push_back(slab.tensor);
        candidate.sizes.push_back(size(slab.tensor));
      }
      if (!candidate.tensors.empty()) candidates_.push_back(std::move(candidate));
    }
  }

  static Bytes bytes_of(const Candidate& candidate, std::uint32_t mask) {
    Bytes bytes;
    for (std::size_t i = 0; i < candidate.sizes.size(); ++i) {
      if ((mask >> i & 1U) != 0) bytes += candidate.sizes[i];
    }
    return bytes;
  }
  static std::uint32_t masks(const Candidate& candidate) { return 1U << candidate.sizes.size(); }

  // Every size a group's turn can have.
  [[nodiscard]] std::vector<Bytes> slot_sizes() const {
    std::vector<Bytes> sizes;
    std::vector<const Candidate*> seen;
    for (const Candidate& candidate : candidates_) {
      if (std::ranges::any_of(seen, [&](const Candidate* other) { return other->sizes == candidate.sizes; })) continue;
      for (std::uint32_t mask = 1; mask < masks(candidate); ++mask) sizes.push_back(bytes_of(candidate, mask));
      seen.push_back(&candidate);
    }
    std::ranges::sort(sizes);
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    return sizes;
  }

  // From every group the tensors with the most bytes together that are not above `most`.
  [[nodiscard]] Choice stream_up_to(Bytes most) const {
    Choice choice;
    std::vector<std::size_t> seen;
    for (std::size_t c = 0; c < candidates_.size(); ++c) {
      const auto same = std::ranges::find_if(
          seen, [&](std::size_t other) { return candidates_[other].sizes == candidates_[c].sizes; });
      if (same != seen.end()) {
        choice.push_back(choice[*same]);
        continue;
      }
      std::uint32_t best = 0;
      for (std::uint32_t mask = 1; mask < masks(candidates_[c]); ++mask) {
        const Bytes bytes = bytes_of(candidates_[c], mask);
        if (bytes <= most && bytes > bytes_of(candidates_[c], best)) best = mask;
      }
      choice.push_back(best);
      seen.push_back(c);
    }
    return choice;
  }

  [[nodiscard]] Bytes total(const Choice& choice) const {
    Bytes bytes;
    for (std::size_t c = 0; c < choice.size(); ++c) bytes += bytes_of(candidates_[c], choice[c]);
    return bytes;
  }

  // Resident weights, the ring and the buffer of direct reads, each as its arena.
  [[nodiscard]] Bytes needed(const Choice& choice) const { return needed(weights_ - total(choice), slots_of(choice)); }
  [[nodiscard]] Bytes needed(Bytes resident, const std::vector<Bytes>& slots) const {
    const Bytes ring = ring_bytes(slots);
    Bytes sum = arena_size(TierKind::Ram, resident);
    if (ring.value > 0) sum += arena_size(TierKind::Ram, ring) + buffer_;
    return sum;
  }
  [[nodiscard]] std::vector<Bytes> slots_of(const Choice& choice) const {
    std::vector<Bytes> slots;
    for (std::size_t c = 0; c < choice.size(); ++c) slots.push_back(bytes_of(candidates_[c], choice[c]));
    return slots;
  }

  // Makes tensors resident again as long as there is room: the largest that fit first, evenly over the layers.
  void keep_what_fits(Choice& choice) const {
    struct Streamed {
      Bytes bytes;
      double place;
      std::size_t candidate;
      std::uint32_t bit;
    };
    std::vector<Streamed> order;
    for (std::size_t c = 0; c < choice.size(); ++c) {
      for (std::uint32_t i = 0; i < candidates_[c].sizes.size(); ++i) {
        if ((choice[c] >> i & 1U) != 0) order.push_back({candidates_[c].sizes[i], scattered(c), c, 1U << i});
      }
    }
    std::ranges::sort(order, [](const Streamed& a, const Streamed& b) {
      return a.bytes != b.bytes ? a.bytes > b.bytes : a.place < b.place;
    });
    std::vector<Bytes> slots = slots_of(choice);
    Bytes resident = weights_ - total(choice);
    // The ring may shrink with what becomes resident, so that more fits; or grow, as turns that one between them kept
    // apart come to follow each other.
    for (int round = 0; round < 2; ++round) {
      for (const Streamed& one : order) {
        if ((choice[one.candidate] & one.bit) == 0) continue;
        slots[one.candidate] -= one.bytes;
        if (needed(resident + one.bytes, slots) > room_) {
          slots[one.candidate] += one.bytes;
          continue;
        }
        choice[one.candidate] &= ~one.bit;
        resident += one.bytes;
      }
    }
  }
  // Numbers for 0, 1, 2, ... of which any first few lie far apart (multiples of the golden ratio, without whole parts).
  static double scattered(std::size_t place) {
    const double turns = static_cast<double>(place + 1) * 0.6180339887498949;
    return turns - static_cast<double>(static_cast<std::uint64_t>(turns));
  }

  [[nodiscard]] std::optional<Placement> finish(const Choice& choice) {
    for (std::size_t c = 0; c < choice.size(); ++c) {
      for (std::size_t i = 0; i < candidates_[c].tensors.size(); ++i) {
        if ((choice[c] >> i & 1U) != 0) placement_.streamed[static_cast<std::size_t>(candidates_[c].tensors[i])] = true;
      }
    }
    if (tied_here()) {
      const model::TensorIndex table = task_.program.groups.front().tensors().front();
      placement_.embedding_on_disk =
          placement_.groups.front().device == kCpu && placement_.streamed[static_cast<std::size_t>(table)];
    }
    if (!within_budgets(task_.lay_out(placement_))) return std::nullopt;
    return placement_;
  }

  const PlacementTask& task_;
  Placement placement_;
  std::vector<Candidate> candidates_;
  Bytes room_;     // of RAM for weights and stream
  Bytes weights_;  // of RAM with everything resident
  Bytes buffer_;   // the arena of direct reads
};

}  // namespace

std::optional<Placement> choose_stream(const PlacementTask& task, Placement placement) {
  return StreamChoice(task, std::move(placement)).run();
}

}  // namespace loadline::plan

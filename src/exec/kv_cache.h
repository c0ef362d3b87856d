// Which pages of the KV cache belong to which sequence. The bytes are the devices'; this is only the bookkeeping.
#pragma once

#include <cstdint>
#include <vector>

namespace loadline::exec {

// Sequences grow at their end and are cut at their end; cell i of a sequence holds position i. Allocates only when
// constructed. Not thread-safe.
class KvCache {
 public:
  // No sequence grows beyond `most_cells`: what attention's workspace was planned for.
  KvCache(std::uint32_t pages, std::uint32_t sequences, std::uint32_t most_cells);

  [[nodiscard]] std::uint32_t sequences() const { return static_cast<std::uint32_t>(sequences_.size()); }
  [[nodiscard]] std::uint32_t length(std::uint32_t sequence) const { return sequences_[sequence].length; }
  // Cells that could still be added to the sequence, if no other takes their pages.
  [[nodiscard]] std::uint32_t room(std::uint32_t sequence) const;
  // Page numbers of the sequence; as many as its length needs.
  [[nodiscard]] const std::uint32_t* pages(std::uint32_t sequence) const { return sequences_[sequence].pages.data(); }

  // Adds cells. False, with nothing changed, where there is no room.
  bool extend(std::uint32_t sequence, std::uint32_t cells);
  // Keeps the first `length` cells (at most what it has) and gives free pages back.
  void truncate(std::uint32_t sequence, std::uint32_t length);

 private:
  struct Sequence {
    std::uint32_t length = 0;
    std::vector<std::uint32_t> pages;
  };
  std::uint32_t most_cells_;
  std::vector<Sequence> sequences_;
  std::vector<std::uint32_t> free_;  // a stack; the lowest page number on top
};

}  // namespace loadline::exec

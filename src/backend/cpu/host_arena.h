// One allocation of system memory: whole pages, huge where that pays, brought in before use and never lazily.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace loadline::cpu {

// Owns its memory, zeroed. Movable. Constructed, it is only reserved; `require` brings it in.
class HostArena {
 public:
  HostArena() = default;
  // `huge_pages`: of 2 MiB, where the system has them. Throws Error(DoesNotFit) where it refuses; `name` is for the
  // message.
  HostArena(Bytes size, bool huge_pages, std::string_view name);
  HostArena(HostArena&& other) noexcept;
  HostArena& operator=(HostArena&& other) noexcept;
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;
  ~HostArena();

  // Returns once the pages of [begin, end) are in memory. Any number of threads may ask, for the same bytes too: a page
  // is brought in by one of them, and whoever finds one missing brings in some that follow as well. False where the
  // system has no more memory.
  [[nodiscard]] bool require(std::uint64_t begin, std::uint64_t end) noexcept;

  // The same memory with another size: what is in both stays where it is from the beginning, in memory or not. Throws
  // as construction does, and leaves it as it was then.
  void resize(Bytes size, bool huge_pages, std::string_view name);

  // What is brought in at once.
  static constexpr std::uint64_t kStep = std::uint64_t{2} << 20;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] Bytes size() const { return size_; }
  // Bytes of it that the system has pages for, by its own account: in memory (mincore), or swapped out (pagemap).
  [[nodiscard]] Bytes held() const;

 private:
  enum class Step : std::uint8_t { Reserved, InHand, Present, Refused };
  struct Steps {
    explicit Steps(std::uint64_t size) : states((size + kStep - 1) / kStep) {}
    std::vector<std::atomic<Step>> states;
    std::atomic<std::uint64_t> ahead{0};  // where to look for one that nobody has in hand
  };

  bool bring_in_more(std::uint64_t step) noexcept;
  bool bring_in(std::uint64_t step) noexcept;
  [[nodiscard]] bool populate(std::uint64_t begin, std::uint64_t end) const noexcept;

  std::byte* data_ = nullptr;
  Bytes size_;
  std::unique_ptr<Steps> steps_;
};

}  // namespace loadline::cpu

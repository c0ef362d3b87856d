// Bytes: the one type for sizes and offsets, and how people write and read them.
// It does not know where the bytes are; that is a region of the plan.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace loadline {

// A count of bytes. Converts from an integer only explicitly, so that a number of elements cannot pass for a size.
struct Bytes {
  std::uint64_t value = 0;

  constexpr Bytes() = default;
  constexpr explicit Bytes(std::uint64_t count) : value(count) {}

  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) {
    value += other.value;
    return *this;
  }
  constexpr Bytes& operator-=(Bytes other) {
    value -= other.value;
    return *this;
  }
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(a.value + b.value); }
  friend constexpr Bytes operator-(Bytes a, Bytes b) { return Bytes(a.value - b.value); }
  friend constexpr Bytes operator*(Bytes a, std::uint64_t n) { return Bytes(a.value * n); }
  friend constexpr Bytes operator*(std::uint64_t n, Bytes a) { return Bytes(a.value * n); }
  friend constexpr Bytes operator/(Bytes a, std::uint64_t n) { return Bytes(a.value / n); }
};

inline constexpr Bytes kKiB{std::uint64_t{1} << 10};
inline constexpr Bytes kMiB{std::uint64_t{1} << 20};
inline constexpr Bytes kGiB{std::uint64_t{1} << 30};

// Rounds up to a multiple of `alignment`, which must not be zero.
constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
constexpr Bytes align_up(Bytes size, Bytes alignment) { return Bytes(align_up(size.value, alignment.value)); }

// "4.58 GiB", "288 MiB", "17.3 KiB", "12 B": three significant digits, binary units.
std::string to_string(Bytes size);

// Reads a size as people write it: "11.5GiB", "11.5 GiB", "11776M", "512k", "123" (bytes); case does not matter.
// Ki/Mi/Gi/Ti and the bare letters k, M, G, T are binary (as in llama.cpp and nvidia-smi); kB, MB, GB, TB are decimal.
// A fraction of a byte is dropped. Throws Error(BadInput) that quotes `text` and names `what` ("--vram") for anything
// else, negative sizes and those above 4 EiB included.
Bytes parse_bytes(std::string_view text, std::string_view what);

}  // namespace loadline

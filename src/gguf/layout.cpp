#include "gguf/layout.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace loadline::gguf {
namespace {

constexpr std::uint64_t kMinAlignment = 8;  // the specification asks for a multiple of 8
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 20;

// ggml counts elements and bytes in int64; so does everything computed from them here.
constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int64_t>::max();

}  // namespace

std::uint64_t checked_alignment(const Metadata& metadata) {
  const std::uint64_t alignment = metadata.get_unsigned("general.alignment").value_or(kDefaultAlignment);
  if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
    throw bad_input(fmt::format("general.alignment is {}, not a power of two from {} to {}", alignment, kMinAlignment,
                                kMaxAlignment),
                    kDamagedHint);
  }
  return alignment;
}

Bytes checked_tensor_size(std::string_view name, quant::TensorType type, std::span<const std::uint64_t> shape) {
  if (shape.empty() || shape.size() > kMaxDimensions) {
    throw bad_input(fmt::format("tensor {} has {} dimensions (1 to {} are possible)", printable(name), shape.size(),
                                kMaxDimensions),
                    kDamagedHint);
  }
  std::uint64_t elements = 1;
  bool too_large = false;
  bool empty = false;
  for (const std::uint64_t dimension : shape) {
    empty = empty || dimension == 0;
    too_large = too_large || __builtin_mul_overflow(elements, dimension, &elements) || elements > kMaxCount;
  }
  if (empty) {
    throw bad_input(fmt::format("tensor {} has an empty dimension ({})", printable(name), fmt::join(shape, " x ")),
                    kDamagedHint);
  }
  const quant::Format& format = quant::format_of(type);
  std::uint64_t bytes = 0;
  too_large = too_large || __builtin_mul_overflow(elements / format.block_elements, format.block_bytes, &bytes) ||
              bytes > kMaxCount;
  if (too_large) {
    throw bad_input(fmt::format("tensor {} is impossibly large ({})", printable(name), fmt::join(shape, " x ")),
                    kDamagedHint);
  }
  if (shape.front() % format.block_elements != 0) {
    throw bad_input(fmt::format("tensor {} has rows of {} values, but {} stores {} values at a time", printable(name),
                                shape.front(), format.name, format.block_elements),
                    kDamagedHint);
  }
  return Bytes(bytes);
}

void check_tensor_name(std::string_view name) {
  if (name.empty()) throw bad_input("a tensor has no name", kDamagedHint);
  if (name.size() > kMaxNameLength) {
    throw bad_input(fmt::format("the name of a tensor is {} bytes long", grouped(name.size())), kDamagedHint);
  }
}

void check_key(std::string_view key) {
  if (key.empty()) throw bad_input("a metadata key is empty", kDamagedHint);
  if (key.size() > kMaxKeyLength) {
    throw bad_input(fmt::format("a metadata key is {} bytes long", grouped(key.size())), kDamagedHint);
  }
}

}  // namespace loadline::gguf

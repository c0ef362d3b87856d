#include "backend/vulkan/units_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "backend/vulkan/operations.h"

namespace loadline::vulkan {
namespace {

// Not whole tiles, so that edges are seen too.
constexpr std::uint32_t kRows = 100;
constexpr std::uint32_t kMostTokens = 70;
// Those that different shaders of products of bytes take.
constexpr std::uint32_t kDotsTokens[] = {1, 5, kMostTokens};
constexpr std::uint32_t kColumns = 768;
constexpr const char* kChecking = "checking its fast products";

// float16 keeps eleven bits of each side: of a sum of hundreds of products, an error of 3e-4 of a token's results in
// the mean. What is wrong is wrong by as much as the results themselves.
// A byte is off by a quarter of a percent of the largest of its neighbours.
struct Bounds {
  double mean, most;
};
constexpr Bounds kOfUnits{4e-3, 5e-2};
constexpr Bounds kOfDots{1.5e-2, 1e-1};

// Numbers between -1 and 1 that any implementation makes alike.
class Numbers {
 public:
  float next() { return static_cast<float>(static_cast<std::int32_t>(step())) * 0x1p-31F; }
  std::byte next_byte() { return static_cast<std::byte>(step() >> 24); }

 private:
  std::uint32_t step() { return state_ = state_ * 1664525U + 1013904223U; }

  std::uint32_t state_ = 12345;
};

bool agree(std::span<const float> plain, std::span<const float> units, const Bounds& bounds) {
  double square = 0;
  double difference = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    square += double{plain[i]} * plain[i];
    difference += (double{units[i]} - plain[i]) * (double{units[i]} - plain[i]);
  }
  const double mean = std::sqrt(square / static_cast<double>(plain.size()));
  for (std::size_t i = 0; i < plain.size(); ++i) {
    // Written so that what is not a number disagrees.
    if (!(std::fabs(double{units[i]} - plain[i]) <= bounds.most * mean)) return false;
  }
  return std::sqrt(difference) <= bounds.mean * std::sqrt(square);
}

// As the device does it at best, and plainly.
bool products_agree(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory,
                    quant::TensorType format, Address codebooks, std::uint32_t tokens, const Bounds& bounds) {
  Bytes used;
  const auto take = [&](Bytes size) {
    Place place = memory;
    place.address += used.value;
    place.data += used.value;
    used = align_up(used + size, Bytes(256));
    return place;
  };
  const Bytes row_bytes = quant::size_of(format, kColumns);
  const Place table = take(Bytes(16));
  const Place weights = take(row_bytes * kRows);
  const Place x = take(Bytes(tokens * kColumns * sizeof(float)));
  const Bytes result_bytes(tokens * kRows * sizeof(float));
  const Place plain = take(result_bytes);
  const Place units = take(result_bytes);

  const std::uint32_t counts[4] = {tokens, 0, 0, 0};
  std::memcpy(table.data, counts, sizeof counts);
  Numbers numbers;
  std::vector<float> row(kColumns);
  for (std::uint32_t r = 0; r < kRows; ++r) {
    std::byte* const bytes = weights.data + row_bytes.value * r;
    if (quant::format_of(format).encode == nullptr) {
      // Any bytes are weights; without their highest bits no scale is large, or not a number.
      for (std::uint64_t i = 0; i < row_bytes.value; ++i) bytes[i] = numbers.next_byte() & std::byte{0x3F};
      continue;
    }
    for (float& value : row) value = 0.05F * numbers.next();
    quant::encode_row(format, row.data(), bytes, row.size());
  }
  for (std::uint32_t t = 0; t < tokens; ++t) {
    // Beyond float16's range and far below it, as well as what is usual.
    const float scale = t % 3 == 0 ? 1.0F : t % 3 == 1 ? 3e5F : 1e-6F;
    for (float& value : row) value = scale * numbers.next();
    std::memcpy(x.data + t * kColumns * sizeof(float), row.data(), kColumns * sizeof(float));
  }
  std::memset(units.data, 0xFF, result_bytes.value);  // not numbers

  ProductArguments arguments;
  arguments.weights = weights.address;
  arguments.x = x.address;
  arguments.table = table.address;
  arguments.columns = kColumns;
  arguments.row_bytes = static_cast<std::uint32_t>(row_bytes.value);
  arguments.end_row = kRows;
  arguments.result_stride = kRows;
  Operations operations(context, pipelines, codebooks);
  CommandList list(context);
  list.begin(false);
  arguments.result = plain.address;
  operations.product(list, format, arguments, tokens, Operations::Arithmetic::Plain);
  arguments.result = units.address;
  operations.product(list, format, arguments, tokens);
  list.barrier_to_host();
  list.end();
  try {
    timeline.wait(timeline.submit(list, kChecking), kChecking);
  } catch (...) {
    timeline.drain();  // the list must not go before its work
    throw;
  }
  for (std::size_t t = 0; t < tokens; ++t) {
    const auto results = [&](const Place& place) {
      return std::span(reinterpret_cast<const float*>(place.data) + t * kRows, kRows);
    };
    if (!agree(results(plain), results(units), bounds)) return false;
  }
  return true;
}

void want(Context& context, Pipelines& pipelines, quant::TensorType format, Address codebooks, std::uint32_t tokens) {
  Operations operations(context, pipelines, codebooks);
  CommandList list(context);
  ProductArguments arguments;
  arguments.columns = kColumns;
  arguments.end_row = kRows;
  operations.product(list, format, arguments, tokens, Operations::Arithmetic::Plain);
  operations.product(list, format, arguments, tokens);
}

}  // namespace

void want_units_check(Context& context, Pipelines& pipelines, quant::TensorType format, Address codebooks) {
  want(context, pipelines, format, codebooks, kMostTokens);
}

void want_dots_check(Context& context, Pipelines& pipelines, quant::TensorType format,
                     std::span<const std::uint32_t> tokens) {
  for (const std::uint32_t count : tokens) want(context, pipelines, format, 0, count);
}

std::span<const std::uint32_t> dots_tokens(const Context& context, std::uint32_t batch) {
  const std::span<const std::uint32_t> all = kDotsTokens;
  return batch <= kMostVectorRows || context.matrix_units() ? all.first(all.size() - 1) : all;
}

bool matrix_units_agree(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory,
                        quant::TensorType format, Address codebooks) {
  return products_agree(context, pipelines, timeline, memory, format, codebooks, kMostTokens, kOfUnits);
}

bool integer_dots_agree(Context& context, Pipelines& pipelines, Timeline& timeline, const Place& memory,
                        quant::TensorType format, std::span<const std::uint32_t> tokens) {
  return std::ranges::all_of(tokens, [&](std::uint32_t count) {
    return products_agree(context, pipelines, timeline, memory, format, 0, count, kOfDots);
  });
}

}  // namespace loadline::vulkan

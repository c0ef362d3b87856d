#include "selftest/workbench.h"

#include <fmt/format.h>

#include <algorithm>

#include "authoring/random_blocks.h"
#include "base/clock.h"
#include "quant/packed_codebooks.h"
#include "selftest/checks.h"

namespace loadline::selftest {
namespace {

constexpr const char* kDoing = "being tested";

}  // namespace

Floats random_floats(std::size_t count, Random& random) {
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

Workbench::Workbench(const vulkan::DeviceOptions& options)
    : context(options),
      pipelines(context),
      codebooks(buffer(quant::packed_codebooks())),
      operations(context, pipelines, codebooks.address()),
      timeline(context) {}

vulkan::Buffer Workbench::buffer(std::size_t bytes, int fill) {
  vulkan::Buffer made(context, vulkan::MemoryKind::Host, Bytes(align_up(std::max<std::size_t>(bytes, 1), 256)),
                      "a check");
  std::memset(made.data(), fill, made.size().value);
  return made;
}

double Workbench::run(const std::function<void(vulkan::CommandList&)>& record) {
  vulkan::CommandList list(context);
  list.begin(false);
  record(list);
  list.barrier_to_host();
  list.end();
  const double begin = steady_seconds();
  try {
    timeline.wait(timeline.submit(list, kDoing), kDoing);
  } catch (...) {
    timeline.drain();  // the list must not go before its work
    throw;
  }
  const double seconds = steady_seconds() - begin;
  context.check_messages();
  return seconds;
}

Matrix::Matrix(quant::TensorType format, std::uint32_t row_count, std::uint32_t column_count, std::uint64_t seed)
    : type(format),
      rows(row_count),
      columns(column_count),
      row_bytes(static_cast<std::uint32_t>(quant::size_of(format, column_count).value)),
      file(std::size_t{row_bytes} * row_count),
      values(std::size_t{row_count} * column_count) {
  authoring::RandomWords words(seed);
  authoring::fill_random_blocks(type, 1.0F, words, file);
  quant::decode_row(type, file.data(), values.data(), values.size());
}

Wanted product_of(std::span<const float> row, std::span<const float> x) {
  double sum = 0;
  double magnitudes = 0;
  double largest = 0;
  double total = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const double product = double{row[i]} * x[i];
    sum += product;
    magnitudes += std::fabs(product);
    largest = std::max(largest, std::fabs(double{row[i]}));
    total += std::fabs(double{x[i]});
  }
  // The second term is for formats whose values are differences (scale * q - min): the difference may be small.
  return {sum, 4e-6 * magnitudes + 2e-6 * largest * total / 16 + 1e-30};
}

std::string Comparison::text() const {
  return fmt::format("{} values, at most {:.0f} % of what rounding explains", values_, worst_ * 100);
}

void Comparison::expect(double seen, double wanted, double tolerance, std::string_view what, std::uint32_t token,
                        std::uint32_t row) {
  const double difference = std::fabs(seen - wanted);
  ++values_;
  if (difference <= tolerance) {
    worst_ = std::max(worst_, difference / tolerance);
    return;
  }
  throw Mismatch(fmt::format("{}: token {}, row {} is {:.6g} where {:.6g} is right", what, token, row, seen, wanted));
}

}  // namespace loadline::selftest

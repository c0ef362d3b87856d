// What the card is and can do: nothing here says that it computes rightly.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "backend/vulkan/context_cost.h"
#include "backend/vulkan/measure.h"
#include "base/error.h"
#include "engine/measure_gpu.h"
#include "selftest/checks.h"
#include "selftest/workbench.h"

namespace loadline::selftest {
namespace {

using vulkan::Buffer;
using vulkan::CommandList;
using vulkan::MemoryKind;

void see_capabilities(Subject& subject, Row& row) {
  Workbench bench(subject.options);
  const vulkan::Limits& limits = bench.context.limits();
  const auto units = bench.context.matrix_units();
  subject.matrix_units = units.has_value();
  subject.integer_dots = bench.context.integer_dots();
  row.verdict = Verdict::Measured;
  row.said = fmt::format(
      "subgroups of {}{}, {} of shared memory, {} in one allocation, {}, {}; {}", limits.lanes,
      limits.fixed_lanes ? "" : " (not fixed)", to_string(Bytes(limits.shared_memory)),
      to_string(limits.largest_allocation),
      units ? fmt::format("matrix units {} x {} x {}", units->rows, units->tokens, units->depth) : "no matrix units",
      subject.integer_dots ? "fast products of bytes" : "no fast products of bytes",
      bench.context.heap_use() ? "says what is free" : "does not say what is free");
  row.figures = {{"subgroup", static_cast<double>(limits.lanes), "lanes"},
                 {"shared memory", static_cast<double>(limits.shared_memory), "bytes"},
                 {"largest allocation", static_cast<double>(limits.largest_allocation.value), "bytes"},
                 {"workgroups", static_cast<double>(limits.most_workgroups), "along one dimension"},
                 {"matrix units", units ? 1.0 : 0.0, "1"},
                 {"products of bytes", subject.integer_dots ? 1.0 : 0.0, "1"}};
}

// What a usual model's shaders need to be made, without anything kept and with what the first start kept. What the
// driver keeps for itself is not seen: it may make the first start shorter than it was when the driver was new.
void see_start(Subject& subject, Row& row) {
  constexpr double kFirst = 3;
  constexpr double kLater = 0.5;
  vulkan::DeviceOptions options = subject.options;
  options.cache_folder = subject.models.folder() / "cache";
  const double first = vulkan::measure_start(options);
  subject.check_time();
  const double later = vulkan::measure_start(options);
  row.verdict = first <= kFirst && later <= kLater ? Verdict::Passed : Verdict::Missed;
  if (subject.software()) row.verdict = Verdict::Measured;  // llvmpipe keeps nothing of what it compiled
  row.said = fmt::format("{:.2f} s at first, {:.2f} s later ({} s and {} s are meant)", first, later, kFirst, kLater);
  row.figures = {{"first", first, "s"}, {"later", later, "s"}};
}

void see_rates(Subject& subject, Row& row) {
  const hardware::Gpu before = subject.gpu();
  engine::measure_gpu(subject.gpu(), [&](std::string_view, double) { subject.check_time(); });
  const hardware::Gpu& gpu = subject.gpu();
  row.verdict = Verdict::Measured;
  row.said = fmt::format("reads {:.1f} GB/s, from RAM {:.1f} GB/s, float32 {:.2f} Tops", gpu.memory_bandwidth / 1e9,
                         gpu.host_bandwidth / 1e9, gpu.float_ops / 1e12);
  if (before.memory_bandwidth > 0) {
    row.said += fmt::format(" (the data sheet says {:.0f} GB/s)", before.memory_bandwidth / 1e9);
  }
  row.figures = {{"memory", gpu.memory_bandwidth, "bytes/s"},
                 {"copies from RAM", gpu.host_bandwidth, "bytes/s"},
                 {"float32", gpu.float_ops, "operations/s"}};
}

void see_context(Subject& subject, Row& row) {
  const vulkan::ContextCost cost = vulkan::measure_context(subject.options);
  row.verdict = Verdict::Measured;
  row.said = fmt::format("{} of its memory, {} of RAM", cost.device ? to_string(*cost.device) : "an unknown part",
                         to_string(cost.host));
  if (cost.device) row.figures.push_back({"device", static_cast<double>(cost.device->value), "bytes"});
  row.figures.push_back({"RAM", static_cast<double>(cost.host.value), "bytes"});
}

// The largest square product in float16 that a card of this kind takes in a moment: what prompts are compared with.
double square_product(Workbench& bench, std::uint32_t size, vulkan::Operations::Arithmetic arithmetic) {
  const Bytes weight_bytes(std::uint64_t{size} * size * 2);
  const Bytes other_bytes(std::uint64_t{size} * size * 4);
  const Buffer weights(bench.context, MemoryKind::Device, weight_bytes, "a check");
  const Buffer x(bench.context, MemoryKind::Device, other_bytes, "a check");
  const Buffer out(bench.context, MemoryKind::Device, other_bytes, "a check");
  const Buffer table = bench.table(size);
  const Buffer ones = bench.buffer(1 << 20, 0x3C);  // float16 about 1, and float32 about 0.01
  const auto fill = [&](const Buffer& target) {
    bench.run([&](CommandList& list) {
      for (Bytes at; at < target.size(); at += ones.size()) {
        list.copy({ones.handle(), 0, ones.address(), nullptr}, {target.handle(), at.value, target.address(), nullptr},
                  std::min(ones.size(), target.size() - at));
      }
    });
  };
  fill(weights);
  fill(x);
  vulkan::ProductArguments arguments;
  arguments.weights = weights.address();
  arguments.x = x.address();
  arguments.result = out.address();
  arguments.table = table.address();
  arguments.columns = arguments.end_row = arguments.result_stride = size;
  arguments.row_bytes = size * 2;
  double best = 1e30;
  for (int i = 0; i < 4; ++i) {
    best = std::min(best, bench.run([&](CommandList& list) {
      bench.operations.product(list, quant::TensorType::F16, arguments, size, arithmetic);
    }));
  }
  return 2.0 * size * size * size / best;
}

void see_products(Subject& subject, Row& row) {
  Workbench bench(subject.options);
  std::uint32_t size = subject.software() ? 256 : 8192;
  const Bytes room(std::min(subject.gpu().free.value / 2, bench.context.limits().largest_allocation.value * 2));
  while (size > 256 && Bytes(std::uint64_t{size} * size * 10) > room) size /= 2;
  const double plain = square_product(bench, size, vulkan::Operations::Arithmetic::Plain);
  row.verdict = Verdict::Measured;
  row.said = fmt::format("{0} x {0} x {0} in float16: {1:.2f} Tops plain", size, plain / 1e12);
  row.figures = {{"plain", plain, "operations/s"}};
  double best = plain;
  if (bench.context.matrix_units()) {
    subject.check_time();
    const double units = square_product(bench, size, vulkan::Operations::Arithmetic::Best);
    row.said += fmt::format(", {:.2f} Tops with matrix units", units / 1e12);
    row.figures.push_back({"matrix units", units, "operations/s"});
    best = std::max(best, units);
  }
  subject.square_product = best;
}

}  // namespace

void add_card_checks(Checks& checks) {
  checks.push_back({"card", "capabilities", 0, see_capabilities});
  checks.push_back({"card", "rates", 0, see_rates});
  checks.push_back({"card", "context", 0, see_context});
  checks.push_back({"card", "square products", 2, see_products});
  checks.push_back({"card", "start", 2, see_start});
}

}  // namespace loadline::selftest

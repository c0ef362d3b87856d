#include "backend/cpu/row_steps.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/run_shares.h"

namespace loadline::cpu {
namespace {

// Values that a thread takes at once, at least: less is not worth the claim.
constexpr std::uint64_t kLeastValues = 2048;

// Of `rows` rows, this thread's: some columns of each where they are few, else some rows.
template <class Function>
void share_rows(WorkQueue& queue, const Pass& pass, std::uint32_t rows, std::uint64_t width, int thread, Function&& f) {
  if (rows <= kFew) {
    const Part part = part_of(width, kTileRows, thread, pass.threads);
    for (std::uint64_t t = 0; t < rows && part.begin < part.end; ++t) f(t, part.begin, part.end);
    return;
  }
  claim_all(queue, pass, rows, std::max<std::uint64_t>(1, kLeastValues / width),
            [&](std::uint64_t begin, std::uint64_t end) {
              for (std::uint64_t t = begin; t < end; ++t) f(t, std::uint64_t{0}, width);
            });
}

void map_row(const MapStep& step, const VectorKernels& kernels, std::uint64_t t, std::uint64_t begin,
             std::uint64_t end) {
  using Kind = MapStep::Kind;
  const std::uint64_t at = t * step.width + begin;
  const std::uint64_t count = end - begin;
  const float* a = step.a + at;
  float* out = step.out + at;
  switch (step.kind) {
    case Kind::Activate: return kernels.activate(step.function, a, nullptr, out, count);
    case Kind::Gate: return kernels.activate(step.function, step.b + at, a, out, count);
    case Kind::AddScaled:
      if (out == step.b + at && a != out) {  // the sum grows where b is
        if (step.factor != 1) kernels.scale(out, step.factor, count);
        return kernels.add_scaled(out, a, 1, count);
      }
      if (out != a) std::memcpy(out, a, count * sizeof(float));
      return kernels.add_scaled(out, step.b + at, step.factor, count);
    case Kind::GateByRow: {
      float factor = 0;
      kernels.activate(step.function, step.b + t, nullptr, &factor, 1);
      if (out != a) std::memcpy(out, a, count * sizeof(float));
      return kernels.scale(out, factor, count);
    }
    case Kind::Scale:
      if (out != a) std::memcpy(out, a, count * sizeof(float));
      return kernels.scale(out, step.tensor != nullptr ? step.factor * step.tensor[0] : step.factor, count);
    case Kind::AddVector:
      if (out != a) std::memcpy(out, a, count * sizeof(float));
      return kernels.add_scaled(out, step.tensor + begin, 1, count);
    case Kind::Clamp:
      for (std::uint64_t i = 0; i < count; ++i) out[i] = std::clamp(a[i], -step.factor, step.factor);
      return;
  }
}

}  // namespace

void run(const NormStep& step, const Pass& pass, WorkQueue& queue, int thread) {
  const VectorKernels& kernels = *pass.kernels->vectors;
  const std::uint32_t rows = pass.rows(step.after_select);
  const auto normalise = [&](std::uint64_t row, std::uint64_t part, std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t at = row * step.width + step.offset + part * step.part;
    Norm norm = step.norm;
    if (step.weight_per_part) {
      if (norm.weight != nullptr) norm.weight += part * step.part;
      if (norm.bias != nullptr) norm.bias += part * step.part;
    }
    kernels.norm(norm, step.x + at, step.out + at, step.part, begin, end);
  };
  // A row alone in columns, which all threads read whole; in place that would not do.
  if (step.parts == 1 && rows <= kFew && step.x != step.out) {
    return share_rows(queue, pass, rows, step.part, thread,
                      [&](std::uint64_t t, std::uint64_t begin, std::uint64_t end) { normalise(t, 0, begin, end); });
  }
  claim_all(queue, pass, std::uint64_t{rows} * step.parts, std::max<std::uint64_t>(1, kLeastValues / step.part),
            [&](std::uint64_t begin, std::uint64_t end) {
              for (std::uint64_t i = begin; i < end; ++i) normalise(i / step.parts, i % step.parts, 0, step.part);
            });
}

void run(const MapStep& step, const Pass& pass, WorkQueue& queue, int thread) {
  const VectorKernels& kernels = *pass.kernels->vectors;
  share_rows(queue, pass, pass.rows(step.after_select), step.width, thread,
             [&](std::uint64_t t, std::uint64_t begin, std::uint64_t end) { map_row(step, kernels, t, begin, end); });
}

void run(const SplitStep& step, const Pass& pass, WorkQueue& queue) {
  std::uint64_t whole = 0;
  for (const std::uint32_t width : step.widths) whole += width;
  const std::uint64_t items = std::uint64_t{pass.rows(step.after_select)} * step.repeats;
  claim_all(queue, pass, items, std::max<std::uint64_t>(1, kLeastValues / whole),
            [&](std::uint64_t begin, std::uint64_t end) {
              for (std::uint64_t item = begin; item < end; ++item) {
                const float* from = step.x + item * whole;
                for (std::size_t i = 0; i < step.outs.size(); ++i) {
                  std::memcpy(step.outs[i] + item * step.widths[i], from, step.widths[i] * sizeof(float));
                  from += step.widths[i];
                }
              }
            });
}

void run(const RopeStep& step, const Pass& pass, WorkQueue& queue) {
  const backend::Batch& batch = *pass.batch;
  const std::uint64_t items = std::uint64_t{batch.tokens.size()} * step.heads;
  claim_all(queue, pass, items, std::max<std::uint64_t>(1, kLeastValues / step.head_dim),
            [&](std::uint64_t begin, std::uint64_t end) {
              for (std::uint64_t item = begin; item < end; ++item) {
                const std::uint64_t angles = item / step.heads * (step.rotary / 2);
                const backend::RopeAngles& table = batch.ropes[step.table];
                pass.kernels->rope(step.x + item * step.head_dim + step.offset, 1, step.head_dim, step.rotary,
                                   table.cosines + angles, table.sines + angles, step.neox);
              }
            });
}

}  // namespace loadline::cpu

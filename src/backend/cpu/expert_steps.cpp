#include "backend/cpu/expert_steps.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "backend/cpu/run_shares.h"
#include "quant/format.h"

namespace loadline::cpu {
namespace {

using quant::ActivationKind;

// Tiles of many tokens that are claimed at once, at least: a register block's worth.
constexpr std::uint64_t kLeastExpertTiles = 4;

// Of one row among several, which lie together.
std::size_t row_bytes_of(ActivationKind kind, std::uint64_t columns) {
  if (kind == ActivationKind::Float32) return align_up(columns, 16) * sizeof(float);
  return align_up(columns, quant::kActivationBlock) / quant::kActivationBlock * sizeof(quant::Int8Block);
}

// Tiles [begin, end) of several matrices, one after the other, `tiles` of each: f(which, begin, end) for the parts.
template <class Function>
void each_matrix(std::uint64_t begin, std::uint64_t end, std::uint64_t tiles, Function&& f) {
  while (begin < end) {
    const std::uint64_t which = begin / tiles;
    const std::uint64_t last = std::min(end, (which + 1) * tiles);
    f(which, begin - which * tiles, last - which * tiles);
    begin = last;
  }
}

// All tiles of `count` matrices: product(which) is the task of one. Of few tokens each thread reads a share of them in
// long runs, of two together where they lie in one matrix.
template <class Product>
void multiply_all(const Pass& pass, WorkQueue& queue, int use, int thread, bool few, std::uint64_t count,
                  std::uint64_t tiles, Product&& product) {
  const auto one = [&](std::uint64_t begin, std::uint64_t end) {
    each_matrix(begin, end, tiles, [&](std::uint64_t which, std::uint64_t from, std::uint64_t to) {
      const MatmulTask task = product(which);
      to = std::min(to, task.weights.tiles());
      if (from < to) pass.kernels->matmul(task, from, to, pass.stop);
    });
  };
  if (!few) return claim_all(queue, pass, count * tiles, kLeastExpertTiles, one);
  run_shares(
      *pass.shares, use, count * tiles, pass.threads, thread, [&] { return !pass.ending(); },
      [&](std::uint64_t begin, std::uint64_t end, std::uint64_t alongside) {
        const std::uint64_t which = begin / tiles;
        MatmulTask task = product(which);
        // Only a product of few rows reads two runs side by side; an expert may have all rows of a pass's tokens.
        if (alongside != 0 && task.tokens <= pass.kernels->few_tokens(task.weights.type) &&
            end + alongside <= which * tiles + task.weights.tiles()) {
          task.alongside = alongside;
          return pass.kernels->matmul(task, begin - which * tiles, end - which * tiles, pass.stop);
        }
        one(begin, end);
        if (alongside != 0) one(begin + alongside, end + alongside);
      });
}

// Counts and sorts: the experts' rows in the order of the experts, of each in the order of the tokens.
void sort_rows(const ExpertsSlot& slot, std::uint32_t tokens) {
  const ExpertTables& t = slot.tables;
  std::fill_n(t.begin, slot.experts + 1, 0U);
  const std::uint32_t rows = tokens * slot.used;
  for (std::uint32_t i = 0; i < rows; ++i) ++t.begin[slot.chosen[i].expert + 1];
  *t.count = 0;
  for (std::uint32_t e = 0; e < slot.experts; ++e) {
    if (t.begin[e + 1] > 0) t.active[(*t.count)++] = e;
    t.begin[e + 1] += t.begin[e];
  }
  for (std::uint32_t i = 0; i < rows; ++i) {
    const ChosenExpert& chosen = slot.chosen[i];
    const std::uint32_t row = t.begin[chosen.expert]++;
    t.expert[row] = static_cast<std::uint32_t>(chosen.expert);
    t.token[row] = i / slot.used;
    t.weight[row] = chosen.weight;
    t.rows_of[i] = row;
  }
  for (std::uint32_t e = slot.experts; e > 0; --e) t.begin[e] = t.begin[e - 1];
  t.begin[0] = 0;
  for (std::uint32_t i = 0; i < rows; i += slot.used) std::sort(t.rows_of + i, t.rows_of + i + slot.used);
}

void begin(const ExpertsSlot& slot, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t tokens = pass.rows(slot.after_select);
  if (thread == 0) sort_rows(slot, tokens);
  constexpr std::uint32_t kGroup = quant::kActivationTokens;
  claim_all(queue, pass, (tokens + kGroup - 1) / kGroup, 1, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint32_t i = 0; i < slot.input_count; ++i) {
      pass.kernels->prepare(
          slot.inputs[i].kind, slot.x, slot.width, slot.width, static_cast<std::uint32_t>(first * kGroup),
          static_cast<std::uint32_t>(std::min<std::uint64_t>(last * kGroup, tokens)), tokens, slot.inputs[i].prepared);
    }
  });
}

// Of one token every expert multiplies the same.
bool gathers(std::uint32_t tokens) { return tokens > 1; }

const std::byte* input_of(const ExpertsSlot& slot, std::uint32_t tokens, std::uint32_t input, std::uint32_t row) {
  const ExpertsSlot::Input& in = slot.inputs[input];
  if (!gathers(tokens)) return in.prepared;
  return in.gathered + row_bytes_of(in.kind, slot.width) * row;
}

void gather(const ExpertsSlot& slot, const Pass& pass, WorkQueue& queue) {
  const std::uint32_t tokens = pass.rows(slot.after_select);
  if (!gathers(tokens)) return;
  const ExpertTables& tables = slot.tables;
  claim_all(queue, pass, std::uint64_t{tokens} * slot.used, 1, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t row = first; row < last; ++row) {
      const std::uint32_t from = tables.begin[tables.expert[row]];
      const std::uint32_t count = tables.begin[tables.expert[row] + 1] - from;
      for (std::uint32_t i = 0; i < slot.input_count; ++i) {
        const ExpertsSlot::Input& in = slot.inputs[i];
        const std::size_t bytes = row_bytes_of(in.kind, slot.width);
        std::byte* to = in.gathered + bytes * from;
        // Int8 lies block by block, of all rows each.
        const std::uint64_t blocks =
            in.kind == ActivationKind::Int8 ? (slot.width + quant::kActivationBlock - 1) / quant::kActivationBlock : 1;
        const std::size_t block = bytes / blocks;
        for (std::uint64_t b = 0; b < blocks; ++b) {
          std::memcpy(to + (b * count + (row - from)) * block, in.prepared + (b * tokens + tables.token[row]) * block,
                      block);
        }
      }
    }
  });
}

// Up to so many rows are with one expert.
MatmulTask product_of(const ExpertsSlot& slot, const ExpertMatrices& matrices, std::uint32_t expert,
                      const std::byte* activations, float* out, std::uint64_t out_stride) {
  MatmulTask task{};
  task.weights = matrices.weights.at(expert);
  task.activations = activations;
  task.tokens = slot.tables.begin[expert + 1] - slot.tables.begin[expert];
  task.out = out;
  task.out_stride = out_stride;
  return task;
}

void up(const ExpertsSlot& slot, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t tokens = pass.rows(slot.after_select);
  const bool few = tokens <= kFewExpertTokens;
  const std::uint64_t tiles = std::max(slot.up.weights.tiles(), slot.gated ? slot.gate.weights.tiles() : 0);
  const std::uint64_t active = *slot.tables.count;
  const auto product = [&](bool of_gate, std::uint64_t which) {
    const std::uint32_t expert = slot.tables.active[which];
    const std::uint32_t row = slot.tables.begin[expert];
    const ExpertMatrices& matrices = of_gate ? slot.gate : slot.up;
    const std::uint64_t width = matrices.weights.width();
    const std::byte* in = input_of(slot, tokens, of_gate ? slot.gate_input : slot.up_input, row);
    return product_of(slot, matrices, expert, in, (of_gate ? slot.gate_out : slot.up_out) + row * width, width);
  };
  if (few) {
    if (slot.gated) {
      multiply_all(pass, queue, use_of(index, 0), thread, true, active, tiles,
                   [&](std::uint64_t which) { return product(true, which); });
    }
    return multiply_all(pass, queue, use_of(index, 1), thread, true, active, tiles,
                        [&](std::uint64_t which) { return product(false, which); });
  }
  // One after the other: the gates, then what they gate.
  const std::uint64_t gates = slot.gated ? active : 0;
  multiply_all(pass, queue, 0, thread, false, gates + active, tiles, [&](std::uint64_t which) {
    return which < gates ? product(true, which) : product(false, which - gates);
  });
}

// Finishes what a product left of columns [begin, end) of a row: times the expert's scale, times the weight where that
// comes before, plus the bias.
void finish_row(const ExpertsSlot& slot, const VectorKernels& kernels, const ExpertMatrices& matrices,
                std::uint64_t row, float* x, std::uint64_t begin, std::uint64_t count) {
  const std::uint32_t expert = slot.tables.expert[row];
  float factor = matrices.scale != nullptr ? matrices.scale[expert] : 1.0F;
  if (slot.weights_before) factor *= slot.tables.weight[row];
  if (factor != 1) kernels.scale(x, factor, count);
  if (matrices.bias != nullptr) kernels.add_scaled(x, matrices.bias + expert * matrices.bias_stride + begin, 1, count);
}

void hidden(const ExpertsSlot& slot, const Pass& pass, WorkQueue& queue) {
  const VectorKernels& kernels = *pass.kernels->vectors;
  const ExpertTables& tables = slot.tables;
  const std::uint64_t width = slot.up.weights.rows;
  constexpr std::uint64_t kBlock = quant::kActivationBlock;
  const std::uint64_t blocks = (width + kBlock - 1) / kBlock;
  const std::size_t row_bytes = row_bytes_of(slot.hidden_kind, width);
  const std::uint64_t rows = std::uint64_t{pass.rows(slot.after_select)} * slot.used;
  claim_all(queue, pass, rows * blocks, 1, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t item = first; item < last; ++item) {
      const std::uint64_t row = item / blocks;
      const std::uint64_t block = item % blocks;
      const std::uint64_t begin = block * kBlock;
      const std::uint64_t count = std::min(kBlock, width - begin);
      const auto values = [&](float* out, const ExpertMatrices& matrices) {
        return out + row * matrices.weights.width() + matrices.weights.shift(tables.expert[row]) + begin;
      };
      float* x = values(slot.up_out, slot.up);
      finish_row(slot, kernels, slot.up, row, x, begin, count);
      if (slot.gated) {
        float* gate = values(slot.gate_out, slot.gate);
        finish_row(slot, kernels, slot.gate, row, gate, begin, count);
        kernels.activate(slot.function, gate, x, x, count);
      } else {
        kernels.activate(slot.function, x, nullptr, x, count);
      }
      const std::uint32_t from = tables.begin[tables.expert[row]];
      const std::uint32_t all = tables.begin[tables.expert[row] + 1] - from;
      std::byte* to = slot.hidden + row_bytes * from;
      if (slot.hidden_kind == ActivationKind::Int8) {
        to += (block * all + (row - from)) * sizeof(quant::Int8Block);
      } else {
        to += (row - from) * row_bytes + begin * sizeof(float);
      }
      pass.kernels->prepare(slot.hidden_kind, x, count, count, 0, 1, 1, to);
    }
  });
}

// Adds `count` columns of an expert's result to a token's.
void add_result(const ExpertsSlot& slot, const VectorKernels& kernels, std::uint64_t row, const float* result,
                std::uint64_t column, std::uint64_t count) {
  const std::uint32_t expert = slot.tables.expert[row];
  const float weight = slot.weights_before ? 1.0F : slot.tables.weight[row];
  float* out = slot.out + slot.tables.token[row] * slot.out_width + column;
  kernels.add_scaled(out, result, slot.down.scale != nullptr ? weight * slot.down.scale[expert] : weight, count);
  if (slot.down.bias != nullptr) {
    kernels.add_scaled(out, slot.down.bias + expert * slot.down.bias_stride + column, weight, count);
  }
}

const std::byte* hidden_of(const ExpertsSlot& slot, std::uint32_t row) {
  return slot.hidden + row_bytes_of(slot.hidden_kind, slot.up.weights.rows) * row;
}

void down(const ExpertsSlot& slot, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t tokens = pass.rows(slot.after_select);
  const ExpertTables& tables = slot.tables;
  if (tokens <= kFewExpertTokens) {
    return multiply_all(pass, queue, use_of(index, 0), thread, true, *tables.count, slot.down.weights.tiles(),
                        [&](std::uint64_t which) {
                          const std::uint32_t expert = tables.active[which];
                          const std::uint32_t row = tables.begin[expert];
                          return product_of(slot, slot.down, expert, hidden_of(slot, row),
                                            slot.results + row * slot.down.weights.width(), slot.down.weights.width());
                        });
  }
  float* results = slot.workspace + static_cast<std::size_t>(thread) * slot.workspace_floats;
  const std::uint64_t pieces = (slot.out_width + kExpertRows - 1) / kExpertRows;
  claim_all(queue, pass, pieces, 1, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t piece = first; piece < last && !pass.ending(); ++piece) {
      const std::uint64_t column = piece * kExpertRows;
      const std::uint64_t count = std::min(kExpertRows, slot.out_width - column);
      for (std::uint64_t t = 0; t < tokens; ++t) std::fill_n(slot.out + t * slot.out_width + column, count, 0.0F);
      for (std::uint32_t i = 0; i < *tables.count; ++i) {
        const std::uint32_t expert = tables.active[i];
        const std::uint32_t row = tables.begin[expert];
        MatmulTask task = product_of(slot, slot.down, expert, hidden_of(slot, row), results, kExpertStride);
        // From the tile on that the piece's first row lies in; what comes before the row is a neighbour's.
        const std::uint64_t first_row = slot.down.weights.shift(expert) + column;
        const std::uint64_t shift = first_row % kTileRows;
        task.weights.data += quant::size_of(task.weights.type, task.weights.columns).value * (first_row - shift);
        task.weights.rows = std::min(task.weights.rows - (first_row - shift), align_up(shift + count, kTileRows));
        pass.kernels->matmul(task, 0, task.weights.tiles(), pass.stop);
        for (std::uint32_t r = 0; r < task.tokens; ++r) {
          add_result(slot, *pass.kernels->vectors, row + r, results + r * kExpertStride + shift, column, count);
        }
      }
    }
  });
}

void sum(const ExpertsSlot& slot, const Pass& pass, int thread) {
  const std::uint32_t tokens = pass.rows(slot.after_select);
  if (tokens > kFewExpertTokens) return;
  const Part part = part_of(slot.out_width, kTileRows, thread, pass.threads);
  if (part.begin == part.end) return;
  const std::uint64_t count = part.end - part.begin;
  for (std::uint64_t t = 0; t < tokens; ++t) {
    std::fill_n(slot.out + t * slot.out_width + part.begin, count, 0.0F);
    for (std::uint32_t i = 0; i < slot.used; ++i) {
      const std::uint64_t row = slot.tables.rows_of[t * slot.used + i];
      const MatrixSet& down = slot.down.weights;
      const float* result = slot.results + row * down.width() + down.shift(slot.tables.expert[row]) + part.begin;
      add_result(slot, *pass.kernels->vectors, row, result, part.begin, count);
    }
  }
}

// Each row of a head's matrix times one value of the input, added up; or times the input, value by value.
void multiply_by_rows(const HeadLinearStep& step, const Pass& pass, WorkQueue& queue) {
  const std::uint32_t tokens = pass.rows(step.after_select);
  const std::uint64_t from_stride = std::uint64_t{step.heads} * (step.columns + step.copied);
  const std::uint64_t to_stride = std::uint64_t{step.heads} * (step.rows + step.copied);
  const VectorKernels& kernels = *pass.kernels->vectors;
  claim_all(queue, pass, step.heads, 1, [&](std::uint64_t first, std::uint64_t last) {
    alignas(64) float row[kMostSingleColumns];
    for (std::uint64_t h = first; h < last; ++h) {
      const float* x = step.x + h * (step.columns + step.copied);
      float* out = step.out + h * (step.rows + step.copied);
      const std::uint64_t count = step.transposed ? step.columns : step.rows;
      for (std::uint64_t t = 0; t < tokens && step.transposed; ++t) std::fill_n(out + t * to_stride, step.rows, 0.0F);
      for (std::uint64_t i = 0; i < count; ++i) {
        decode_matrix_row(step.weights.all, step.weights.first_row + h * step.weights.distance + i, row);
        for (std::uint64_t t = 0; t < tokens; ++t) {
          if (step.transposed) {
            kernels.add_scaled(out + t * to_stride, row, x[t * from_stride + i], step.rows);
          } else {
            out[t * to_stride + i] = std::inner_product(row, row + step.columns, x + t * from_stride, 0.0F);
          }
        }
      }
    }
  });
}

void prepare_heads(const HeadLinearStep& step, const Pass& pass, WorkQueue& queue) {
  const std::uint32_t tokens = pass.rows(step.after_select);
  const std::uint64_t from_stride = std::uint64_t{step.heads} * (step.columns + step.copied);
  const std::uint64_t to_stride = std::uint64_t{step.heads} * (step.rows + step.copied);
  const std::size_t bytes = quant::activation_bytes(step.kind, step.columns, tokens).value;
  claim_all(queue, pass, step.heads, 1, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t h = first; h < last; ++h) {
      const float* x = step.x + h * (step.columns + step.copied);
      for (std::uint64_t t = 0; t < tokens; ++t) {
        std::memcpy(step.out + t * to_stride + h * (step.rows + step.copied) + step.rows,
                    x + t * from_stride + step.columns, step.copied * sizeof(float));
      }
      if (step.by_rows()) continue;
      pass.kernels->prepare(step.kind, x, from_stride, step.columns, 0, tokens, tokens, step.prepared + h * bytes);
    }
  });
}

}  // namespace

Matrix MatrixSet::at(std::uint64_t i) const {
  const std::uint64_t begin = first_row + i * distance - shift(i);
  const std::uint64_t end = std::min(align_up(begin + shift(i) + rows, kTileRows), all.rows);
  return {all.type, all.data + quant::size_of(all.type, all.columns).value * begin, end - begin, all.columns};
}

void run(const RouteStep& step, const Pass& pass, WorkQueue& queue) {
  std::uint32_t chosen[kMaxExperts];
  float weights[kMaxExperts];
  const std::uint32_t used = step.routing.used;
  claim_all(queue, pass, pass.rows(step.after_select), 1, [&](std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t t = first; t < last; ++t) {
      pass.kernels->vectors->route(step.routing, step.logits + t * step.routing.experts, chosen, weights);
      for (std::uint32_t i = 0; i < used; ++i) {
        step.out[t * used + i] = {static_cast<std::int32_t>(chosen[i]), weights[i]};
      }
    }
  });
}

void run(const ExpertsStep& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  const ExpertsSlot& slot = *step.slot;
  if (pass.rows(slot.after_select) == 0) return;
  switch (step.phase) {
    case ExpertsStep::Phase::Begin: return begin(slot, pass, queue, thread);
    case ExpertsStep::Phase::Gather: return gather(slot, pass, queue);
    case ExpertsStep::Phase::Up: return up(slot, index, pass, queue, thread);
    case ExpertsStep::Phase::Hidden: return hidden(slot, pass, queue);
    case ExpertsStep::Phase::Down: return down(slot, index, pass, queue, thread);
    case ExpertsStep::Phase::Sum: return sum(slot, pass, thread);
  }
}

void run(const HeadLinearStep& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t tokens = pass.rows(step.after_select);
  if (tokens == 0) return;
  if (step.phase == HeadLinearStep::Phase::Prepare) return prepare_heads(step, pass, queue);
  if (step.by_rows()) return multiply_by_rows(step, pass, queue);
  const std::size_t bytes = quant::activation_bytes(step.kind, step.columns, tokens).value;
  multiply_all(pass, queue, use_of(index, 0), thread, tokens <= pass.kernels->few_tokens(step.weights.all.type),
               step.heads, step.weights.tiles(), [&](std::uint64_t head) {
                 MatmulTask task{};
                 task.weights = step.weights.at(head);
                 task.activations = step.prepared + head * bytes;
                 task.tokens = tokens;
                 task.out = step.out + head * (step.rows + step.copied);
                 task.out_stride = std::uint64_t{step.heads} * (step.rows + step.copied);
                 return task;
               });
}

}  // namespace loadline::cpu

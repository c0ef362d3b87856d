#include "backend/cpu/steps.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>

#include "backend/cpu/kv_layout.h"
#include "backend/cpu/run_shares.h"
#include "backend/cpu/tile.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

// Tokens are prepared in whole groups by one thread, see KernelTable::prepare.
constexpr std::uint32_t kRowGroup = quant::kActivationTokens;

// Tiles per claim at least where there are more than a few tokens: a register block's worth, and what the matrix unit
// goes through together.
constexpr std::uint64_t kLeastTiles = 4;
constexpr std::uint64_t kMatrixTiles = quant::kMatrixRows / kTileRows;

constexpr std::size_t kCacheLine = 64;

// The position of the batch's token t.
std::uint64_t position_of(const backend::Batch& batch, std::uint64_t t) {
  for (const backend::TokenRun& run : batch.runs) {
    if (t - run.first_token < run.count) return run.first_position + (t - run.first_token);
  }
  return 0;
}

void add_row(const EmbedStep& step, const KernelTable& kernels, std::uint64_t row, float* out) {
  alignas(64) float values[kMostAddedRow];
  if (step.interleaved) {
    decode_matrix_row(step.table, row, values);
  } else {
    const Bytes row_size = quant::size_of(step.table.type, step.table.columns);
    quant::decode_row(step.table.type, step.table.data + row * row_size.value, values, step.table.columns);
  }
  kernels.add(out, values, step.table.columns);
}

void run(const EmbedStep& step, const Pass& pass, WorkQueue& queue) {
  const auto tokens = pass.batch->tokens;
  while (true) {
    const auto [begin, end] = queue.claim(tokens.size(), pass.threads, 1);
    if (begin == end) return;
    for (std::uint64_t t = begin; t < end; ++t) {
      float* out = step.out + t * step.table.columns;
      const auto row = step.by_position ? position_of(*pass.batch, t) : static_cast<std::uint64_t>(tokens[t]);
      if (step.add) {
        add_row(step, *pass.kernels, row, out);
      } else if (step.interleaved) {
        decode_matrix_row(step.table, row, out);
      } else {
        const Bytes row_size = quant::size_of(step.table.type, step.table.columns);
        quant::decode_row(step.table.type, step.table.data + row * row_size.value, out, step.table.columns);
      }
    }
  }
}

void run(const EmbedFromDiskStep& step, const Pass& pass, int thread) {
  if (thread != 0) return;
  const auto tokens = pass.batch->tokens;
  const Bytes row_size = quant::size_of(step.type, step.columns);
  try {
    for (std::size_t t = 0; t < tokens.size() && !pass.ending(); ++t) {
      const Bytes offset = step.offset + row_size * static_cast<std::uint64_t>(tokens[t]);
      const std::span<const std::byte> row = step.reader->read(
          step.file, offset, row_size.value, {step.buffer, storage::FileReader::buffer_size(row_size.value)});
      quant::decode_row(step.type, row.data(), step.out + t * step.columns, step.columns);
    }
  } catch (...) {
    *pass.error = std::current_exception();
    pass.failed->store(true, std::memory_order_relaxed);
  }
}

void run(const GateStep& step, const Pass& pass, int thread) {
  if (thread != 0) return;
  if (!step.acquire) return pass.gate->release(step.group);
  if (!pass.gate->acquire(step.group, *pass.stop)) pass.failed->store(true, std::memory_order_relaxed);
}

void run(const SelectStep& step, const Pass& pass, int thread) {
  if (thread != 0) return;
  const auto outputs = pass.batch->outputs;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] == i) continue;  // ascending, so a source is never overwritten before it is read
    std::memcpy(step.x + i * step.width, step.x + outputs[i] * step.width, step.width * sizeof(float));
  }
}

// Where one token's K and V of a head will be written: in the page, every dimension of K has a cache line of its own,
// and all of them have left the caches since the token before.
void fetch_cells(const KvLayer& kv, std::uint32_t head, std::uint32_t page, std::uint32_t cell) {
  const std::byte* k = k_part(kv, page, head);
  const std::size_t k_bytes = part_bytes(kv.k_type, kv.head_dim_k);
  for (std::size_t i = 0; i < k_bytes; i += kCacheLine) __builtin_prefetch(k + i, 1);
  if (kv.v == nullptr) return;
  const std::size_t row = part_bytes(kv.v_type, kv.head_dim_v) / kCells;
  const std::byte* v = v_part(kv, page, head) + cell * row;
  for (std::size_t i = 0; i < row; i += kCacheLine) __builtin_prefetch(v + i, 1);
}

void prepare_heads(const AttentionSlot& slot, const Pass& pass, std::uint32_t token, std::uint32_t head,
                   std::uint32_t position, const std::uint32_t* pages) {
  const KernelTable& kernels = *pass.kernels;
  const KvLayer& kv = slot.kv;
  if (slot.stores && pass.batch->tokens.size() <= kFew) {
    fetch_cells(kv, head, pages[position / quant::kKvPageCells], position % quant::kKvPageCells);
  }
  const std::uint32_t group = slot.heads / kv.kv_heads;
  const std::uint32_t dim = kv.head_dim_k;
  float* q = slot.q + (std::uint64_t{token} * slot.heads + std::uint64_t{head} * group) * dim;
  float* k_row = slot.stores ? slot.k + std::uint64_t{token} * kv.kv_heads * dim : nullptr;
  float* k = slot.stores ? k_row + std::uint64_t{head} * dim : nullptr;
  if (slot.q_norm != nullptr) {
    for (std::uint32_t i = 0; i < group; ++i) {
      float* head_q = q + std::uint64_t{i} * dim;
      kernels.rms_norm(head_q, slot.q_norm, head_q, dim, 0, dim, slot.epsilon);
    }
  }
  if (slot.k_norm != nullptr) kernels.rms_norm(k, slot.k_norm, k, dim, 0, dim, slot.epsilon);
  if (slot.rotary > 0) {
    const backend::RopeAngles& table = pass.batch->ropes[slot.rope_table];
    const std::uint64_t angles = std::uint64_t{token} * (slot.rotary / 2);
    const float* cosines = table.cosines + angles;
    const float* sines = table.sines + angles;
    kernels.rope(q + slot.rope_offset, group, dim, slot.rotary, cosines, sines, slot.neox);
    if (slot.stores) kernels.rope(k + slot.rope_offset, 1, dim, slot.rotary, cosines, sines, slot.neox);
  }
  if (slot.temperature != 0) {
    const std::uint32_t times = (position + slot.temperature_ahead) / slot.temperature_length;
    kernels.vectors->scale(q, 1 + slot.temperature * std::log(static_cast<float>(times) + 1),
                           std::uint64_t{group} * dim);
  }
  if (!slot.stores) return;
  const float* v_row = slot.v + std::uint64_t{token} * kv.kv_heads * kv.head_dim_v;
  kernels.store_kv(kv, pages[position / quant::kKvPageCells], position % quant::kKvPageCells, k_row, v_row, head,
                   head + 1);
}

void run(const HeadsStep& step, const Pass& pass, WorkQueue& queue) {
  const backend::Batch& batch = *pass.batch;
  const std::uint32_t kv_heads = step.slot.kv.kv_heads;
  const std::uint64_t total = std::uint64_t{batch.tokens.size()} * kv_heads;
  while (true) {
    const auto [begin, end] = queue.claim(total, pass.threads, 1);
    if (begin == end) return;
    for (const backend::TokenRun& run : step.slot.runs(batch)) {
      const std::uint64_t run_begin = std::uint64_t{run.first_token} * kv_heads;
      const std::uint64_t run_end = run_begin + std::uint64_t{run.count} * kv_heads;
      for (std::uint64_t item = std::max(begin, run_begin); item < std::min(end, run_end); ++item) {
        const auto token = static_cast<std::uint32_t>(item / kv_heads);
        const std::uint32_t position = run.first_position + (token - run.first_token);
        prepare_heads(step.slot, pass, token, static_cast<std::uint32_t>(item % kv_heads), position, run.pages);
      }
    }
  }
}

void run(const AttentionStep& step, const Pass& pass, WorkQueue& queue) {
  const AttentionTask task = step.slot.task(*pass.batch);
  const std::uint64_t units = attention_units(task);
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(units, pass.threads, 1);
    if (begin == end) return;
    pass.kernels->attention(task, begin, end, pass.stop);
  }
}

// Rows [first, last) of a step, of them the columns of `part`, which begins at a multiple of kActivationBlock and, with
// attention to be finished, of a head; ends likewise, or with the row.
void prepare_part(const PrepareStep& step, const Pass& pass, std::uint32_t first, std::uint32_t last, Part part) {
  const KernelTable& kernels = *pass.kernels;
  const std::uint32_t rows = pass.rows(step.after_select);
  const bool tiles = step.tiles && pass.on_matrix_unit(rows);
  if (step.merge != nullptr) {
    const std::uint32_t dim = step.merge->kv.head_dim_v;
    kernels.attention_finish(step.merge->task(*pass.batch), first, last, static_cast<std::uint32_t>(part.begin / dim),
                             static_cast<std::uint32_t>(part.end / dim));
  }
  if (step.norm_weight != nullptr) {
    for (std::uint64_t t = first; t < last; ++t) {
      kernels.rms_norm(step.x + t * step.width, step.norm_weight, step.normed + t * step.width, step.width, part.begin,
                       part.end, step.epsilon);
    }
  }
  const float* source = (step.norm_weight != nullptr ? step.normed : step.x) + part.begin;
  const std::uint64_t columns = part.end - part.begin;
  for (std::uint32_t i = 0; i < step.target_count; ++i) {
    const auto [kind, to] = step.targets[i];
    if (kind == quant::ActivationKind::Float32 && !tiles && columns < step.width) {
      // Rows lie one after the other, so that each one's part stands alone.
      const Bytes row = quant::activation_bytes(kind, step.width, 1);
      for (std::uint64_t t = first; t < last; ++t) {
        kernels.prepare(kind, source + t * step.width, step.width, columns, 0, 1, 1,
                        to + t * row.value + part.begin * sizeof(float));
      }
      continue;
    }
    // A block of all rows comes before the next block.
    const std::size_t before = part.begin / quant::kActivationBlock * rows * sizeof(quant::Int8Block);
    kernels.prepare(tiles ? quant::in_tiles(kind) : kind, source, step.width, columns, first, last, rows, to + before);
  }
}

// Of a few rows every thread has some columns, else of all columns some rows.
void run(const PrepareStep& step, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t rows = pass.rows(step.after_select);
  if (rows <= kFew) {
    const std::uint64_t head = step.merge != nullptr ? step.merge->kv.head_dim_v : 1;
    const Part part = part_of(step.width, std::lcm(std::uint64_t{quant::kActivationBlock}, head), thread, pass.threads);
    if (part.begin < part.end) prepare_part(step, pass, 0, rows, part);
    return;
  }
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim((rows + kRowGroup - 1) / kRowGroup, pass.threads, 1);
    if (begin == end) return;
    const auto first = static_cast<std::uint32_t>(begin * kRowGroup);
    const auto last = static_cast<std::uint32_t>(std::min<std::uint64_t>(end * kRowGroup, rows));
    prepare_part(step, pass, first, last, {0, step.width});
  }
}

// The calling thread's workspace where the matrix unit does the step, else null.
template <class Product>
std::byte* workspace_of(const Product& step, const Pass& pass, std::uint32_t rows, int thread) {
  if (step.workspaces == nullptr || !pass.on_matrix_unit(rows)) return nullptr;
  return step.workspaces + static_cast<std::size_t>(thread) * step.workspace_bytes;
}

MatmulTask task_of(const MatmulTask& part, std::uint32_t rows) {
  MatmulTask task = part;
  task.tokens = rows;
  return task;
}

void multiply_few(MatmulTask task, int use, const Pass& pass, int thread) {
  run_shares(
      *pass.shares, use, task.weights.tiles(), pass.threads, thread, [&] { return !pass.ending(); },
      [&](std::uint64_t begin, std::uint64_t end, std::uint64_t alongside) {
        task.alongside = alongside;
        pass.kernels->matmul(task, begin, end, pass.stop);
      });
}

void run(const LinearStep& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t rows = pass.rows(step.after_select);
  if (rows == 0) return;
  if (std::ranges::all_of(std::span(step.parts).first(step.part_count), [&](const MatmulTask& part) {
        return rows <= pass.kernels->few_tokens(part.weights.type);
      })) {
    for (std::uint32_t i = 0; i < step.part_count; ++i) {
      multiply_few(task_of(step.parts[i], rows), use_of(index, static_cast<int>(i)), pass, thread);
    }
    return;
  }
  std::byte* workspace = workspace_of(step, pass, rows, thread);
  const std::uint64_t least = workspace != nullptr ? kMatrixTiles : kLeastTiles;
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < step.part_count; ++i) total += step.parts[i].weights.tiles();
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(total, pass.threads, least);
    if (begin == end) return;
    std::uint64_t part_begin = 0;  // in the tiles of all parts together
    for (std::uint32_t i = 0; i < step.part_count; ++i) {
      const std::uint64_t part_end = part_begin + step.parts[i].weights.tiles();
      const std::uint64_t from = std::max(begin, part_begin);
      const std::uint64_t to = std::min(end, part_end);
      if (from < to) {
        MatmulTask task = task_of(step.parts[i], rows);
        task.workspace = workspace;
        pass.kernels->matmul(task, from - part_begin, to - part_begin, pass.stop);
      }
      part_begin = part_end;
    }
  }
}

void run(const GatedStep& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  GatedTask task = step.task;
  task.tokens = pass.rows(step.after_select);
  if (task.tokens == 0) return;
  if (task.tokens <= pass.kernels->few_tokens(task.gate.type) &&
      task.tokens <= pass.kernels->few_tokens(task.up.type)) {
    multiply_few(step.second ? task.product_of_up() : task.product_of_gate(), use_of(index, 0), pass, thread);
    return;
  }
  if (step.second) return;
  task.workspace = workspace_of(step, pass, task.tokens, thread);
  const std::uint64_t least = task.workspace != nullptr ? kMatrixTiles / 2 : kLeastTiles;
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(task.gate.tiles(), pass.threads, least);
    if (begin == end) return;
    pass.kernels->gated(task, begin, end, pass.stop);
  }
}

}  // namespace

AttentionTask AttentionSlot::task(const backend::Batch& batch) const {
  AttentionTask task{kv, runs(batch), q, out, heads, scale, workspace};
  task.softcap = softcap;
  task.alibi = alibi;
  task.window = window;
  task.chunk = chunk;
  task.sinks = sinks;
  return task;
}

void renew_shares(WorkShares& shares, int threads) {
  for (int thread = 0; thread < threads; ++thread) {
    for (int use = 0; use < WorkShares::kUses; ++use) shares.renew(use, thread);
  }
}

void run_step(const Step& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread) {
  if (pass.ending()) return;
  // Nobody claims from the next step's before the barrier after this one.
  for (int part = 0; part < kPartsOfStep; ++part) pass.shares->renew(use_of(index + 1, part), thread);
  struct Visitor {
    std::size_t index;
    const Pass& pass;
    WorkQueue& queue;
    int thread;
    void operator()(const SelectStep& s) const { run(s, pass, thread); }
    void operator()(const EmbedStep& s) const { run(s, pass, queue); }
    void operator()(const EmbedFromDiskStep& s) const { run(s, pass, thread); }
    void operator()(const GateStep& s) const { run(s, pass, thread); }
    void operator()(const HeadsStep& s) const { run(s, pass, queue); }
    void operator()(const AttentionStep& s) const { run(s, pass, queue); }
    void operator()(const PrepareStep& s) const { run(s, pass, queue, thread); }
    void operator()(const LinearStep& s) const { run(s, index, pass, queue, thread); }
    void operator()(const GatedStep& s) const { run(s, index, pass, queue, thread); }
    void operator()(const NormStep& s) const { run(s, pass, queue, thread); }
    void operator()(const MapStep& s) const { run(s, pass, queue, thread); }
    void operator()(const SplitStep& s) const { run(s, pass, queue); }
    void operator()(const RopeStep& s) const { run(s, pass, queue); }
    void operator()(const RouteStep& s) const { run(s, pass, queue); }
    void operator()(const ExpertsStep& s) const { run(s, index, pass, queue, thread); }
    void operator()(const HeadLinearStep& s) const { run(s, index, pass, queue, thread); }
    void operator()(const ConvolutionStep& s) const { run(s, pass, queue); }
    void operator()(const DeltaRowsStep& s) const { run(s, pass, queue); }
    void operator()(const DeltaNetStep& s) const { run(s, pass, queue); }
    void operator()(const Mamba2RowsStep& s) const { run(s, pass, queue); }
    void operator()(const Mamba2Step& s) const { run(s, pass, queue); }
  };
  std::visit(Visitor{index, pass, queue, thread}, step);
}

}  // namespace loadline::cpu

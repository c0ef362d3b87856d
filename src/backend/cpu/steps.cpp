#include "backend/cpu/steps.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/tile.h"
#include "quant/matrix_workspace.h"

namespace loadline::cpu {
namespace {

// Tokens are prepared in whole groups by one thread, see KernelTable::prepare.
constexpr std::uint32_t kRowGroup = quant::kActivationTokens;

// Tiles per claim at least: as many as a kernel reads side by side for a few tokens, a register block's worth for more,
// and what the matrix unit goes through together.
std::uint64_t least_tiles(std::uint32_t tokens) { return tokens <= kFew ? 2 : 4; }
constexpr std::uint64_t kMatrixTiles = quant::kMatrixRows / kTileRows;

void run(const EmbedStep& step, const Pass& pass, WorkQueue& queue) {
  const auto tokens = pass.batch->tokens;
  while (true) {
    const auto [begin, end] = queue.claim(tokens.size(), pass.threads, 1);
    if (begin == end) return;
    for (std::uint64_t t = begin; t < end; ++t) {
      float* out = step.out + t * step.table.columns;
      const auto row = static_cast<std::uint64_t>(tokens[t]);
      if (step.interleaved) {
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

void prepare_heads(const AttentionSlot& slot, const Pass& pass, std::uint32_t token, std::uint32_t head,
                   std::uint32_t page, std::uint32_t cell) {
  const KernelTable& kernels = *pass.kernels;
  const KvLayer& kv = slot.kv;
  const std::uint32_t group = slot.heads / kv.kv_heads;
  const std::uint32_t dim = kv.head_dim_k;
  float* q = slot.q + (std::uint64_t{token} * slot.heads + std::uint64_t{head} * group) * dim;
  float* k_row = slot.k + std::uint64_t{token} * kv.kv_heads * dim;
  float* k = k_row + std::uint64_t{head} * dim;
  if (slot.q_norm != nullptr) {
    for (std::uint32_t i = 0; i < group; ++i) {
      kernels.rms_norm(q + std::uint64_t{i} * dim, slot.q_norm, q + std::uint64_t{i} * dim, dim, slot.epsilon);
    }
  }
  if (slot.k_norm != nullptr) kernels.rms_norm(k, slot.k_norm, k, dim, slot.epsilon);
  const std::uint64_t angles = std::uint64_t{token} * (slot.rotary / 2);
  const float* cosines = pass.batch->cosines + angles;
  const float* sines = pass.batch->sines + angles;
  kernels.rope(q, group, dim, slot.rotary, cosines, sines, slot.neox);
  kernels.rope(k, 1, dim, slot.rotary, cosines, sines, slot.neox);
  const float* v_row = slot.v + std::uint64_t{token} * kv.kv_heads * kv.head_dim_v;
  kernels.store_kv(kv, page, cell, k_row, v_row, head, head + 1);
}

void run(const HeadsStep& step, const Pass& pass, WorkQueue& queue) {
  const backend::Batch& batch = *pass.batch;
  const std::uint32_t kv_heads = step.slot.kv.kv_heads;
  const std::uint64_t total = std::uint64_t{batch.tokens.size()} * kv_heads;
  while (true) {
    const auto [begin, end] = queue.claim(total, pass.threads, 1);
    if (begin == end) return;
    for (const backend::TokenRun& run : batch.runs) {
      const std::uint64_t run_begin = std::uint64_t{run.first_token} * kv_heads;
      const std::uint64_t run_end = run_begin + std::uint64_t{run.count} * kv_heads;
      for (std::uint64_t item = std::max(begin, run_begin); item < std::min(end, run_end); ++item) {
        const auto token = static_cast<std::uint32_t>(item / kv_heads);
        const std::uint32_t position = run.first_position + (token - run.first_token);
        prepare_heads(step.slot, pass, token, static_cast<std::uint32_t>(item % kv_heads),
                      run.pages[position / quant::kKvPageCells], position % quant::kKvPageCells);
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

void run(const PrepareStep& step, const Pass& pass, WorkQueue& queue) {
  const std::uint32_t rows = pass.rows(step.after_select);
  const float* source = step.norm_weight != nullptr ? step.normed : step.x;
  const bool tiles = step.tiles && pass.on_matrix_unit(rows);
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim((rows + kRowGroup - 1) / kRowGroup, pass.threads, 1);
    if (begin == end) return;
    const auto first = static_cast<std::uint32_t>(begin * kRowGroup);
    const auto last = static_cast<std::uint32_t>(std::min<std::uint64_t>(end * kRowGroup, rows));
    if (step.merge != nullptr) pass.kernels->attention_finish(step.merge->task(*pass.batch), first, last);
    if (step.norm_weight != nullptr) {
      for (std::uint64_t t = first; t < last; ++t) {
        pass.kernels->rms_norm(step.x + t * step.width, step.norm_weight, step.normed + t * step.width, step.width,
                               step.epsilon);
      }
    }
    for (std::uint32_t i = 0; i < step.target_count; ++i) {
      const quant::ActivationKind kind = step.targets[i].kind;
      pass.kernels->prepare(tiles ? quant::in_tiles(kind) : kind, source, step.width, step.width, first, last, rows,
                            step.targets[i].to);
    }
  }
}

// The calling thread's workspace where the matrix unit does the step, else null.
template <class Product>
std::byte* workspace_of(const Product& step, const Pass& pass, std::uint32_t rows, int thread) {
  if (step.workspaces == nullptr || !pass.on_matrix_unit(rows)) return nullptr;
  return step.workspaces + static_cast<std::size_t>(thread) * step.workspace_bytes;
}

void run(const LinearStep& step, const Pass& pass, WorkQueue& queue, int thread) {
  const std::uint32_t rows = pass.rows(step.after_select);
  if (rows == 0) return;
  std::byte* workspace = workspace_of(step, pass, rows, thread);
  const std::uint64_t least = workspace != nullptr ? kMatrixTiles : least_tiles(rows);
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
        MatmulTask task = step.parts[i];
        task.tokens = rows;
        task.as_alone = pass.batch->rounding == backend::Rounding::AsAlone;
        task.workspace = workspace;
        pass.kernels->matmul(task, from - part_begin, to - part_begin, pass.stop);
      }
      part_begin = part_end;
    }
  }
}

void run(const GatedStep& step, const Pass& pass, WorkQueue& queue, int thread) {
  GatedTask task = step.task;
  task.tokens = pass.rows(step.after_select);
  task.as_alone = pass.batch->rounding == backend::Rounding::AsAlone;
  if (task.tokens == 0) return;
  task.workspace = workspace_of(step, pass, task.tokens, thread);
  const std::uint64_t least = task.workspace != nullptr ? kMatrixTiles / 2 : least_tiles(task.tokens);
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(task.gate.tiles(), pass.threads, least);
    if (begin == end) return;
    pass.kernels->gated(task, begin, end, pass.stop);
  }
}

}  // namespace

AttentionTask AttentionSlot::task(const backend::Batch& batch) const {
  return {kv, batch.runs, q, out, heads, scale, workspace};
}

void run_step(const Step& step, const Pass& pass, WorkQueue& queue, int thread) {
  if (pass.ending()) return;
  struct Visitor {
    const Pass& pass;
    WorkQueue& queue;
    int thread;
    void operator()(const SelectStep& s) const { run(s, pass, thread); }
    void operator()(const EmbedStep& s) const { run(s, pass, queue); }
    void operator()(const EmbedFromDiskStep& s) const { run(s, pass, thread); }
    void operator()(const GateStep& s) const { run(s, pass, thread); }
    void operator()(const HeadsStep& s) const { run(s, pass, queue); }
    void operator()(const AttentionStep& s) const { run(s, pass, queue); }
    void operator()(const PrepareStep& s) const { run(s, pass, queue); }
    void operator()(const LinearStep& s) const { run(s, pass, queue, thread); }
    void operator()(const GatedStep& s) const { run(s, pass, queue, thread); }
  };
  std::visit(Visitor{pass, queue, thread}, step);
}

}  // namespace loadline::cpu

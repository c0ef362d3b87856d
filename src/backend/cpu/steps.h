// The CPU's schedule of a stage: a flat list of steps with every address resolved, recorded once and replayed by all
// threads together for each batch. A step splits its own work; between two steps all threads meet at a barrier.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <variant>

#include "backend/batch.h"
#include "backend/cpu/expert_steps.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/pass.h"
#include "backend/cpu/recurrent_steps.h"
#include "backend/cpu/row_steps.h"
#include "backend/device.h"
#include "base/thread_pool.h"
#include "base/work_shares.h"
#include "model/config.h"
#include "storage/file_reader.h"

namespace loadline::cpu {

// out[t] = row tokens[t] of the table.
struct EmbedStep {
  Matrix table;
  bool interleaved;  // Rows16, shared with the output matrix; else as in the file
  float* out;
  bool by_position = false;  // row position(t) instead
  bool add = false;          // to what is there; the row is at most kMostAddedRow long
};
constexpr std::uint64_t kMostAddedRow = 32768;

// The same with the table left on disk: one thread reads each row into `buffer`, FileReader::buffer_size of a row.
struct EmbedFromDiskStep {
  const storage::FileReader* reader;
  std::uint32_t file;
  Bytes offset;
  TensorType type;
  std::uint64_t columns;
  std::byte* buffer;
  float* out;
};

// Waits for a streamed group's weights, or gives their place back.
struct GateStep {
  std::uint32_t group;
  bool acquire;
};

// Keeps the rows of `x` that the batch wants logits for, in order, at its beginning.
struct SelectStep {
  float* x;
  std::uint64_t width;
};

// What makes attention's inputs and outputs; shared by the steps around it.
struct AttentionSlot {
  KvLayer kv;
  float* q;
  float* k;
  float* v;
  float* out;
  const float* q_norm;  // [head_dim_k] or null
  const float* k_norm;
  std::uint32_t heads;
  float scale;
  float epsilon;
  std::uint32_t rotary;  // 0: no rope
  bool neox;
  std::byte* workspace;
  std::uint32_t rope_table = 0;   // of the program's
  std::uint32_t rope_offset = 0;  // the first dimension that is turned
  bool stores = true;             // else another layer has stored k and v
  bool windowed = false;          // the cache keeps the last positions only (Batch::window_runs)
  // Queries at position p are multiplied by 1 + temperature ln(floor((p + ahead) / length) + 1).
  float temperature = 0;
  std::uint32_t temperature_length = 1;
  std::uint32_t temperature_ahead = 0;
  // As in AttentionTask.
  float softcap = 0;
  float alibi = 0;
  std::uint32_t window = 0;
  std::uint32_t chunk = 0;
  const float* sinks = nullptr;

  [[nodiscard]] std::span<const TokenRun> runs(const backend::Batch& batch) const {
    return windowed ? batch.window_runs : batch.runs;
  }
  [[nodiscard]] AttentionTask task(const backend::Batch& batch) const;
};

// Head norms, rope, and storing K and V: per token and KV head.
struct HeadsStep {
  AttentionSlot slot;
};

struct AttentionStep {
  AttentionSlot slot;
};

// Per token, before a product: optionally a norm (or the merging of attention's partial results), then the preparation
// of the activations for each kind of weights that reads them.
struct PrepareStep {
  struct Target {
    quant::ActivationKind kind;
    std::byte* to;
  };
  const float* x;  // [rows][width]
  std::uint64_t width;
  const float* norm_weight = nullptr;  // with it: normed = norm(x), and normed is prepared
  float* normed = nullptr;
  float epsilon = 0;
  const AttentionSlot* merge = nullptr;  // with it: x is attention's output, finished here
  std::array<Target, 3> targets{};
  std::uint32_t target_count = 0;
  bool after_select = false;
  bool tiles = false;  // there is room for activations in tiles, and for what the matrix unit needs beside them
};

// Up to three products of one input (q, k, v).
struct LinearStep {
  std::array<MatmulTask, 3> parts{};
  std::uint32_t part_count = 0;
  bool after_select = false;
  std::byte* workspaces = nullptr;  // one for each thread, `workspace_bytes` apart; null: no matrix unit
  std::size_t workspace_bytes = 0;
};

// There are two in a row for each gated product. Of few tokens the first multiplies with the gate and the second with
// the matrix up, so that either is read in one long run and what the second reads is there; more tokens are the
// first's.
struct GatedStep {
  GatedTask task;
  bool second = false;
  bool after_select = false;
  std::byte* workspaces = nullptr;  // as in LinearStep
  std::size_t workspace_bytes = 0;
};

using Step = std::variant<EmbedStep, EmbedFromDiskStep, GateStep, SelectStep, HeadsStep, AttentionStep, PrepareStep,
                          LinearStep, GatedStep, NormStep, MapStep, SplitStep, RopeStep, RouteStep, ExpertsStep,
                          HeadLinearStep, ConvolutionStep, DeltaRowsStep, DeltaNetStep, Mamba2RowsStep, Mamba2Step>;

// This thread's share of step number `index`. `queue` is the step's own and was reset before the pass. Returns early,
// with the work undone, once the pass is to stop.
void run_step(const Step& step, std::size_t index, const Pass& pass, WorkQueue& queue, int thread);

// Before a pass, while no thread runs a step.
void renew_shares(WorkShares& shares, int threads);

}  // namespace loadline::cpu

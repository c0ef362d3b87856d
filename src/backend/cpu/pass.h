// A pass as the steps of the CPU's schedule see it: what changes from batch to batch, and the threads that share the
// work.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

#include "backend/batch.h"
#include "backend/cpu/kernels.h"
#include "backend/device.h"
#include "base/thread_pool.h"
#include "base/work_shares.h"
#include "quant/activation.h"

namespace loadline::cpu {

// What changes from batch to batch.
struct Pass {
  const backend::Batch* batch;
  const StopFlag* stop;
  const KernelTable* kernels;
  int threads;
  WorkShares* shares;
  backend::WeightGate* gate;  // null where nothing is streamed
  std::atomic<bool>* failed;  // set when a step could not be done; the pass is then meaningless
  std::exception_ptr* error;  // why, where the step knows; written by thread 0 only

  [[nodiscard]] bool ending() const {
    return stop->load(std::memory_order_relaxed) || failed->load(std::memory_order_relaxed);
  }

  // Whether the matrix unit multiplies this many rows, if there is room for what it needs.
  [[nodiscard]] bool on_matrix_unit(std::uint32_t rows) const {
    return kernels->matrix_unit && rows >= quant::kMatrixTokens && batch->rounding != backend::Rounding::AsAlone;
  }

  // Rows a step works on: the tokens, or only the outputs after SelectOutputs.
  [[nodiscard]] std::uint32_t rows(bool after_select) const {
    return static_cast<std::uint32_t>(after_select ? batch->outputs.size() : batch->tokens.size());
  }
};

// Calls f(begin, end) for ranges of [0, total), of at least `least`, that the calling thread claims.
template <class Function>
void claim_all(WorkQueue& queue, const Pass& pass, std::uint64_t total, std::uint64_t least, Function&& f) {
  while (!pass.ending()) {
    const auto [begin, end] = queue.claim(total, pass.threads, least);
    if (begin == end) return;
    f(begin, end);
  }
}

}  // namespace loadline::cpu

// Turns the groups of a stage into the CPU's step list: resolves every address and merges neighbours that belong in one
// step (a norm with the preparation of what it produces, head norms with rope and storing).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "backend/cpu/steps.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::cpu {

struct Recording {
  std::vector<Step> steps;
  std::vector<WorkQueue> queues;                      // one per step
  std::vector<std::unique_ptr<AttentionSlot>> slots;  // what PrepareStep::merge points to
  std::vector<std::unique_ptr<ExpertsSlot>> experts;  // what ExpertsStep::slot points to
  std::unique_ptr<storage::FileReader> reader;        // of an embedding that stays on disk, else null
};

using AddressOf = std::function<std::byte*(plan::RegionIndex)>;

Recording record_stage(const gguf::Model& model, const model::Program& program, const plan::Plan& plan,
                       const plan::Stage& stage, const AddressOf& address);

}  // namespace loadline::cpu

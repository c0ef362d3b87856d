#include "exec/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

OtherCaches other_caches(const model::Program& program, const plan::Shape& shape) {
  OtherCaches others;
  if (plan::has_window_pages(program, shape)) {
    others.window_pages = plan::window_pages(program, shape);
    others.window = plan::longest_window(program);
  }
  const auto is_state = [](const model::Cache& cache) { return cache.kind == model::CacheKind::State; };
  if (std::ranges::any_of(program.caches, is_state)) others.states = plan::states_of(shape);
  return others;
}

}  // namespace

Executor::Executor(const model::Program& program, const plan::Plan& plan, std::vector<backend::Device*> devices,
                   std::span<const std::vector<float>> rope_factors, backend::WeightGate* gate,
                   std::uint32_t overlap_from, std::optional<KvCache> cache)
    : program_(program),
      plan_(plan),
      devices_(std::move(devices)),
      gate_(gate),
      busy_seconds_(devices_.size(), 0.0),
      cache_(cache ? std::move(*cache)
                   : KvCache(plan.shape.context / quant::kKvPageCells, plan.shape.sequences, plan.shape.context, this,
                             other_caches(program, plan.shape))),
      overlap_from_(overlap_from),
      before_(plan.shape.sequences),
      seen_(plan.shape.sequences, 0) {
  cache_.set_copier(this);
  find_arrivals();
  const bool halves = can_overlap();
  for (int i = 0; i < (halves ? 2 : 1); ++i) passes_.push_back(make_pass(rope_factors));
  if (halves) two_.emplace(2);
}

Executor::Pass Executor::make_pass(std::span<const std::vector<float>> rope_factors) const {
  Pass pass{{}, {}, {}, {}, {}, RopeAngles(program_, rope_factors, plan_.shape.batch)};
  pass.parts.reserve(plan_.shape.sequences);
  pass.tokens.reserve(plan_.shape.batch);
  pass.runs.reserve(plan_.shape.sequences);
  if (cache_.has_window_pages()) pass.window_runs.reserve(plan_.shape.sequences);
  pass.outputs.reserve(plan_.shape.outputs);
  return pass;
}

void Executor::find_arrivals() {
  arrivals_.resize(plan_.stages.size());
  for (const plan::CarriedCrossing& crossing : plan::carried_crossings(program_, plan_.stages)) {
    arrivals_[crossing.to].push_back(crossing);
  }
}

// Where some passes are large enough and the plan has stages of several devices for them. Weights that come from disk
// come once for each pass, in its order. What a device keeps from stage to stage besides the hidden state, it keeps for
// one pass.
bool Executor::can_overlap() const {
  const auto keeps = [&](const plan::Stage& stage) { return !plan::carried_into(program_, stage).empty(); };
  if (std::ranges::any_of(plan_.stages, keeps)) return false;
  if (!plan_.stream.empty() || plan_.shape.batch < overlap_from_) return false;
  if (plan_.prompt.tokens > 0 && plan_.prompt.tokens <= overlap_from_) return false;  // see `divide`
  const plan::StageRange stages = plan::stages_for(plan_, overlap_from_);
  return stages.end - stages.first > 1;
}

// What a wrong caller would write past a planned region with, and tokens that the model does not have.
void Executor::check(std::span<const Input> inputs) {
  ++number_;
  std::size_t tokens = 0;
  std::size_t rows = 0;
  for (const Input& input : inputs) {
    if (input.sequence >= seen_.size()) {
      throw Error(ErrorCode::Internal,
                  fmt::format("a pass names sequence {}, and the plan has {}", input.sequence, plan_.shape.sequences));
    }
    if (seen_[input.sequence] == number_) {
      throw Error(ErrorCode::Internal, fmt::format("a pass names sequence {} twice", input.sequence));
    }
    seen_[input.sequence] = number_;
    tokens += input.tokens.size();
    if (!input.tokens.empty()) rows += input.want == Want::All ? input.tokens.size() : input.want == Want::Last ? 1 : 0;
    for (const std::int32_t token : input.tokens) {
      if (token < 0 || static_cast<std::uint32_t>(token) >= program_.config.vocabulary) {
        throw bad_input(
            fmt::format("token {} is outside the model's vocabulary of {}", token, program_.config.vocabulary));
      }
    }
  }
  if (tokens > plan_.shape.batch || rows > plan_.shape.outputs) {
    throw Error(ErrorCode::Internal,
                fmt::format("a pass has {} tokens and wants {} rows of logits, and the plan has room for {} and {}",
                            tokens, rows, plan_.shape.batch, plan_.shape.outputs));
  }
}

// Cells for all inputs, or for none.
void Executor::find_cells(std::span<const Input> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Input& input = inputs[i];
    before_[i] = cache_.length(input.sequence);
    if (cache_.extend(input.sequence, static_cast<std::uint32_t>(input.tokens.size()))) continue;
    give_back(inputs.first(i));
    throw bad_input(
        fmt::format("the context is full: {} tokens more do not fit after {}", input.tokens.size(), before_[i]),
        "Give more context.");
  }
}

void Executor::give_back(std::span<const Input> inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) cache_.cut(inputs[i].sequence, before_[i]);
}

void Executor::assemble(std::span<const Input> inputs, Pass& pass) {
  pass.tokens.clear();
  pass.runs.clear();
  pass.window_runs.clear();
  pass.outputs.clear();
  for (const Part& part : pass.parts) {
    const Input& input = inputs[part.input];
    const std::uint32_t position = before_[part.input] + part.first;
    const auto first = static_cast<std::uint32_t>(pass.tokens.size());
    const std::span<const std::int32_t> tokens = input.tokens.subspan(part.first, part.count);
    // The second half of an input goes on from where the first leaves its state.
    const std::uint32_t after = cache_.state_after(input.sequence);
    pass.runs.push_back({first, part.count, position, cache_.pages(input.sequence),
                         part.first > 0 ? after : cache_.state(input.sequence), after});
    if (cache_.has_window_pages()) {
      pass.window_runs.push_back(pass.runs.back());
      pass.window_runs.back().pages = cache_.window_pages(input.sequence);
    }
    pass.tokens.insert(pass.tokens.end(), tokens.begin(), tokens.end());
    if (part.want == Want::Last) pass.outputs.push_back(first + part.count - 1);
    if (part.want == Want::All) {
      for (std::uint32_t t = 0; t < part.count; ++t) pass.outputs.push_back(first + t);
    }
    for (std::uint32_t t = 0; t < part.count; ++t) pass.angles.set(first + t, position + t);
  }
}

// The rows of the hidden state that a stage begins with: one that begins after the last attention sees only those that
// were selected there.
std::size_t Executor::hidden_rows(std::uint32_t stage, const Pass& pass) const {
  const bool selected = program_.groups[plan_.stages[stage].first_group].ops.front().after_select;
  return selected ? pass.outputs.size() : pass.tokens.size();
}

// What a stage begins with, from the device of the stage before.
void Executor::hand_over(std::uint32_t stage, const Pass& pass) {
  const plan::Stage& next = plan_.stages[stage];
  const std::size_t rows = hidden_rows(stage, pass);
  for (const model::ValueId value : plan::crossing_values(program_.groups[next.first_group], next.first_op)) {
    std::memcpy(device_of(stage).crossing(value), device_of(stage - 1).crossing(value),
                rows * program_.values[value].width * sizeof(float));
  }
  for (const plan::CarriedCrossing& crossing : arrivals_[stage]) {
    std::memcpy(device_of(stage).crossing(crossing.value), device_of(crossing.from).crossing(crossing.value),
                rows * program_.values[crossing.value].width * sizeof(float));
  }
}

bool Executor::run_stage(std::uint32_t stage, const Pass& pass, const StopFlag& stop, Rounding rounding) {
  const backend::Batch batch{pass.tokens, pass.runs, pass.outputs, pass.angles.views(), rounding, pass.window_runs};
  const auto start = std::chrono::steady_clock::now();
  bool done = false;
  try {
    done = device_of(stage).run(stage, batch, stop);
  } catch (...) {
    failed_device_ = plan_.stages[stage].device;
    throw;
  }
  busy_seconds_[plan_.stages[stage].device] +=
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return done;
}

bool Executor::run_stages(const StopFlag& stop, Rounding rounding) {
  const Pass& pass = passes_.front();
  const plan::StageRange stages = plan::stages_for(plan_, pass.tokens.size());
  for (std::uint32_t i = stages.first; i < stages.end; ++i) {
    if (i > stages.first) hand_over(i, pass);
    if (!run_stage(i, pass, stop, rounding)) return false;
  }
  return true;
}

// Divides the inputs among the two passes, each about half of the tokens. False where the pass goes as a whole: where
// it is small, where the first half would want logits too (a device keeps those of one pass only), or where its weights
// pass through a GPU: each half would bring them again, and the CPU's threads are needed for that.
bool Executor::divide(std::span<const Input> inputs) {
  std::size_t tokens = 0;
  for (const Input& input : inputs) tokens += input.tokens.size();
  if (passes_.size() < 2 || tokens < overlap_from_) return false;
  if (plan_.prompt.tokens > 0 && tokens >= plan_.prompt.tokens) return false;
  // Both halves by the same list of stages, and the first in whole pages where it is one sequence from the beginning.
  const std::size_t half =
      std::max<std::size_t>(1, (tokens / 2 + quant::kKvPageCells - 1) / quant::kKvPageCells * quant::kKvPageCells);
  std::size_t left = half < tokens ? half : tokens / 2;
  passes_[0].parts.clear();
  passes_[1].parts.clear();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Input& input = inputs[i];
    const auto all = static_cast<std::uint32_t>(input.tokens.size());
    const auto first = static_cast<std::uint32_t>(std::min<std::size_t>(left, all));
    left -= first;
    if (first > 0) {
      if (first == all ? input.want != Want::None : input.want == Want::All) return false;
      passes_[0].parts.push_back({i, 0, first, Want::None});
    }
    if (first < all) passes_[1].parts.push_back({i, first, all - first, input.want});
  }
  return true;
}

// In step: the first half is one stage ahead of the second. Two stages after one another are always of different
// devices.
bool Executor::run_halves(const StopFlag& stop, Rounding rounding) {
  Pass& ahead = passes_[0];
  Pass& behind = passes_[1];
  for (Pass* pass : {&ahead, &behind}) {
    pass->ok = true;
    pass->error = nullptr;
  }
  const std::size_t row = program_.config.embedding;
  const plan::StageRange stages = plan::stages_for(plan_, ahead.tokens.size());
  const auto attempt = [&](std::uint32_t stage, Pass& pass) noexcept {
    try {
      pass.ok = run_stage(stage, pass, stop, rounding);
    } catch (...) {
      pass.ok = false;
      pass.error = std::current_exception();
    }
  };
  for (std::uint32_t i = stages.first; i <= stages.end; ++i) {
    const bool one = i < stages.end;           // the half ahead runs stage i
    const bool other = i > stages.first;       // the half behind runs the stage before
    const bool moves = i >= stages.first + 2;  // and its hidden state comes from the one before that
    if (one && other) {
      if (moves && &device_of(i) == &device_of(i - 2)) {
        // They change places: each takes what the other leaves.
        const std::size_t rows = std::max(hidden_rows(i, ahead), hidden_rows(i - 1, behind));
        float* here = device_of(i).crossing(model::kHidden);
        std::swap_ranges(here, here + rows * row, device_of(i - 1).crossing(model::kHidden));
      } else {
        hand_over(i, ahead);
        if (moves) hand_over(i - 1, behind);
      }
    } else if (moves) {
      hand_over(i - 1, behind);
    }
    // The CPU's team is led by the thread that calls.
    const bool behind_here = other && (!one || plan_.stages[i - 1].device == plan::kCpu);
    two_->run([&](int thread) noexcept {
      const bool for_behind = (thread == 0) == behind_here;
      if (for_behind && other) attempt(i - 1, behind);
      if (!for_behind && one) attempt(i, ahead);
    });
    for (const Pass* pass : {&ahead, &behind}) {
      if (pass->error) std::rethrow_exception(pass->error);
    }
    if (!ahead.ok || !behind.ok) return false;
  }
  return true;
}

bool Executor::run_pass(bool halves, const StopFlag& stop, Rounding rounding) {
  if (gate_ != nullptr) gate_->begin_pass();
  if (halves ? run_halves(stop, rounding) : run_stages(stop, rounding)) return true;
  if (gate_ != nullptr) gate_->rethrow();
  if (!stop.load(std::memory_order_relaxed)) {
    throw Error(ErrorCode::DeviceFailure, "a device did not finish a pass that nobody stopped");
  }
  return false;
}

PassRecord Executor::describe(std::span<const Input> inputs) const {
  PassRecord pass;
  pass.began = steady_seconds();
  for (const Input& input : inputs) {
    if (input.tokens.empty()) continue;
    ++pass.sequences;
    pass.tokens += input.tokens.size();
    pass.depth += cache_.length(input.sequence);
    pass.outputs += input.want == Want::All ? input.tokens.size() : input.want == Want::Last ? 1 : 0;
  }
  pass.waited = gate_ != nullptr ? gate_->waited_seconds() : 0;
  const std::size_t devices = std::min(busy_seconds_.size(), kLoggedDevices);
  for (std::size_t i = 0; i < devices; ++i) pass.busy[i] = busy_seconds_[i];
  return pass;
}

// `describe` left what there was before in what was taken.
void Executor::complete(PassRecord& pass) const {
  pass.seconds = steady_seconds() - pass.began;
  pass.waited = gate_ != nullptr ? gate_->waited_seconds() - pass.waited : 0;
  const std::size_t devices = std::min(busy_seconds_.size(), kLoggedDevices);
  for (std::size_t i = 0; i < devices; ++i) pass.busy[i] = busy_seconds_[i] - pass.busy[i];
}

bool Executor::run_logged(std::span<const Input> inputs, bool halves, const StopFlag& stop, Rounding rounding) {
  PassRecord pass = describe(inputs);
  log_.begin(pass);
  try {
    const bool done = run_pass(halves, stop, rounding);
    complete(pass);
    log_.end(pass, done);
    return done;
  } catch (...) {
    log_.end(pass, false);
    throw;
  }
}

bool Executor::forward(std::span<const Input> inputs, const StopFlag& stop, Rounding rounding) {
  check(inputs);
  rows_ = 0;
  find_cells(inputs);
  const bool halves = divide(inputs);
  if (!halves) {
    passes_[0].parts.clear();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].tokens.empty()) continue;
      passes_[0].parts.push_back({i, 0, static_cast<std::uint32_t>(inputs[i].tokens.size()), inputs[i].want});
    }
  }
  for (int i = 0; i < (halves ? 2 : 1); ++i) assemble(inputs, passes_[i]);
  bool done = false;
  try {
    done = run_logged(inputs, halves, stop, rounding);
  } catch (...) {
    give_back(inputs);
    throw;
  }
  if (!done) {
    give_back(inputs);
    return false;
  }
  for (const Input& input : inputs) cache_.commit(input.sequence, input.tokens);
  rows_ = passes_[halves ? 1 : 0].outputs.size();
  if (halves) ++overlapped_passes_;
  return true;
}

std::span<const float> Executor::logits(std::size_t index) const {
  if (index >= rows_) {
    throw Error(ErrorCode::Internal, fmt::format("row {} of the logits is asked for, and there are {}", index, rows_));
  }
  const std::uint32_t width = program_.config.vocabulary;
  return {devices_[plan_.stages.back().device]->logits() + index * width, width};
}

std::span<const float> Executor::state(std::size_t index) const {
  if (index >= rows_) {
    throw Error(ErrorCode::Internal, fmt::format("state {} is asked for, and there are {}", index, rows_));
  }
  const std::uint32_t width = program_.values[program_.normed].width;
  return {devices_[plan_.stages.back().device]->states() + index * width, width};
}

bool Executor::copy_page(PageIndex from, PageIndex to) {
  return std::ranges::all_of(devices_,
                             [&](backend::Device* device) { return device == nullptr || device->copy_page(from, to); });
}

bool Executor::copy_window_page(PageIndex from, PageIndex to) {
  return std::ranges::all_of(
      devices_, [&](backend::Device* device) { return device == nullptr || device->copy_window_page(from, to); });
}

}  // namespace loadline::exec

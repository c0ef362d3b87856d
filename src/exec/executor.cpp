#include "exec/executor.h"

#include <fmt/format.h>

#include <cassert>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "model/rope.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

std::uint32_t pages_of(const model::ModelConfig& config, const plan::Plan& plan) {
  const Bytes page = quant::kv_page_head_bytes(plan.shape.k_type, config.head_dim_k) * config.kv_heads;
  return static_cast<std::uint32_t>(plan.regions[plan.kv[0].k].size.value / page.value);
}

}  // namespace

Executor::Executor(const model::Program& program, const plan::Plan& plan, std::vector<backend::Device*> devices,
                   std::span<const float> rope_factors)
    : program_(program),
      plan_(plan),
      devices_(std::move(devices)),
      busy_seconds_(devices_.size(), 0.0),
      cache_(pages_of(program.config, plan), plan.shape.sequences, plan.shape.context / plan.shape.sequences),
      frequencies_(model::rope_frequencies(program.config.rope, rope_factors)) {
  tokens_.reserve(plan.shape.batch);
  runs_.reserve(plan.shape.sequences);
  outputs_.reserve(plan.shape.outputs);
  cosines_.resize(plan.shape.batch * frequencies_.size());
  sines_.resize(plan.shape.batch * frequencies_.size());
}

void Executor::check(std::span<const Input> inputs) const {
  for (const Input& input : inputs) {
    for (const std::int32_t token : input.tokens) {
      if (token < 0 || static_cast<std::uint32_t>(token) >= program_.config.vocabulary) {
        throw bad_input(
            fmt::format("token {} is outside the model's vocabulary of {}", token, program_.config.vocabulary));
      }
    }
  }
}

void Executor::assemble(std::span<const Input> inputs) {
  tokens_.clear();
  runs_.clear();
  outputs_.clear();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Input& input = inputs[i];
    const std::uint32_t position = cache_.length(input.sequence);
    const auto count = static_cast<std::uint32_t>(input.tokens.size());
    if (count == 0) continue;
    if (!cache_.extend(input.sequence, count)) {
      for (std::size_t done = 0; done < i; ++done) {
        const std::uint32_t sequence = inputs[done].sequence;
        cache_.truncate(sequence, cache_.length(sequence) - static_cast<std::uint32_t>(inputs[done].tokens.size()));
      }
      throw bad_input(fmt::format("the context is full: {} tokens more do not fit after {}", count, position),
                      "Give more context with -c.");
    }
    const auto first = static_cast<std::uint32_t>(tokens_.size());
    assert(first + count <= plan_.shape.batch);
    runs_.push_back({first, count, position, cache_.pages(input.sequence)});
    tokens_.insert(tokens_.end(), input.tokens.begin(), input.tokens.end());
    if (input.want == Want::Last) outputs_.push_back(first + count - 1);
    if (input.want == Want::All) {
      for (std::uint32_t t = 0; t < count; ++t) outputs_.push_back(first + t);
    }
    for (std::uint32_t t = 0; t < count; ++t) {
      const std::size_t at = (first + t) * frequencies_.size();
      model::rope_table(program_.config.rope, frequencies_, position + t, cosines_.data() + at, sines_.data() + at);
    }
  }
  assert(outputs_.size() <= plan_.shape.outputs);
}

bool Executor::run_stages(const StopFlag& stop, Rounding rounding) {
  const backend::Batch batch{tokens_, runs_, outputs_, cosines_.data(), sines_.data(), rounding};
  const std::size_t row = std::size_t{program_.config.embedding} * sizeof(float);
  const plan::StageRange stages = plan::stages_for(plan_, tokens_.size());
  for (std::uint32_t i = stages.first; i < stages.end; ++i) {
    backend::Device& device = *devices_[plan_.stages[i].device];
    if (i > stages.first) {
      // A stage that begins after the last attention sees only the rows that were selected there.
      const bool selected = program_.groups[plan_.stages[i].first_group].ops.front().after_select;
      const std::size_t rows = selected ? outputs_.size() : tokens_.size();
      std::memcpy(device.hidden_in(), devices_[plan_.stages[i - 1].device]->hidden_out(), rows * row);
    }
    const auto start = std::chrono::steady_clock::now();
    const bool done = device.run(i, batch, stop);
    busy_seconds_[plan_.stages[i].device] +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!done) return false;
  }
  return true;
}

bool Executor::forward(std::span<const Input> inputs, const StopFlag& stop, Rounding rounding) {
  check(inputs);
  assemble(inputs);
  const auto take_back = [&] {
    for (const Input& input : inputs) {
      cache_.truncate(input.sequence, cache_.length(input.sequence) - static_cast<std::uint32_t>(input.tokens.size()));
    }
    outputs_.clear();
  };
  try {
    if (run_stages(stop, rounding)) return true;
  } catch (...) {
    take_back();
    throw;
  }
  take_back();
  return false;
}

std::span<const float> Executor::logits(std::size_t index) const {
  const std::uint32_t width = program_.config.vocabulary;
  return {devices_[plan_.stages.back().device]->logits() + index * width, width};
}

}  // namespace loadline::exec

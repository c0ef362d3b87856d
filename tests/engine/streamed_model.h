// A small synthetic model, and plans of it that hold part of it in RAM and read the rest from disk for every pass.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "authoring/shapes.h"
#include "authoring/synthesize.h"
#include "engine/backends.h"
#include "engine/engine.h"
#include "engine/loaded.h"
#include "hardware/probe.h"
#include "model/format_mix.h"
#include "plan/planner.h"
#include "plan/predict.h"

namespace loadline::test {

// About 4 MiB in Q4_K_M: every group has matrices in several formats, and rows that do not begin on a page.
inline authoring::Shape streamed_shape(bool tied_embeddings) {
  return {
      "streamed", "Streamed",      "llama", authoring::VocabularyKind::Llama3, 6, 256, 512, 8, 4, 32, 1024, 1024, 1e4F,
      1e-5F,      tied_embeddings, 0};
}

inline std::filesystem::path write_streamed_model(const std::filesystem::path& folder, bool tied_embeddings = false) {
  const std::filesystem::path file = folder / "streamed.gguf";
  authoring::synthesize(streamed_shape(tied_embeddings), *model::find_mix("Q4_K_M"), {.seed = 7}, file,
                        [](Bytes, Bytes) {});
  return file;
}

inline plan::Options streamed_options() {
  plan::Options options;
  options.context = 128;
  options.batch = 32;
  options.outputs = 17;
  options.threads = 2;
  return options;
}

// A model's file and plan, before it is loaded.
struct Planned {
  gguf::Model model;
  model::Program program;
  plan::Plan plan;
};

inline Planned planned(const std::filesystem::path& file, const plan::Options& options) {
  gguf::Model model = gguf::open_model(file);
  model::Program program = model::build_program(model);
  plan::Plan plan = plan::make_plan(model, program, hardware::probe(file), options, engine::backends());
  return {std::move(model), std::move(program), std::move(plan)};
}

// A plan with `percent` of its weights in RAM; at 100 all of them. Less than what two turns of the stream take does not
// fit: the planner then refuses.
inline Planned planned(const std::filesystem::path& file, plan::Options options, unsigned percent) {
  Planned whole = planned(file, options);
  if (percent == 100) return whole;
  const Bytes total = plan::tier_total(whole.plan, plan::kCpu);
  const Bytes weights = plan::tier_total(whole.plan, plan::kCpu, plan::Purpose::Weights);
  options.ram_budget = total - weights * (100 - percent) / 100;
  return planned(file, options);
}

inline std::unique_ptr<engine::Engine> load(Planned planned, const engine::Engine::Options& options = not_alone()) {
  return load(std::move(planned.model), std::move(planned.program), std::move(planned.plan), options);
}

}  // namespace loadline::test

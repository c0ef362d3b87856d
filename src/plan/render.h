// A plan in words: one line, a table, every region.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

// "Llama 3 8B · 2.42 GiB in RAM, 3.15 GiB on RTX 3050 Ti · context 4096"
std::string summary_line(const Plan& plan, std::string_view title);

struct RenderOptions {
  bool bars = false;     // a bar for each tier: for a terminal
  bool colours = false;  // ANSI colours: for a terminal, unless NO_COLOR is set
};

// What a person reads at a glance: `notes` (a line each) below the heading, a column for each tier, where the layers
// are, predicted speeds, and what was assumed.
std::string plan_table(const gguf::Model& model, const model::Program& program, const Plan& plan,
                       const std::vector<std::string>& notes, const std::vector<std::string>& assumed,
                       const RenderOptions& options);

// A line for every region: tier, purpose, offset, size, name.
std::string region_lines(const Plan& plan);

}  // namespace loadline::plan

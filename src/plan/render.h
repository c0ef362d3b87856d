// A plan in words: one line, a table, every region.
#pragma once

#include <string>
#include <string_view>

#include "plan/plan.h"

namespace loadline::plan {

// "Llama 3 8B · 2.42 GiB in RAM, 3.15 GiB on RTX 3050 Ti · context 4096"
std::string summary_line(const Plan& plan, std::string_view title);

}  // namespace loadline::plan

// What passes take against what was predicted for them, as a source of samples.
#pragma once

#include <functional>
#include <memory>

#include "exec/pass_log.h"
#include "plan/predict.h"
#include "watch/sources.h"

namespace loadline::watch {

using PassPrediction = std::function<plan::PassSeconds(const plan::PassLoad&)>;

// The first passes of all bring in code and tables, and are left out.
inline constexpr std::uint64_t kFirstPasses = 2;

// `log` outlives it. `now`: s, the clock that the log's times are by.
std::unique_ptr<Source> pass_source(const exec::PassLog& log, PassPrediction prediction, std::function<double()> now);

}  // namespace loadline::watch

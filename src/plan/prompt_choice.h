// Decides whether prompts multiply with weights in RAM on a GPU, on which, and from how many tokens on.
#pragma once

#include "plan/placement.h"

namespace loadline::plan {

// `placed` as it is, or with a PromptStream where that makes a full batch noticeably faster. Where the one GPU is full,
// and only predicted speed decides what is on it, a little of it is given up for the ring if generation hardly suffers,
// and stays no slower than with any number of whole layers (-ngl). Never over a budget.
Placed with_prompt_stream(const PlacementTask& task, Placed placed);

}  // namespace loadline::plan

// One function per architecture family: what distinguishes it from its neighbours, in terms of the shared builder.
#pragma once

#include "model/builder.h"

namespace loadline::model::families {

void llama(ProgramBuilder& builder);
void qwen2(ProgramBuilder& builder);
void qwen3(ProgramBuilder& builder);

}  // namespace loadline::model::families

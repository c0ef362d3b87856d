// Mamba 2's block, which several families have among their layers.
#pragma once

#include "model/builder.h"

namespace loadline::model::families {

// x += mamba2(norm(x, attn_norm)), a group of its own.
void mamba2_block(ProgramBuilder& b, std::uint32_t layer, const BranchStyle& branch = {});

}  // namespace loadline::model::families

// Whether whoever computes a program can compute all of it: which kinds of operations it knows, and which of their
// attributes. What it does not know it must refuse, by name, before anything is loaded.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "model/program.h"

namespace loadline::model {

// A kind of operation that is computed, and those attributes of it (Op::used_attributes) that are honoured.
struct Support {
  OpKind kind;
  std::vector<std::string_view> attributes;
};

// Throws Error(BadInput) that names the first operation or attribute that `known` lacks. `who` computes: "the CPU".
void require_supported(const Program& program, std::span<const Support> known, std::string_view who);

// Throws Error(BadInput) unless all layers are alike, as they are in the plainest models: full caches of one shape, one
// rope table, and nothing but the hidden state between groups.
void require_uniform(const Program& program, std::string_view who);

}  // namespace loadline::model

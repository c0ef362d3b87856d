// What tells one model from another without reading its weights.
#pragma once

#include <string>

#include "gguf/gguf.h"

namespace loadline::plan {

// 16 hexadecimal digits over the hyper-parameters, every tensor's name, type, shape and place, and the sizes of the
// files. The same for a copy of the model anywhere.
std::string fingerprint(const gguf::Model& model);

}  // namespace loadline::plan

// Made-up vocabularies of any size that tokenisers accept: every byte, short joined pieces, the control tokens of the
// family at their true places. They cut text into plausible lengths; their words mean nothing.
#pragma once

#include <cstdint>

#include "authoring/shapes.h"
#include "gguf/metadata.h"

namespace loadline::authoring {

// Writes all tokenizer.ggml.* keys for `size` tokens. `size` must be large enough for the bytes and the control tokens:
// 1024 always is.
void add_vocabulary(VocabularyKind kind, std::uint32_t size, gguf::Metadata& metadata);

}  // namespace loadline::authoring

// Which tokens carry a text, for samplers that know tokens only.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {

// The tokens whose text contains `text`, each a sequence of its own; and, where it takes several, those that `text`
// alone is cut into.
std::vector<std::vector<Token>> sequences_containing(const Tokenizer& tokenizer, std::string_view text);

}  // namespace loadline::tokenizer

// The distribution that sampling options define, written as plainly as the definition, for comparison with Sampler.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "sample/options.h"

namespace loadline::sample::test {

struct Distribution {
  std::map<Token, double> probabilities;  // of the tokens that can be drawn
  // A cut fell so close to a token that rounding may decide about it: not to be compared.
  bool ambiguous = false;
};

// `history` is every token accepted so far, oldest first. Empty where no logit is a number.
Distribution reference_distribution(const Options& options, std::span<const float> logits,
                                    std::span<const Token> history);

}  // namespace loadline::sample::test

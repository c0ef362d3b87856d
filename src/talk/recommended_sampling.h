// What a model's file recommends for choosing tokens (general.sampling.*): defaults where nobody asked for anything
// else.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gguf/metadata.h"
#include "sample/options.h"

namespace loadline::talk {

struct Recommendation {
  std::string_view key;   // of the file, behind "general.sampling."
  std::string_view name;  // as users know it: "temp", "top-k"
  double value = 0;
};

// Those that can be followed. `remarks`: a sentence for each that cannot, as its value makes no sense.
std::vector<Recommendation> recommended_sampling(const gguf::Metadata& metadata, std::vector<std::string>& remarks);
void follow(const Recommendation& recommendation, sample::Options& options);

}  // namespace loadline::talk

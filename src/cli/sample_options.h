// The options of the sampler, the same for every command that generates.
#pragma once

#include <string>
#include <vector>

#include "sample/sampler.h"

namespace CLI {
class App;
}

namespace loadline::cli {

// The flags as given. `add_to` binds this object, which must outlive the parsing.
class SampleOptions {
 public:
  void add_to(CLI::App& command);
  // Throws Error(BadInput) for a --logit-bias that cannot be read. Without a seed, each call draws one.
  [[nodiscard]] sample::Options options() const;

 private:
  sample::Options values_;
  std::int64_t seed_ = -1;
  std::vector<std::string> biases_;
};

}  // namespace loadline::cli

// The options of the sampler, the same for every command that generates.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/metadata.h"
#include "sample/options.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {

class Command;
class Option;

// The flags as given. `add_to` binds this object, which must outlive the parsing.
class SampleOptions {
 public:
  void add_to(Command& command);
  // Throws Error(BadInput) naming the flag that is wrong; whether a bias names a token of the model, Sampler finds out.
  [[nodiscard]] sample::Options options() const;
  // The same, with the tokens of the texts that DRY's repetitions do not reach across.
  [[nodiscard]] sample::Options options(const tokenizer::Tokenizer& tokenizer) const;
  // The same, and what the file recommends where no flag says otherwise, which is said in `notes`.
  [[nodiscard]] sample::Options options(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer,
                                        std::vector<std::string>& notes) const;
  // Whether the flag that begins so was given, as "--temp".
  [[nodiscard]] bool given(std::string_view flag) const;

 private:
  sample::Options values_;
  std::vector<std::pair<std::string, const Option*>> recommendable_;
  std::int64_t seed_ = -1;
  std::vector<std::string> biases_;
  std::vector<std::string> breakers_;
  std::string samplers_;
  std::string sequence_;
};

}  // namespace loadline::cli

// The options of speculation: guessing several tokens ahead and verifying them in one pass. They decide how many rows
// of logits a plan has room for, so planning commands take them as generating ones do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "speculate/ngram_drafter.h"

namespace loadline::cli {

class Command;

// The flags as given. `add_to` binds this object, which must outlive the parsing.
class SpeculateOptions {
 public:
  void add_to(Command& command);
  // nullopt where nothing is to be guessed. Throws Error(BadInput) naming the flag that is wrong.
  [[nodiscard]] std::optional<speculate::NgramOptions> options() const;
  // plan::Options::outputs: the rows of a token and its drafts; 0 (one per sequence) without speculation.
  [[nodiscard]] std::uint32_t outputs() const;

 private:
  std::string kind_ = "none";
  speculate::NgramOptions values_;
};

}  // namespace loadline::cli

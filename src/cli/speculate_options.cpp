#include "cli/speculate_options.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "cli/option.h"

namespace loadline::cli {

void SpeculateOptions::add_to(Command& command) {
  const Traits group{.group = "Guessing ahead (the text stays what it is, passes become fewer)", .show_default = true};
  command.option("--speculate", &kind_, "none, or ngram: guess what followed the same few tokens earlier in the text",
                 group);
  command.option("--draft-max,--draft,--draft-n", &values_.draft_max, "Most tokens to guess for one pass", group);
  command.option("--draft-min,--draft-n-min", &values_.draft_min, "Make no guess shorter than this", group);
  command.option("--ngram-max", &values_.ngram_max, "Look for as many of the last tokens together ...", group);
  command.option("--ngram-min", &values_.ngram_min, "... but not for fewer than these", group);
}

std::optional<speculate::NgramOptions> SpeculateOptions::options() const {
  if (kind_ == "none") return std::nullopt;
  if (kind_ != "ngram") {
    throw bad_input(fmt::format("--speculate can be ngram or none, not \"{}\"", printable(kind_)));
  }
  speculate::validate(values_);
  return values_;
}

std::uint32_t SpeculateOptions::outputs() const {
  const auto speculation = options();
  return speculation ? speculation->draft_max + 1 : 0;
}

}  // namespace loadline::cli

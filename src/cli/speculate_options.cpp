#include "cli/speculate_options.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace loadline::cli {

void SpeculateOptions::add_to(CLI::App& command) {
  CLI::Option_group& group =
      *command.add_option_group("Guessing ahead (the text stays what it is, passes become fewer)");
  group.add_option("--speculate", kind_, "none, or ngram: guess what followed the same few tokens earlier in the text")
      ->capture_default_str();
  group.add_option("--draft-max,--draft,--draft-n", values_.draft_max, "Most tokens to guess for one pass")
      ->capture_default_str();
  group.add_option("--draft-min,--draft-n-min", values_.draft_min, "Make no guess shorter than this")
      ->capture_default_str();
  group.add_option("--ngram-max", values_.ngram_max, "Look for as many of the last tokens together ...")
      ->capture_default_str();
  group.add_option("--ngram-min", values_.ngram_min, "... but not for fewer than these")->capture_default_str();
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

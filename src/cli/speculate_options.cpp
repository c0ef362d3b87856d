#include "cli/speculate_options.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace loadline::cli {

void SpeculateOptions::add_to(CLI::App& command) {
  const auto add = [&](const char* names, auto& value, const char* description) {
    command.add_option(names, value, description)
        ->capture_default_str()
        ->group("Guessing ahead (the text stays what it is, passes become fewer)");
  };
  add("--speculate", kind_, "none, or ngram: guess what followed the same few tokens earlier in the text");
  add("--draft-max,--draft,--draft-n", values_.draft_max, "Most tokens to guess for one pass");
  add("--draft-min,--draft-n-min", values_.draft_min, "Make no guess shorter than this");
  add("--ngram-max", values_.ngram_max, "Look for as many of the last tokens together ...");
  add("--ngram-min", values_.ngram_min, "... but not for fewer than these");
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

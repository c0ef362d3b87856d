#include "cli/sample_options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "cli/option.h"

namespace loadline::cli {
namespace {

// TOKEN+BIAS or TOKEN-BIAS: "15043+1", "2-inf".
sample::LogitBias parse_bias(const std::string& text) {
  const auto refuse = [&] {
    return bad_input(fmt::format("--logit-bias: \"{}\" is not TOKEN+BIAS or TOKEN-BIAS", printable(text)),
                     "For example 15043+1, or 2-inf to forbid token 2.");
  };
  sample::LogitBias bias{};
  const char* end = text.data() + text.size();
  const auto [after, problem] = std::from_chars(text.data(), end, bias.token);
  if (problem != std::errc() || after == end || (*after != '+' && *after != '-')) throw refuse();
  const auto [last, wrong] = std::from_chars(after + 1, end, bias.bias);
  if (std::signbit(bias.bias)) throw refuse();  // a second sign
  if (wrong != std::errc() || last != end) throw refuse();
  if (*after == '-') bias.bias = -bias.bias;
  return bias;
}

}  // namespace

void SampleOptions::add_to(Command& command) {
  const Traits group{.group = "Choosing the next token", .show_default = true};
  command.option("--temp,--temperature", &values_.temperature, "Randomness; 0: always the most likely token", group);
  command.option("--top-k", &values_.top_k, "Only the K most likely tokens (0 or -1: all)", group);
  command.option("--top-p", &values_.top_p, "Only the most likely tokens that together reach P (1: all)", group);
  command.option("--min-p", &values_.min_p, "Only tokens at least P times as likely as the most likely (0: all)",
                 group);
  command.option("--typical,--typical-p", &values_.typical_p,
                 "Only the most typical tokens that together reach P (1: all)", group);
  command.option("--repeat-last-n", &values_.repeat_last_n, "Tokens the penalties look back on (0: none, -1: all)",
                 group);
  command.option("--repeat-penalty", &values_.repeat_penalty, "Make tokens that were used less likely (1: off)", group);
  command.option("--presence-penalty", &values_.presence_penalty, "Subtract from tokens that were used (0: off)",
                 group);
  command.option("--frequency-penalty", &values_.frequency_penalty, "Subtract for each use of a token (0: off)", group);
  command.option("-s,--seed", &seed_, "Same seed, same text (-1: another each time)",
                 {.group = group.group, .least = -1, .most = 0xFFFFFFFF, .show_default = true});
  command.option("-l,--logit-bias", &biases_, "TOKEN+BIAS or TOKEN-BIAS: change one token's chance; may be repeated",
                 {.group = group.group});
}

sample::Options SampleOptions::options() const {
  sample::Options options = values_;
  if (seed_ >= 0) options.seed = static_cast<std::uint64_t>(seed_);
  for (const std::string& text : biases_) options.logit_bias.push_back(parse_bias(text));
  sample::validate(options, std::numeric_limits<std::uint32_t>::max());  // before a model is loaded in vain
  return options;
}

}  // namespace loadline::cli

#include "cli/sample_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "cli/option.h"
#include "talk/recommended_sampling.h"
#include "tokenizer/containing.h"

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

// Names with semicolons between them, or letters.
std::vector<sample::Step> parse_steps(std::string_view names, std::string_view letters) {
  std::vector<sample::Step> steps;
  for (const char letter : letters) {
    const auto step = sample::step_of_letter(letter);
    if (!step) {
      throw bad_input(fmt::format("--sampler-seq: there is no step \"{}\"", printable(std::string_view(&letter, 1))),
                      "The letters are e d s k y p m x t.");
    }
    steps.push_back(*step);
  }
  if (!letters.empty()) return steps;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find_first_of(";,"), names.size());
    const std::string_view name = names.substr(0, end);
    names.remove_prefix(std::min(end + 1, names.size()));
    const auto step = sample::step_named(name);
    if (!step) {
      throw bad_input(fmt::format("--samplers: there is no step \"{}\"", printable(name)),
                      "The steps are penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc and temperature.");
    }
    steps.push_back(*step);
  }
  return steps;
}

}  // namespace

void SampleOptions::add_to(Command& command) {
  const Traits group{.group = "Choosing the next token", .show_default = true};
  const auto note = [&](const char* flag) -> const Option*& {
    return recommendable_.emplace_back(flag, nullptr).second;
  };
  note("--temp") = &command.option("--temp,--temperature", &values_.temperature,
                                   "Randomness; 0: always the most likely token", group);
  note("--top-k") = &command.option("--top-k", &values_.top_k, "Only the K most likely tokens (0 or -1: all)", group);
  note("--top-p") =
      &command.option("--top-p", &values_.top_p, "Only the most likely tokens that together reach P (1: all)", group);
  note("--min-p") = &command.option("--min-p", &values_.min_p,
                                    "Only tokens at least P times as likely as the most likely (0: all)", group);
  command.option("--typical,--typical-p", &values_.typical_p,
                 "Only the most typical tokens that together reach P (1: all)", group);
  note("--repeat-last-n") = &command.option("--repeat-last-n", &values_.repeat_last_n,
                                            "Tokens the penalties look back on (0: none, -1: all)", group);
  note("--repeat-penalty") = &command.option("--repeat-penalty", &values_.repeat_penalty,
                                             "Make tokens that were used less likely (1: off)", group);
  command.option("--presence-penalty", &values_.presence_penalty, "Subtract from tokens that were used (0: off)",
                 group);
  command.option("--frequency-penalty", &values_.frequency_penalty, "Subtract for each use of a token (0: off)", group);
  command.option("--dynatemp-range", &values_.dynatemp_range, "Let the temperature move by so much (0: off)", group);
  command.option("--dynatemp-exp", &values_.dynatemp_exponent, "How the temperature follows the entropy", group);
  command.option("--smoothing-factor", &values_.smoothing_factor, "Make unlikely tokens less likely still (0: off)",
                 group);
  command.option("--smoothing-curve", &values_.smoothing_curve, "How fast, 1 to 3", group);
  command.option("--top-nsigma,--top-n-sigma", &values_.top_n_sigma,
                 "Only logits within N standard deviations of the largest (0 or less: all)", group);
  note("--xtc-probability") = &command.option("--xtc-probability", &values_.xtc_probability,
                                              "Chance to leave out the most likely tokens (0: off)", group);
  note("--xtc-threshold") = &command.option("--xtc-threshold", &values_.xtc_threshold,
                                            "Probability that these must reach (above 0.5: off)", group);
  command.option("--dry-multiplier", &values_.dry_multiplier, "Make repetitions less likely (0: off)", group);
  command.option("--dry-base", &values_.dry_base, "How much less with each token repeated", group);
  command.option("--dry-allowed-length", &values_.dry_allowed_length, "Tokens that may be repeated freely", group);
  command.option("--dry-penalty-last-n", &values_.dry_penalty_last_n, "Tokens to look back on (0: off, -1: all)",
                 group);
  command.option("--dry-sequence-breaker", &breakers_,
                 "Text that no repetition reaches across; may be repeated, replaces \\n : \" *; none: no such text",
                 {.group = group.group});
  note("--mirostat") =
      &command.option("--mirostat", &values_.mirostat, "Keep the surprise constant, version 1 or 2 (0: off)", group);
  note("--mirostat-ent") =
      &command.option("--mirostat-ent", &values_.mirostat_tau, "The surprise to keep, in bits", group);
  note("--mirostat-lr") = &command.option("--mirostat-lr", &values_.mirostat_eta, "How fast it is corrected", group);
  command.option("--adaptive-target", &values_.adaptive_target, "Draw tokens near this probability (below 0: off)",
                 group);
  command.option("--adaptive-decay", &values_.adaptive_decay, "How much earlier draws count, 0 to 0.99", group);
  command.option("--min-keep", &values_.min_keep, "Tokens that are always left to draw from", group);
  command.option("--samplers", &samplers_, "Order of the steps, as penalties;dry;top_n_sigma;top_k;typ_p;top_p;...",
                 {.group = group.group, .may_be_empty = true});
  command.option("--sampler-seq,--sampling-seq", &sequence_, "The same in letters (default edskypmxt)",
                 {.group = group.group, .may_be_empty = true});
  command.option("-s,--seed", &seed_, "Same seed, same text (-1: another each time)",
                 {.group = group.group, .least = -1, .most = 0xFFFFFFFF, .show_default = true});
  command.option("-l,--logit-bias", &biases_, "TOKEN+BIAS or TOKEN-BIAS: change one token's chance; may be repeated",
                 {.group = group.group});
}

sample::Options SampleOptions::options(const tokenizer::Tokenizer& tokenizer) const {
  sample::Options result = options();
  if (!result.has_dry()) return result;
  std::vector<std::string> texts = breakers_;
  if (texts.empty()) texts = {"\n", ":", "\"", "*"};
  if (texts.size() == 1 && texts[0] == "none") texts.clear();
  for (const std::string& text : texts) {
    for (auto& sequence : tokenizer::sequences_containing(tokenizer, text)) {
      result.dry_breakers.push_back(std::move(sequence));
    }
  }
  return result;
}

sample::Options SampleOptions::options(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer,
                                       std::vector<std::string>& notes) const {
  sample::Options result = options(tokenizer);
  std::string said;
  for (const talk::Recommendation& one : talk::recommended_sampling(metadata, notes)) {
    if (given(fmt::format("--{}", one.name))) continue;
    talk::follow(one, result);
    said += fmt::format("{}{} {:g}", said.empty() ? "" : ", ", one.name, one.value);
  }
  if (!said.empty()) notes.push_back(fmt::format("sampling as the model's file recommends: {}", said));
  return result;
}

bool SampleOptions::given(std::string_view flag) const {
  return std::ranges::any_of(recommendable_, [&](const auto& one) { return one.first == flag && one.second->given(); });
}

sample::Options SampleOptions::options() const {
  sample::Options options = values_;
  if (options.dry_base < 1) options.dry_base = sample::Options().dry_base;
  if (!samplers_.empty() || !sequence_.empty()) options.steps = parse_steps(samplers_, sequence_);
  if (seed_ >= 0) options.seed = static_cast<std::uint64_t>(seed_);
  for (const std::string& text : biases_) options.logit_bias.push_back(parse_bias(text));
  sample::validate(options, std::numeric_limits<std::uint32_t>::max());  // before a model is loaded in vain
  return options;
}

}  // namespace loadline::cli

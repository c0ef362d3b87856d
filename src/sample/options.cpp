#include "sample/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/setting.h"

namespace loadline::sample {
namespace {

// The window of penalties is kept token by token; a longer one than any context is a slip of the keyboard.
constexpr std::int32_t kMostLastN = 1 << 24;

void require(bool holds, std::string_view what, double value, std::string_view allowed,
             Setting setting = Setting::None) {
  if (!holds) throw bad_input(fmt::format("{} is {}, but must be {}", what, value, allowed), "", setting);
}

void require_between(float value, float low, float high, std::string_view what, Setting setting = Setting::None) {
  // Written so that NaN fails.
  if (value >= low && value <= high) return;
  throw bad_input(fmt::format("{} is {}, but must be between {} and {}", what, value, low, high), "", setting);
}

}  // namespace

std::vector<Step> Options::default_steps() {
  return {Step::Penalties, Step::Dry,  Step::TopNSigma, Step::TopK,       Step::Typical,
          Step::TopP,      Step::MinP, Step::Xtc,       Step::Temperature};
}

bool Options::has_step(Step step) const { return std::ranges::find(steps, step) != steps.end(); }

namespace {

struct StepName {
  Step step;
  std::string_view name;
  char letter;
};
constexpr std::array kSteps = {StepName{Step::Penalties, "penalties", 'e'},
                               StepName{Step::Dry, "dry", 'd'},
                               StepName{Step::TopNSigma, "top_n_sigma", 's'},
                               StepName{Step::TopK, "top_k", 'k'},
                               StepName{Step::Typical, "typ_p", 'y'},
                               StepName{Step::TopP, "top_p", 'p'},
                               StepName{Step::MinP, "min_p", 'm'},
                               StepName{Step::Xtc, "xtc", 'x'},
                               StepName{Step::Temperature, "temperature", 't'}};

}  // namespace

std::optional<Step> step_named(std::string_view name) {
  std::string text(name);
  std::ranges::replace_if(text, [](char c) { return c == '-' || c == ' '; }, '_');
  if (text == "temp") return Step::Temperature;
  if (text == "typical_p" || text == "typical") return Step::Typical;
  const auto at = std::ranges::find(kSteps, text, &StepName::name);
  return at == kSteps.end() ? std::nullopt : std::optional(at->step);
}

std::optional<Step> step_of_letter(char letter) {
  const auto at = std::ranges::find(kSteps, letter, &StepName::letter);
  return at == kSteps.end() ? std::nullopt : std::optional(at->step);
}

std::string_view name_of(Step step) { return std::ranges::find(kSteps, step, &StepName::step)->name; }

void validate(const Options& options, std::uint32_t vocabulary) {
  require(std::isfinite(options.temperature) && options.temperature >= 0, "the temperature", options.temperature,
          "0 (always the likeliest token) or more", Setting::Temperature);
  require(options.top_k >= -1, "top-k", options.top_k, "a number of tokens, or 0 or -1 for all", Setting::TopK);
  require_between(options.top_p, 0, 1, "top-p", Setting::TopP);
  require_between(options.min_p, 0, 1, "min-p", Setting::MinP);
  require_between(options.typical_p, 0, 1, "typical-p", Setting::TypicalP);
  require(std::isfinite(options.repeat_penalty) && options.repeat_penalty > 0, "the repeat penalty",
          options.repeat_penalty, "more than 0 (1 is off)", Setting::RepeatPenalty);
  require(std::isfinite(options.presence_penalty), "the presence penalty", options.presence_penalty, "a finite number",
          Setting::PresencePenalty);
  require(std::isfinite(options.frequency_penalty), "the frequency penalty", options.frequency_penalty,
          "a finite number", Setting::FrequencyPenalty);
  require(options.repeat_last_n >= -1 && options.repeat_last_n <= kMostLastN, "the penalties' window",
          options.repeat_last_n, "-1 (all tokens), 0 (no penalties) or a number of tokens", Setting::RepeatLastN);
  const auto finite = [](float value, float least, std::string_view flag, std::string_view allowed) {
    require(std::isfinite(value) && value >= least, flag, value, allowed);
  };
  finite(options.dynatemp_range, 0, "the dynamic temperature's range", "0 (off) or more");
  finite(options.dynatemp_exponent, 0, "the dynamic temperature's exponent", "0 or more");
  finite(options.smoothing_factor, 0, "the smoothing factor", "0 (off) or more");
  require(options.smoothing_curve >= 1 && options.smoothing_curve <= 3, "the smoothing curve", options.smoothing_curve,
          "between 1 and 3");  // outside, a less likely token could become the likelier one
  require(std::isfinite(options.top_n_sigma), "top-n-sigma", options.top_n_sigma, "a finite number (0 or less is off)");
  require_between(options.xtc_probability, 0, 1, "XTC's probability");
  finite(options.xtc_threshold, 0, "XTC's threshold", "0 or more (above 0.5 is off)");
  require(options.min_keep >= 0, "min-keep", options.min_keep, "0 or more");
  finite(options.dry_multiplier, 0, "DRY's multiplier", "0 (off) or more");
  finite(options.dry_base, 0, "DRY's base", "0 or more (below 1 means 1.75)");
  require(options.dry_allowed_length >= 0, "DRY's allowed length", options.dry_allowed_length, "0 or more");
  require(options.dry_penalty_last_n >= -1 && options.dry_penalty_last_n <= kMostLastN, "DRY's window",
          options.dry_penalty_last_n, "-1 (all tokens), 0 (off) or a number of tokens");
  require(options.context >= 0 && options.context <= kMostLastN, "the context", options.context, "a number of tokens");
  require(options.mirostat >= 0 && options.mirostat <= 2, "mirostat", options.mirostat, "0 (off), 1 or 2");
  finite(options.mirostat_tau, 0, "mirostat's surprise", "0 or more");
  finite(options.mirostat_eta, 0, "mirostat's rate", "0 or more");
  require(options.adaptive_target <= 1, "adaptive-p's target", options.adaptive_target, "at most 1 (below 0 is off)");
  require_between(options.adaptive_decay, 0, 0.99F, "adaptive-p's decay");
  for (const auto& breaker : options.dry_breakers) {
    for (const Token token : breaker) {
      if (token >= 0 && static_cast<std::uint32_t>(token) < vocabulary) continue;
      throw Error(ErrorCode::Internal, fmt::format("token {} of a sequence breaker is not in the vocabulary", token));
    }
  }
  for (const LogitBias& bias : options.logit_bias) {
    if (bias.token < 0 || static_cast<std::uint32_t>(bias.token) >= vocabulary) {
      throw bad_input(
          fmt::format("a bias is for token {}, but the model's tokens are 0 to {}", bias.token, vocabulary - 1), "",
          Setting::LogitBias);
    }
    if (!(bias.bias < INFINITY)) {  // NaN too
      throw bad_input(fmt::format("the bias of token {} is {}, but must be finite or -inf", bias.token, bias.bias),
                      "A bias of 100 is as good as certain.", Setting::LogitBias);
    }
  }
}

}  // namespace loadline::sample

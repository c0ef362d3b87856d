#include "sample/options.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

#include "base/error.h"
#include "base/setting.h"

namespace loadline::sample {
namespace {

// The window of penalties is kept token by token; a longer one than any context is a slip of the keyboard.
constexpr std::int32_t kMostLastN = 1 << 24;

void require(bool holds, std::string_view what, double value, std::string_view allowed, Setting setting) {
  if (!holds) throw bad_input(fmt::format("{} is {}, but must be {}", what, value, allowed), "", setting);
}

void require_between(float value, float low, float high, std::string_view what, Setting setting) {
  // Written so that NaN fails.
  if (value >= low && value <= high) return;
  throw bad_input(fmt::format("{} is {}, but must be between {} and {}", what, value, low, high), "", setting);
}

}  // namespace

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

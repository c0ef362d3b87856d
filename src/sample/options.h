// What can be set about choosing the next token, with llama.cpp's names and defaults.
// A value type: command line and server fill it in, Sampler obeys it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace loadline::sample {

using Token = std::int32_t;

// Added to a token's logit before anything else. Minus infinity forbids the token.
struct LogitBias {
  Token token = 0;
  float bias = 0.0F;
};

// The steps whose order can be chosen. Logit bias comes before all of them, drawing after them.
enum class Step : std::uint8_t { Penalties, Dry, TopNSigma, TopK, Typical, TopP, MinP, Xtc, Temperature };

struct Options {
  float temperature = 0.8F;  // divides the logits; 0: always the likeliest token (greedy)
  std::int32_t top_k = 40;   // only the k likeliest; 0 or -1: off
  float top_p = 0.95F;       // the likeliest until their probabilities reach p; 1: off
  float min_p = 0.05F;       // only those at least min_p times as likely as the likeliest; 0: off
  float typical_p = 1.0F;    // the most typical until their probabilities reach p (arXiv:2202.00666); 1: off

  // On tokens among the last repeat_last_n: a positive logit is divided by repeat_penalty and any other multiplied with
  // it (arXiv:1909.05858); then presence_penalty and (occurrences * frequency_penalty) are subtracted.
  float repeat_penalty = 1.0F;      // 1: off
  float presence_penalty = 0.0F;    // 0: off
  float frequency_penalty = 0.0F;   // 0: off
  std::int32_t repeat_last_n = 64;  // 0: no penalties; -1: all tokens so far

  // The temperature moves between temperature - range and temperature + range with the entropy of the candidates, as a
  // share of the greatest possible, to this power.
  float dynatemp_range = 0.0F;  // 0: off
  float dynatemp_exponent = 1.0F;
  // Behind the temperature: a logit that is d below the largest becomes one that is factor * (k d^2 + s d^3) below,
  // with k = (3 - curve) / 2 and s = (curve - 1) / 2.
  float smoothing_factor = 0.0F;  // 0: off
  float smoothing_curve = 1.0F;

  float top_n_sigma =
      -1.0F;  // only logits within n standard deviations of the largest (arXiv:2411.07641); 0 or less: off
  // With this probability all but the least likely of the tokens that reach the threshold are dropped ("exclude top
  // choices", by p-e-w).
  float xtc_probability = 0.0F;  // 0: off
  float xtc_threshold = 0.1F;    // above 0.5: off
  std::int32_t min_keep = 0;     // truncations leave at least so many candidates

  // Subtracts multiplier * base^(n - allowed_length) from tokens that would continue a repetition of n tokens.
  float dry_multiplier = 0.0F;  // 0: off
  float dry_base = 1.75F;       // below 1: 1.75
  std::int32_t dry_allowed_length = 2;
  std::int32_t dry_penalty_last_n = 64;          // 0: off; -1: the whole context
  std::vector<std::vector<Token>> dry_breakers;  // token sequences that no repetition reaches across
  std::int32_t context = 1 << 16;                // the most tokens a sequence can have, for dry_penalty_last_n

  // Keeps the surprise of what is drawn near tau (arXiv:2007.14966), 1 or 2 being the algorithm; takes the place of
  // every truncation.
  std::int32_t mirostat = 0;  // 0: off
  float mirostat_tau = 5.0F;
  float mirostat_eta = 0.1F;

  // Draws tokens whose probability is near a target, which adapts so that the mean of what was drawn stays there
  // ("adaptive-p", llama.cpp pull request 17927). After all steps.
  float adaptive_target = -1.0F;  // below 0: off
  float adaptive_decay = 0.9F;    // how much earlier draws count

  std::vector<Step> steps = default_steps();

  std::vector<LogitBias> logit_bias;  // several of one token add up
  std::optional<std::uint64_t> seed;  // nullopt: another one each time

  // llama.cpp's.
  static std::vector<Step> default_steps();
  [[nodiscard]] bool has_step(Step step) const;
  [[nodiscard]] bool has_dry() const {
    return dry_multiplier != 0.0F && dry_penalty_last_n != 0 && has_step(Step::Dry);
  }
  [[nodiscard]] bool has_penalties() const {
    if (!has_step(Step::Penalties)) return false;
    return repeat_last_n != 0 && (repeat_penalty != 1.0F || presence_penalty != 0.0F || frequency_penalty != 0.0F);
  }
};

// llama.cpp's names: "penalties", "dry", "top_n_sigma", "top_k", "typ_p" ("typical_p"), "top_p", "min_p", "xtc" and
// "temperature" ("temp"); blanks and hyphens count as underscores. nullopt for others.
std::optional<Step> step_named(std::string_view name);
// And its letters: e d s k y p m x t.
std::optional<Step> step_of_letter(char letter);
std::string_view name_of(Step step);

// Throws Error(BadInput) that names the flag, the value and what is allowed.
void validate(const Options& options, std::uint32_t vocabulary);

}  // namespace loadline::sample

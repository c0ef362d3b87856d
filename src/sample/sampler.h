// Sampler: chooses the next token from the logits of the last one. Owns the history that penalties look at and the
// random generator; knows nothing of text or of the model.
//
// Logit bias, then the steps in the order of Options::steps, then the draw. Each works on what the one before left,
// with probabilities normalised over that.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "sample/options.h"
#include "sample/random.h"
#include "sample/repeats.h"

namespace loadline::sample {

// A token that could have been drawn, with its probability after all steps.
struct Candidate {
  Token token = 0;
  float logit = 0.0F;        // after bias and penalties; also after the temperature where steps follow it
  double probability = 0.0;  // sums to 1 over the candidates
};

// For one sequence, used by one thread at a time. The same options, seed, logits and calls give the same tokens on
// every machine: no step depends on the C library, on threads or on vector widths.
//
// Logits that are no numbers: NaN and minus infinity are never chosen; plus infinity counts as the largest float.
class Sampler {
 public:
  // Throws Error(BadInput) as `validate` does. All memory is allocated here: memory_bytes() of it.
  Sampler(Options options, std::uint32_t vocabulary);

  // The next token. `logits` holds one float per token of the vocabulary and is not changed. Equal logits are ordered
  // by token id. Of `allowed`, a bit a token, only what is set can be drawn, as if all other logits were minus
  // infinity; empty: everything. Throws Error(BadInput) where no logit that may be chosen is a number.
  Token sample(std::span<const float> logits, std::span<const std::uint64_t> allowed = {});

  // Adds a token to the history for penalties: those of the prompt that should count, then every one generated.
  void accept(Token token);

  // As constructed: no history, and the random numbers from the start.
  void reset();
  // No history, as where tokens were taken back: what is left of it is accepted anew. The random numbers go on.
  void forget_history();

  // What the last `sample` drew from. Likeliest first where top-k or top-p is on; the one token if greedy.
  [[nodiscard]] std::span<const Candidate> candidates() const { return candidates_; }
  // The seed in use, also where the options left it open.
  [[nodiscard]] std::uint64_t seed() const { return seed_; }

  // Exactly what a Sampler with these options allocates.
  static Bytes memory_bytes(const Options& options, std::uint32_t vocabulary);

 private:
  // Why a token's logit is not used as it comes.
  static constexpr std::uint8_t kBiased = 1;
  static constexpr std::uint8_t kRepeated = 2;
  static constexpr std::uint8_t kContinues = 4;  // a repetition; only while a token is chosen

  void gather(std::span<const float> logits, std::span<const std::uint64_t> allowed);
  void push_adjusted(Token token, float logit, float bias);
  [[nodiscard]] float penalised(Token token, float logit) const;
  void apply(Step step, bool last);
  [[nodiscard]] std::size_t kept_at_least() const;
  template <class Wanted>
  void keep_if(Wanted wanted);
  void sort();
  void keep_likeliest(std::size_t count);
  void weigh(double temperature);
  double total_weight() const;
  void keep_typical();
  void keep_top_p();
  void keep_min_p();
  void keep_top_n_sigma();
  void drop_top_choices();
  void apply_temperature(bool last);
  void keep_surprise();
  Token draw();
  Token draw_surprise();
  Token draw_adaptive();
  void normalise();

  void count(Token token);
  void forget(Token token);

  Options options_;
  std::uint32_t vocabulary_;
  std::uint64_t seed_;
  Random random_;
  bool early_penalties_ = false;  // they are applied while gathering
  bool early_dry_ = false;
  std::size_t first_step_ = 0;  // of steps_, that gathering has not done
  std::vector<Step> steps_;     // those that are on
  Repeats repeats_;
  std::vector<float> continued_;  // [vocabulary] DRY's penalty; 0 but while a token is chosen; empty without DRY
  double surprise_ = 0;           // mirostat's mu, in bits
  double adaptive_sum_ = 0;       // of the probabilities drawn, earlier ones counting less
  double adaptive_weight_ = 0;
  bool sorted_ = false;                // candidates_ is in order of descending logits
  std::size_t wanted_;                 // candidates that top-k (or greedy) lets through at most
  std::vector<Candidate> candidates_;  // never grows beyond what is reserved
  std::vector<LogitBias> biases_;      // one per token

  // The history, empty where there are no penalties.
  std::vector<Token> window_;  // ring of the last repeat_last_n tokens; empty for all tokens
  std::size_t window_next_ = 0;
  std::size_t window_used_ = 0;
  std::vector<std::uint32_t> counts_;   // [vocabulary] occurrences in the history
  std::vector<Token> repeated_;         // the tokens whose count is not zero, in no particular order
  std::vector<std::uint32_t> place_;    // [vocabulary] index in repeated_
  std::vector<std::uint8_t> adjusted_;  // [vocabulary] kBiased | kRepeated; empty where nothing is ever adjusted
};

}  // namespace loadline::sample

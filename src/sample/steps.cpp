// The steps between the logits and the draw, and the ways to draw.
#include <cmath>

#include "sample/candidates.h"
#include "sample/exponential.h"
#include "sample/sampler.h"

namespace loadline::sample {
namespace {

constexpr double kLn2 = 0.69314718055994531;

}  // namespace

std::size_t Sampler::kept_at_least() const { return static_cast<std::size_t>(options_.min_keep); }

// Keeps the candidates that `wanted` is true of, but no fewer of the likeliest than min_keep.
template <class Wanted>
void Sampler::keep_if(Wanted wanted) {
  if (kept_at_least() == 0) {
    std::erase_if(candidates_, [&](const Candidate& candidate) { return !wanted(candidate); });
    return;
  }
  sort();
  const std::size_t least = std::min(kept_at_least(), candidates_.size());
  const auto from = candidates_.begin() + static_cast<std::ptrdiff_t>(least);
  candidates_.erase(std::remove_if(from, candidates_.end(), [&](const Candidate& c) { return !wanted(c); }),
                    candidates_.end());
}

void Sampler::sort() {
  if (!sorted_) std::sort(candidates_.begin(), candidates_.end(), likelier);
  sorted_ = true;
}

// `last`: no step follows.
void Sampler::apply(Step step, bool last) {
  switch (step) {
    case Step::Penalties:
      for (Candidate& candidate : candidates_) candidate.logit = penalised(candidate.token, candidate.logit);
      break;
    case Step::Dry:
      for (Candidate& candidate : candidates_) {
        float& penalty = continued_[static_cast<std::size_t>(candidate.token)];
        candidate.logit -= penalty;
      }
      for (const Repeats::Penalty& one : repeats_.find()) continued_[static_cast<std::size_t>(one.token)] = 0.0F;
      break;
    case Step::TopNSigma: keep_top_n_sigma(); return;
    case Step::TopK: {
      const auto most = static_cast<std::size_t>(std::max(options_.top_k, options_.min_keep));
      if (candidates_.size() > most) keep_likeliest(most);
      sorted_ = false;
      return;
    }
    case Step::Typical: keep_typical(); return;
    case Step::TopP: keep_top_p(); return;
    case Step::MinP: keep_min_p(); return;
    case Step::Xtc: drop_top_choices(); return;
    case Step::Temperature: apply_temperature(last); return;
  }
  sorted_ = false;
  weigh(1.0);
}

void Sampler::keep_top_n_sigma() {
  double largest = candidates_[0].logit;
  double mean = 0;
  for (const Candidate& candidate : candidates_) {
    largest = std::max(largest, double{candidate.logit});
    mean += candidate.logit;
  }
  mean /= static_cast<double>(candidates_.size());
  double variance = 0;
  for (const Candidate& candidate : candidates_) variance += (candidate.logit - mean) * (candidate.logit - mean);
  variance /= static_cast<double>(candidates_.size());
  const double least = largest - options_.top_n_sigma * std::sqrt(variance);
  keep_if([least](const Candidate& candidate) { return candidate.logit >= least; });
}

// Of the candidates that reach the threshold only the least likely stays, so that less likely ones have their chance.
void Sampler::drop_top_choices() {
  if (candidates_.size() < 2 || random_.uniform() >= options_.xtc_probability) return;
  sort();
  const double least = options_.xtc_threshold * total_weight();
  std::size_t reaching = 0;
  while (reaching < candidates_.size() && candidates_[reaching].probability >= least) ++reaching;
  if (reaching < 2) return;
  const std::size_t dropped = reaching - 1;
  if (candidates_.size() - dropped < kept_at_least()) return;
  candidates_.erase(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(dropped));
}

void Sampler::apply_temperature(bool last) {
  double temperature = options_.temperature;
  if (options_.dynatemp_range > 0 && candidates_.size() > 1) {
    const double total = total_weight();
    double entropy = 0;
    for (const Candidate& candidate : candidates_) {
      const double p = candidate.probability / total;
      if (p > 1e-300) entropy -= p * logarithm(p);
    }
    const double share = std::clamp(entropy / logarithm(static_cast<double>(candidates_.size())), 0.0, 1.0);
    const double low = std::max(0.0, temperature - options_.dynatemp_range);
    const double high = temperature + options_.dynatemp_range;
    temperature = low + (high - low) * power_of_share(share, options_.dynatemp_exponent);
  }
  if (temperature <= 0) {
    keep_likeliest(1);
    weigh(1.0);
    return;
  }
  if (last && options_.smoothing_factor == 0) {
    if (temperature != 1) weigh(temperature);
    return;
  }
  float largest = candidates_[0].logit;
  for (const Candidate& candidate : candidates_) largest = std::max(largest, candidate.logit);
  const double top = largest / temperature;
  const double square = options_.smoothing_factor * (3.0 - options_.smoothing_curve) / 2;
  const double cube = options_.smoothing_factor * (options_.smoothing_curve - 1.0) / 2;
  for (Candidate& candidate : candidates_) {
    double below = (double{candidate.logit} - largest) / temperature;  // not positive
    if (options_.smoothing_factor != 0) below = -square * below * below + cube * below * below * below;
    candidate.logit = static_cast<float>(std::max(top + below, -double{kLargest}));
  }
  weigh(1.0);
}

// Sets every probability to e^(logit / temperature), up to a common factor: the likeliest has 1.
void Sampler::weigh(double temperature) {
  double largest = candidates_[0].logit;
  if (!sorted_) {
    for (const Candidate& candidate : candidates_) largest = std::max(largest, double{candidate.logit});
  }
  for (Candidate& candidate : candidates_) {
    candidate.probability = exponential((candidate.logit - largest) / temperature);
  }
}

double Sampler::total_weight() const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.probability;
  return total;
}

// The most typical tokens are those whose surprise, -log p, is nearest to the expected surprise, the entropy. With
// p = e^logit / total both contain log(total), so that their difference is that between the logit and the expected
// logit.
void Sampler::keep_typical() {
  const double total = total_weight();
  double expected = 0;
  for (const Candidate& candidate : candidates_) expected += candidate.probability * candidate.logit;
  expected /= total;
  const auto more_typical = [expected](const Candidate& a, const Candidate& b) {
    const double from_a = std::abs(a.logit - expected);
    const double from_b = std::abs(b.logit - expected);
    return from_a != from_b ? from_a < from_b : likelier(a, b);
  };
  const double goal = options_.typical_p * total;
  keep_first(candidates_, false, kept_at_least(), more_typical, [goal](double sum) { return sum > goal; });
  sorted_ = false;
}

void Sampler::keep_top_p() {
  const double goal = options_.top_p * total_weight();
  keep_first(candidates_, sorted_, kept_at_least(), likelier, [goal](double sum) { return sum >= goal; });
  sorted_ = true;
}

void Sampler::keep_min_p() {
  double largest = candidates_[0].probability;
  if (!sorted_) {
    for (const Candidate& candidate : candidates_) largest = std::max(largest, candidate.probability);
  }
  const double least = options_.min_p * largest;
  keep_if([least](const Candidate& candidate) { return candidate.probability >= least; });
}

// Draws by the weights, and makes probabilities of them.
Token Sampler::draw() {
  const double total = total_weight();
  const double goal = random_.uniform() * total;
  Token chosen = -1;
  double sum = 0;
  for (Candidate& candidate : candidates_) {
    sum += candidate.probability;
    // The first whose share reaches beyond the goal. Rounding cannot leave none: `sum` ends at `total`, and the largest
    // uniform value times `total` stays below it.
    if (chosen < 0 && sum > goal) chosen = candidate.token;
    candidate.probability /= total;
  }
  return chosen;
}

void Sampler::normalise() {
  const double total = total_weight();
  for (Candidate& candidate : candidates_) candidate.probability /= total;
}

// Mirostat. Its surprises are in bits.
void Sampler::keep_surprise() {
  sort();
  normalise();
  if (options_.mirostat == 2) {
    std::size_t kept = 1;
    while (kept < candidates_.size() && candidates_[kept].probability > 1e-300 &&
           -logarithm(candidates_[kept].probability) / kLn2 <= surprise_) {
      ++kept;
    }
    candidates_.resize(kept);
    return;
  }
  // Zipf's exponent from the likeliest hundred, and from it how many tokens have the wanted surprise (section 4.1).
  double products = 0;
  double squares = 0;
  const std::size_t looked_at = std::min<std::size_t>(candidates_.size(), 100);
  for (std::size_t i = 0; i + 1 < looked_at && candidates_[i + 1].probability > 1e-300; ++i) {
    const double ranks = logarithm(static_cast<double>(i + 2) / static_cast<double>(i + 1));
    products += ranks * logarithm(candidates_[i].probability / candidates_[i + 1].probability);
    squares += ranks * ranks;
  }
  const auto power = [](double base, double exponent) {
    const double x = exponent * logarithm(base);
    return x <= 0 ? exponential(x) : 1.0 / std::max(exponential(-x), 1e-300);
  };
  const double zipf = squares > 0 ? products / squares : 1.0;
  const double over = zipf - 1;
  double count = 1;
  if (zipf > 1e-6) {
    const double spread = std::abs(over) < 1e-9 ? logarithm(static_cast<double>(vocabulary_))
                                                : (1 - power(static_cast<double>(vocabulary_), -over)) / over;
    count = power(power(2.0, surprise_) / std::max(spread, 1e-300), 1 / zipf);
  } else {
    count = static_cast<double>(vocabulary_);
  }
  const double most = std::clamp(count, 1.0, static_cast<double>(candidates_.size()));
  candidates_.resize(static_cast<std::size_t>(most));
}

Token Sampler::draw_surprise() {
  keep_surprise();
  const Token token = draw();
  for (const Candidate& candidate : candidates_) {
    if (candidate.token != token) continue;
    surprise_ -= options_.mirostat_eta * (-logarithm(candidate.probability) / kLn2 - options_.mirostat_tau);
    break;
  }
  return token;
}

// Adaptive-p: the farther a probability is from the target, the smaller a logit it gets, first with the square of the
// distance and then with the distance. The constants are llama.cpp's.
Token Sampler::draw_adaptive() {
  constexpr double kPerWidth = 1 / 0.3;
  constexpr double kSharpness = 10;
  normalise();
  const double target = std::clamp(2.0 * options_.adaptive_target - adaptive_sum_ / adaptive_weight_, 0.0, 1.0);
  const auto weight = [&](double probability) {
    const double distance = std::abs(probability - target) * kPerWidth;
    return exponential(-kSharpness * distance * distance / (1 + distance));
  };
  double total = 0;
  for (const Candidate& candidate : candidates_) total += weight(candidate.probability);
  const double goal = random_.uniform() * total;
  Token chosen = -1;
  double chosen_probability = 0;
  double sum = 0;
  for (Candidate& candidate : candidates_) {
    const double before = candidate.probability;
    const double now = weight(before);
    sum += now;
    if (chosen < 0 && sum > goal) {
      chosen = candidate.token;
      chosen_probability = before;
    }
    candidate.probability = now / total;
  }
  if (chosen < 0) {  // all weights have vanished
    chosen = candidates_.back().token;
    chosen_probability = 0;
  }
  adaptive_sum_ = chosen_probability + options_.adaptive_decay * adaptive_sum_;
  adaptive_weight_ = 1 + options_.adaptive_decay * adaptive_weight_;
  return chosen;
}

}  // namespace loadline::sample

#include "serve/sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "serve/token_ids.h"
#include "tokenizer/containing.h"

namespace loadline::serve {
namespace {

constexpr double kHuge = 1e6;
constexpr float kForbidden = -std::numeric_limits<float>::infinity();

// A number of the sampler, and what requests call it: the first is llama.cpp's.
struct Number {
  float sample::Options::* target;
  double least, most;
  std::array<std::string_view, 3> names;
};
using Options = sample::Options;
constexpr std::array kNumbers = {
    Number{&Options::temperature, 0, kHuge, {"temperature"}},
    Number{&Options::top_p, 0, 1, {"top_p"}},
    Number{&Options::min_p, 0, 1, {"min_p"}},
    Number{&Options::typical_p, 0, 1, {"typical_p", "typical"}},
    Number{&Options::presence_penalty, -100, 100, {"presence_penalty"}},
    Number{&Options::frequency_penalty, -100, 100, {"frequency_penalty"}},
    Number{&Options::dynatemp_range, 0, kHuge, {"dynatemp_range"}},
    Number{&Options::dynatemp_exponent, 0, kHuge, {"dynatemp_exponent"}},
    Number{&Options::smoothing_factor, 0, kHuge, {"smoothing_factor"}},
    Number{&Options::smoothing_curve, 1, 3, {"smoothing_curve"}},
    Number{&Options::top_n_sigma, -kHuge, kHuge, {"top_n_sigma", "nsigma"}},
    Number{&Options::xtc_probability, 0, 1, {"xtc_probability"}},
    Number{&Options::xtc_threshold, 0, kHuge, {"xtc_threshold"}},
    Number{&Options::dry_multiplier, 0, kHuge, {"dry_multiplier"}},
    Number{&Options::dry_base, 0, kHuge, {"dry_base"}},
    Number{&Options::mirostat_tau, 0, kHuge, {"mirostat_tau"}},
    Number{&Options::mirostat_eta, 0, kHuge, {"mirostat_eta"}},
    Number{&Options::adaptive_target, -kHuge, 1, {"adaptive_target"}},
    Number{&Options::adaptive_decay, 0, 0.99, {"adaptive_decay"}},
};

struct Integer {
  std::int32_t sample::Options::* target;
  std::int64_t least, most;
  std::array<std::string_view, 4> names;
};
constexpr std::int64_t kMostWindow = 1 << 24;
constexpr std::array kIntegers = {
    Integer{&Options::top_k, -1, INT32_MAX, {"top_k"}},
    Integer{&Options::repeat_last_n,
            -1,
            kMostWindow,
            {"repeat_last_n", "rep_pen_range", "repetition_penalty_range", "penalty_range"}},
    Integer{&Options::min_keep, 0, INT32_MAX, {"min_keep"}},
    Integer{&Options::dry_allowed_length, 0, INT32_MAX, {"dry_allowed_length"}},
    Integer{&Options::dry_penalty_last_n, -1, kMostWindow, {"dry_penalty_last_n", "dry_range"}},
    Integer{&Options::mirostat, 0, 2, {"mirostat", "mirostat_mode"}},
};

std::int64_t token_named(std::string_view key) {
  std::int64_t token = -1;
  const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), token);
  return problem == std::errc() && end == key.data() + key.size() ? token : -1;
}

class Biases {
 public:
  Biases(Options& options, const tokenizer::Tokenizer& tokenizer) : options_(options), tokenizer_(tokenizer) {}

  void add(const Json& token, float bias, std::string_view field = "logit_bias") {
    if (bias <= -100) bias = kForbidden;  // OpenAI: a ban
    options_.logit_bias.push_back({token_of(tokenizer_, token, field), bias});
  }

  // {"15": -100}, {"text": 5}, [[15, -1], ["text", false]].
  void add_all(const Json& value) {
    if (value.is_object()) {
      for (const auto& [key, bias] : value.items()) add_one(Json(key), bias);
    } else if (value.is_array()) {
      for (const Json& pair : value) {
        if (pair.is_object()) {  // an older form: {"id": 15, "bias": 1}
          const Json* id = find(pair, "id");
          const Json* bias = find(pair, "bias");
          if (id == nullptr || bias == nullptr) throw wrong_field("logit_bias", "pairs of a token and a number");
          add_one(*id, *bias);
          continue;
        }
        if (!pair.is_array() || pair.size() != 2) throw wrong_field("logit_bias", "pairs of a token and a number");
        add_one(pair[0], pair[1]);
      }
    } else {
      throw wrong_field("logit_bias", "an object or an array of pairs");
    }
  }

 private:
  void add_one(const Json& what, const Json& bias) {
    float number = 0;
    if (bias.is_number()) {
      number = bias.get<float>();
    } else if (bias == false) {
      number = kForbidden;
    } else {
      throw wrong_field("logit_bias", "numbers, or false, by token");
    }
    if (!(number < INFINITY)) throw wrong_field("logit_bias", "finite numbers, or false, by token");
    if (what.is_number_integer()) return add(what, number);
    if (!what.is_string()) throw wrong_field("logit_bias", "numbers, or false, by token");
    const std::string& text = what.get_ref<const std::string&>();
    if (const std::int64_t token = token_named(text); token >= 0) return add(token, number);
    for (const auto token : tokenizer_.encode(text, {.add_special = false})) add(token, number);
  }

  Options& options_;
  const tokenizer::Tokenizer& tokenizer_;
};

// "1,2,3".
void ban_tokens(const Json& object, Biases& biases) {
  const Json* bans = find(object, "custom_token_bans");
  if (bans == nullptr || !bans->is_string()) return;
  std::string_view text = bans->get_ref<const std::string&>();
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (one.empty()) continue;
    const std::int64_t token = token_named(one);
    if (token < 0) throw wrong_field("custom_token_bans", "token ids with commas between them");
    biases.add(token, kForbidden, "custom_token_bans");
  }
}

// An array, an array written as a string, or quoted texts with commas between them.
std::vector<std::string> breakers_of(const Json& object) {
  static const std::vector<std::string> kUsual = {"\n", ":", "\"", "*"};
  const Json* value = find(object, "dry_sequence_breakers");
  if (value == nullptr) return kUsual;
  Json list = *value;
  if (list.is_string()) {
    const std::string text = list.get<std::string>();
    if (text.empty()) return kUsual;
    const auto parsed = [](const std::string& json) { return Json::parse(json, nullptr, false); };
    list = text.starts_with('[') && text.size() < 65536 ? parsed(text) : parsed("[" + text.substr(0, 65536) + "]");
    if (list.is_discarded()) throw wrong_field("dry_sequence_breakers", "an array of strings");
  }
  std::vector<std::string> out;
  if (!list.is_array()) throw wrong_field("dry_sequence_breakers", "an array of strings");
  for (const Json& one : list) {
    if (!one.is_string()) throw wrong_field("dry_sequence_breakers", "an array of strings");
    if (!one.get_ref<const std::string&>().empty()) out.push_back(one.get<std::string>());
    if (out.size() > 64) throw wrong_field("dry_sequence_breakers", "at most 64 strings");
  }
  return out.empty() ? kUsual : out;
}

void add_steps(const Json& object, Options& options) {
  const auto set = [&](std::vector<sample::Step> steps) {
    std::vector<sample::Step> once;
    for (const sample::Step step : steps) {
      if (std::ranges::find(once, step) == once.end()) once.push_back(step);
    }
    options.steps = std::move(once);
  };
  std::vector<sample::Step> steps;
  if (const Json* names = find(object, "samplers")) {
    if (names->is_array()) {
      for (const Json& name : *names) {
        const auto step = name.is_string() ? sample::step_named(name.get_ref<const std::string&>()) : std::nullopt;
        if (step) steps.push_back(*step);
      }
      return set(std::move(steps));
    }
    if (names->is_string()) {
      for (const char letter : names->get_ref<const std::string&>()) {
        if (const auto step = sample::step_of_letter(letter)) steps.push_back(*step);
      }
      return set(std::move(steps));
    }
    throw wrong_field("samplers", "an array of names");
  }
  const Json* order = find(object, "sampler_order");
  if (order == nullptr || !order->is_array() || order->empty()) return;
  // KoboldCpp's: 0 top-k, 1 top-a, 2 top-p, 3 tail free, 4 typical, 5 temperature, 6 repetition; min-p goes with top-p.
  using sample::Step;
  for (const Json& one : *order) {
    switch (one.is_number_integer() ? one.get<std::int64_t>() : -1) {
      case 0: steps.insert(steps.end(), {Step::TopNSigma, Step::TopK}); break;
      case 2: steps.insert(steps.end(), {Step::TopP, Step::MinP}); break;
      case 4: steps.push_back(Step::Typical); break;
      case 5: steps.insert(steps.end(), {Step::Xtc, Step::Temperature}); break;
      case 6: steps.insert(steps.end(), {Step::Penalties, Step::Dry}); break;
      case 1:
      case 3: break;
      default: throw wrong_field("sampler_order", "an array of numbers from 0 to 6");
    }
  }
  set(std::move(steps));
}

// low and high in place of a middle and a range.
void add_dynamic_temperature(const Json& object, Options& options) {
  if (!get_bool(object, "dynamic_temperature").value_or(false)) return;
  const auto low = get_number(object, "dynatemp_low", 0, kHuge);
  const auto high = get_number(object, "dynatemp_high", 0, kHuge);
  if (!low || !high || *high < *low) return;
  options.temperature = static_cast<float>((*low + *high) / 2);
  options.dynatemp_range = static_cast<float>((*high - *low) / 2);
}

void add_seed(const Json& object, Dialect dialect, Options& options) {
  const std::array<std::string_view, 2> names = dialect == Dialect::Kobold
                                                    ? std::array<std::string_view, 2>{"sampler_seed", "seed"}
                                                    : std::array<std::string_view, 2>{"seed", "sampler_seed"};
  for (const std::string_view name : names) {
    const auto seed = get_integer(object, name, INT64_MIN / 2, INT64_MAX / 2);
    if (!seed) continue;
    if (*seed >= 0) {
      options.seed = static_cast<std::uint64_t>(*seed);
    } else {
      options.seed.reset();
    }
    return;
  }
}

}  // namespace

sample::Options defaults_of(Dialect dialect, sample::Options server) {
  const sample::Options usual;
  const auto set = [&](auto member, auto value) {  // what the server was started with stays
    if (server.*member == usual.*member) server.*member = value;
  };
  switch (dialect) {
    case Dialect::Native: break;
    case Dialect::OpenAi:
    case Dialect::Anthropic: set(&Options::temperature, 1.0F); break;
    case Dialect::Kobold:
      set(&Options::temperature, 0.75F);
      set(&Options::top_k, 100);
      set(&Options::top_p, 0.92F);
      set(&Options::min_p, 0.0F);
      set(&Options::repeat_last_n, 360);
      set(&Options::dry_penalty_last_n, 320);
      set(&Options::xtc_threshold, 0.2F);
      break;
    case Dialect::Ollama:
      set(&Options::top_p, 0.9F);
      set(&Options::min_p, 0.0F);
      break;
  }
  return server;
}

sample::Options get_sampling(const Json& object, const sample::Options& defaults, Dialect dialect,
                             const tokenizer::Tokenizer& tokenizer, std::uint32_t context) {
  sample::Options options = defaults;
  options.context = static_cast<std::int32_t>(context);
  for (const Number& number : kNumbers) {
    for (const std::string_view name : number.names) {
      if (name.empty()) continue;
      // Some clients write a negative temperature for greedy.
      const double least = number.target == &Options::temperature ? -kHuge : number.least;
      const auto value = get_number(object, name, least, number.most);
      if (!value) continue;
      options.*number.target = static_cast<float>(std::max(*value, number.least));
      break;
    }
  }
  for (const Integer& integer : kIntegers) {
    for (const std::string_view name : integer.names) {
      if (name.empty()) continue;
      const auto value = get_integer(object, name, integer.least, integer.most);
      if (!value) continue;
      options.*integer.target = static_cast<std::int32_t>(*value);
      break;
    }
  }
  // The largest of the names that are there, as KoboldCpp has it.
  double repeat = 0;
  for (const char* name : {"repeat_penalty", "rep_pen", "repetition_penalty"}) {
    if (const auto value = get_number(object, name, 0, kHuge)) repeat = std::max(repeat, *value);
  }
  if (repeat > 0) options.repeat_penalty = static_cast<float>(repeat);
  if (options.typical_p == 0.0F) options.typical_p = 1.0F;  // off, as presets write it
  if (options.dry_base < 1) options.dry_base = sample::Options().dry_base;
  options.repeat_last_n = std::min(options.repeat_last_n, static_cast<std::int32_t>(context));
  options.dry_penalty_last_n = std::min(options.dry_penalty_last_n, static_cast<std::int32_t>(context));
  add_dynamic_temperature(object, options);
  add_steps(object, options);
  add_seed(object, dialect, options);
  Biases biases(options, tokenizer);
  if (const Json* value = find(object, "logit_bias")) biases.add_all(*value);
  ban_tokens(object, biases);
  if (options.has_dry()) {
    options.dry_breakers.clear();
    for (const std::string& text : breakers_of(object)) {
      for (auto& sequence : tokenizer::sequences_containing(tokenizer, text)) {
        options.dry_breakers.push_back(std::move(sequence));
      }
    }
  }
  return options;
}

std::optional<std::int64_t> get_most_tokens(const Json& object, Dialect dialect) {
  using Names = std::vector<std::string_view>;
  static const Names kOpenAi = {"n_predict",  "max_completion_tokens", "max_tokens", "max_output_tokens",
                                "max_length", "max_new_tokens",        "num_predict"};
  static const Names kKobold = {"max_length", "max_tokens", "n_predict", "max_new_tokens"};
  static const Names kOllama = {"num_predict"};
  const Names& names = dialect == Dialect::Kobold ? kKobold : dialect == Dialect::Ollama ? kOllama : kOpenAi;
  for (const std::string_view name : names) {
    if (const auto most = get_integer(object, name, INT32_MIN, INT32_MAX)) return *most < 0 ? -1 : *most;
  }
  return std::nullopt;
}

std::vector<std::string> get_stops(const Json& object) {
  constexpr std::size_t kMost = 256;
  constexpr std::size_t kLongest = 1024;
  std::vector<std::string> out;
  for (const char* name : {"stop", "stop_sequence", "stop_sequences", "stopping_strings", "custom_stopping_strings"}) {
    const Json* value = find(object, name);
    if (value == nullptr) continue;
    for (std::string& text : get_strings(object, name)) {
      if (std::ranges::find(out, text) != out.end()) continue;
      if (text.size() > kLongest) throw wrong_field(name, fmt::format("strings of at most {} bytes", kLongest));
      out.push_back(std::move(text));
    }
    if (out.size() > kMost) throw wrong_field(name, fmt::format("at most {} strings", kMost));
  }
  return out;
}

// An array of phrases, or a line for each.
std::vector<std::string> get_banned(const Json& object) {
  constexpr std::size_t kMost = 768;
  constexpr std::size_t kLongest = 1024;
  std::vector<std::string> out;
  const auto add = [&](std::string_view name, std::string_view phrase) {
    if (phrase.size() > kLongest) throw wrong_field(name, fmt::format("phrases of at most {} bytes", kLongest));
    if (!phrase.empty() && std::ranges::find(out, phrase) == out.end()) out.emplace_back(phrase);
    if (out.size() > kMost) throw wrong_field(name, fmt::format("at most {} phrases", kMost));
  };
  for (const char* name : {"banned_strings", "banned_tokens", "banned_phrases"}) {
    const Json* value = find(object, name);
    if (value == nullptr) continue;
    const bool lines = value->is_string();
    for (const std::string& text : get_strings(object, name)) {
      for (std::string_view rest = text; !rest.empty();) {
        const std::size_t end = lines ? std::min(rest.find('\n'), rest.size()) : rest.size();
        add(name, rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
  }
  return out;
}

bool after_steps(const Json& object) { return get_bool(object, "post_sampling_probs").value_or(false); }

bool get_ignore_end(const Json& object) {
  for (const char* name : {"ignore_eos", "ban_eos_token", "use_default_badwordsids"}) {
    if (get_bool(object, name).value_or(false)) return true;
  }
  return false;
}

Json sampling_json(const sample::Options& options) {
  Json out = {{"seed", options.seed ? Json(*options.seed) : Json(-1)}};
  for (const Number& number : kNumbers) {
    // As it was written, not as the nearest float.
    out[std::string(number.names[0])] = std::round(static_cast<double>(options.*number.target) * 1e6) / 1e6;
  }
  out["repeat_penalty"] = std::round(static_cast<double>(options.repeat_penalty) * 1e6) / 1e6;
  for (const Integer& integer : kIntegers) out[std::string(integer.names[0])] = options.*integer.target;
  Json steps = Json::array();
  for (const sample::Step step : options.steps) steps.push_back(sample::name_of(step));
  out["samplers"] = std::move(steps);
  return out;
}

}  // namespace loadline::serve

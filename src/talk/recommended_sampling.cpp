#include "talk/recommended_sampling.h"

#include <fmt/format.h>

#include <array>
#include <variant>

namespace loadline::talk {
namespace {

using sample::Options;

struct Known {
  std::string_view key;
  std::string_view name;
  std::variant<float Options::*, std::int32_t Options::*> member;
  double least;
  double most;
};

// llama.cpp's keys (its gguf-py/gguf/constants.py).
constexpr std::array kKnown = std::to_array<Known>({
    {"temp", "temp", &Options::temperature, 0, 100},
    {"top_k", "top-k", &Options::top_k, -1, 1 << 30},
    {"top_p", "top-p", &Options::top_p, 0, 1},
    {"min_p", "min-p", &Options::min_p, 0, 1},
    {"xtc_probability", "xtc-probability", &Options::xtc_probability, 0, 1},
    {"xtc_threshold", "xtc-threshold", &Options::xtc_threshold, 0, 1},
    {"penalty_last_n", "repeat-last-n", &Options::repeat_last_n, -1, 1 << 20},
    {"penalty_repeat", "repeat-penalty", &Options::repeat_penalty, 0.01, 100},
    {"mirostat", "mirostat", &Options::mirostat, 0, 2},
    {"mirostat_tau", "mirostat-ent", &Options::mirostat_tau, 0.01, 100},
    {"mirostat_eta", "mirostat-lr", &Options::mirostat_eta, 0, 1},
});

}  // namespace

std::vector<Recommendation> recommended_sampling(const gguf::Metadata& metadata, std::vector<std::string>& remarks) {
  std::vector<Recommendation> out;
  for (const Known& known : kKnown) {
    const std::string key = fmt::format("general.sampling.{}", known.key);
    if (metadata.find(key) == nullptr) continue;
    const bool whole = std::holds_alternative<std::int32_t Options::*>(known.member);
    const std::optional<double> value = metadata.get_number(key);
    const bool good = value && *value >= known.least && *value <= known.most &&
                      (!whole || *value == static_cast<double>(static_cast<std::int64_t>(*value)));
    if (good) {
      out.push_back({known.key, known.name, *value});
    } else {
      remarks.push_back(fmt::format("{} is nothing that can be followed; it is left out", key));
    }
  }
  if (metadata.find("general.sampling.sequence") != nullptr) {
    remarks.emplace_back("general.sampling.sequence is not followed: the steps have their usual order");
  }
  return out;
}

void follow(const Recommendation& recommendation, Options& options) {
  for (const Known& known : kKnown) {
    if (known.key != recommendation.key) continue;
    if (const auto* real = std::get_if<float Options::*>(&known.member)) {
      options.** real = static_cast<float>(recommendation.value);
    } else {
      options.*std::get<std::int32_t Options::*>(known.member) = static_cast<std::int32_t>(recommendation.value);
    }
  }
}

}  // namespace loadline::talk

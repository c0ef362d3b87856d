// Settings that were found by tuning, remembered for a machine and a model under the user's cache folder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "hardware/profile.h"
#include "watch/tune.h"

namespace loadline::watch {

struct Tuned {
  Setting setting;
  Measured measured;
  std::string date;
};

// $XDG_CACHE_HOME/loadline/tuned.json, or under ~/.cache; empty where neither is known.
std::filesystem::path tuned_path();

// `model`: plan::fingerprint. A file that is missing or damaged holds nothing. `remember` throws Error(BadInput) where
// the file cannot be written.
std::optional<Tuned> recall_tuned(const std::filesystem::path& file, const hardware::Profile& machine,
                                  const std::string& model);
void remember_tuned(const std::filesystem::path& file, const hardware::Profile& machine, const std::string& model,
                    const Tuned& tuned);

}  // namespace loadline::watch

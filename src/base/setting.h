// What a user can set and an Error can be about. Each outermost layer has its own word for it (a flag, a field), which
// it adds to the hint; no library knows these words.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace loadline {

enum class Setting {
  None,
  Context,
  Sequences,
  Batch,
  Threads,
  CacheTypeK,
  CacheTypeV,
  RamBudget,
  GpuBudget,
  GpuLayers,
  TensorPlacement,
  Machine,
  Devices,
  Temperature,
  TopK,
  TopP,
  MinP,
  TypicalP,
  RepeatPenalty,
  PresencePenalty,
  FrequencyPenalty,
  RepeatLastN,
  LogitBias,
  DraftMax,
  DraftMin,
  NgramMax,
  NgramMin,
  Certificate,
};

// An Error that names what would have to be set otherwise.
class SettingError : public Error {
 public:
  SettingError(ErrorCode code, const std::string& sentence, std::string hint, Setting setting)
      : Error(code, sentence, std::move(hint)), setting_(setting) {}

  [[nodiscard]] Setting setting() const { return setting_; }

 private:
  Setting setting_;
};

inline SettingError bad_input(const std::string& sentence, std::string hint, Setting setting) {
  return {ErrorCode::BadInput, sentence, std::move(hint), setting};
}

}  // namespace loadline

#include "cli/settings.h"

namespace loadline::cli {

std::string flag_of(Setting setting) {
  switch (setting) {
    case Setting::None: return {};
    case Setting::Context: return "-c";
    case Setting::Sequences: return "-np";
    case Setting::Batch: return "-b";
    case Setting::Threads: return "-t";
    case Setting::CacheTypeK: return "-ctk";
    case Setting::CacheTypeV: return "-ctv";
    case Setting::RamBudget: return "--ram";
    case Setting::GpuBudget: return "--vram";
    case Setting::GpuLayers: return "-ngl";
    case Setting::TensorPlacement: return "-ot";
    case Setting::Devices: return "-dev";
    case Setting::Machine: return "--gpu or --hardware";
    case Setting::Temperature: return "--temp";
    case Setting::TopK: return "--top-k";
    case Setting::TopP: return "--top-p";
    case Setting::MinP: return "--min-p";
    case Setting::TypicalP: return "--typical";
    case Setting::RepeatPenalty: return "--repeat-penalty";
    case Setting::PresencePenalty: return "--presence-penalty";
    case Setting::FrequencyPenalty: return "--frequency-penalty";
    case Setting::RepeatLastN: return "--repeat-last-n";
    case Setting::LogitBias: return "--logit-bias";
    case Setting::DraftMax: return "--draft-max";
    case Setting::DraftMin: return "--draft-min";
    case Setting::NgramMax: return "--ngram-max";
    case Setting::NgramMin: return "--ngram-min";
    case Setting::Certificate: return "--tls-cert";
  }
  return {};
}

}  // namespace loadline::cli

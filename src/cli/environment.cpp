#include "cli/environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include "base/error.h"

namespace loadline::cli {
namespace {

// llama.cpp's names of its own variables (its server's documentation) that are not made from a flag that we have.
constexpr std::array<std::pair<std::string_view, const char*>, 12> kOthers = {{
    {"--parallel", "LLAMA_ARG_N_PARALLEL"},
    {"--batch-size", "LLAMA_ARG_BATCH"},
    {"--ubatch-size", "LLAMA_ARG_UBATCH"},
    {"--api-key", "LLAMA_API_KEY"},
    {"--tls-key", "LLAMA_ARG_SSL_KEY_FILE"},
    {"--tls-cert", "LLAMA_ARG_SSL_CERT_FILE"},
    {"--n-gpu-layers", "LLAMA_ARG_N_GPU_LAYERS"},
    {"--no-kv-offload", "LLAMA_ARG_NO_KV_OFFLOAD"},
    {"--override-tensor", "LLAMA_ARG_OVERRIDE_TENSOR"},
    {"--rope-freq-base", "LLAMA_ARG_ROPE_FREQ_BASE"},
    {"--yarn-orig-ctx", "LLAMA_ARG_YARN_ORIG_CTX"},
    {"--models", "LLAMA_ARG_MODELS_DIR"},
}};

std::string variable_of(std::string_view prefix, std::string_view flag) {
  std::string name(prefix);
  for (const char c : flag.substr(2)) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

bool take_from(Option& option, const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  if (value == nullptr || *value == '\0') return false;
  set_from_text(option, variable, value);
  return true;
}

void apply(Option& option) {
  if (option.given()) return;
  for (const std::string_view prefix : {"LOADLINE_ARG_", "LLAMA_ARG_"}) {
    for (const std::string& flag : option.flags()) {
      if (flag.starts_with("--") && take_from(option, variable_of(prefix, flag))) return;
    }
  }
  for (const auto& [flag, variable] : kOthers) {
    if (std::ranges::find(option.flags(), flag) != option.flags().end() && take_from(option, variable)) return;
  }
}

}  // namespace

void set_from_text(Option& option, const std::string& name, std::string_view value) {
  if (!option.is_flag()) return option.take(name, value);
  constexpr std::array kYes = std::to_array<std::string_view>({"1", "true", "on", "yes", "enabled"});
  constexpr std::array kNo = std::to_array<std::string_view>({"0", "false", "off", "no", "disabled"});
  if (std::ranges::find(kYes, value) != kYes.end()) return option.take(name, "");
  if (std::ranges::find(kNo, value) == kNo.end()) throw bad_input(fmt::format("{} is a switch, on or off", name));
}

void apply_environment(Command& command) {
  for (Option& option : command.options()) apply(option);
}

}  // namespace loadline::cli

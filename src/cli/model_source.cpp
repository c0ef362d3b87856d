#include "cli/model_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "cli/option.h"
#include "gguf/describe.h"
#include "talk/recommended_sampling.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {
namespace fs = std::filesystem;
namespace {

// Beside the program, in the repository it was built in, or where it was installed.
fs::path find_demo(const std::string& file) {
  std::error_code problem;
  const fs::path program = fs::read_symlink("/proc/self/exe", problem).parent_path();
  const std::array candidates = {program / file, program / "../../models" / file, program / "../share/loadline" / file};
  for (const fs::path& candidate : candidates) {
    if (fs::is_regular_file(candidate, problem)) return candidate;
  }
  throw bad_input("no model was named, and the demo model is not where it was installed", "Name a model with -m.");
}

std::string shown(const gguf::Value* value) {
  return value == nullptr ? "has none" : fmt::format("says {}", gguf::value_text(*value, false));
}

// Whether it is a recommendation for choosing tokens, which generating reads and no program.
bool follows(const gguf::Metadata& metadata, const MetadataOverride& change) {
  constexpr std::string_view kSampling = "general.sampling.";
  if (!change.key.starts_with(kSampling)) return false;
  std::vector<std::string> remarks;
  const auto all = talk::recommended_sampling(metadata, remarks);
  const auto key = std::string_view(change.key).substr(kSampling.size());
  if (std::ranges::find(all, key, &talk::Recommendation::key) != all.end()) return true;
  if (std::ranges::any_of(remarks, [&](const std::string& remark) { return remark.starts_with(change.key + " "); })) {
    throw bad_input(fmt::format("{} cannot be {}", printable(change.key), gguf::value_text(change.value, false)));
  }
  return false;
}

// Refuses an override that would change nothing. What is read does not bear a value that no key can have.
void require_read(gguf::Model& model, const MetadataOverride& change) {
  if (follows(model.metadata, change)) return;
  gguf::Array impossible = gguf::Array::of(std::vector<gguf::Array>{gguf::Array::of(std::vector<bool>{})});
  model.metadata.set(change.key, {std::move(impossible)});
  bool read = false;
  try {
    (void)model::build_program(model);
    if (change.key.starts_with("tokenizer.")) (void)tokenizer::Tokenizer::from_metadata(model.metadata);
  } catch (const Error&) {
    read = true;
  }
  model.metadata.set(change.key, change.value);
  if (read) return;
  throw bad_input(fmt::format("{} cannot be overridden: nothing reads it in this model", printable(change.key)),
                  "`loadline inspect` shows the keys that the file has.");
}

}  // namespace

void ModelOptions::add_to(Command& command, const std::string& position, bool required) {
  command.option(position.empty() ? "-m,--model" : position + ",-m,--model", &path_,
                 "GGUF file, or the first file of a split model", {.required = required});
  add_overrides_to(command);
}

void ModelOptions::add_overrides_to(Command& command) {
  const Traits group{.group = "Instead of what the model's file says"};
  command.option("--override-kv", &values_,
                 "KEY=TYPE:VALUE: this for a metadata key; TYPE is int, float, bool or str; may be repeated", group);
  command.option("--rope-scaling", &rope_scaling_, "none, linear or yarn", group);
  command.option("--rope-scale", &rope_scale_, "Stretch the context by this factor", group);
  command.option("--rope-freq-base", &rope_freq_base_, "Base of the rope's frequencies", group);
  command.option("--rope-freq-scale", &rope_freq_scale_, "Stretch the context by the inverse of this", group);
  command.option("--yarn-orig-ctx", &yarn_orig_ctx_, "YaRN: the context the model was first trained with", group);
  command.option("--yarn-ext-factor", &yarn_ext_factor_, "YaRN: how much is extrapolated", group);
  command.option("--yarn-attn-factor", &yarn_attn_factor_, "YaRN: factor on the magnitude of attention", group);
  command.option("--yarn-beta-slow", &yarn_beta_slow_, "YaRN: where interpolation ends", group);
  command.option("--yarn-beta-fast", &yarn_beta_fast_, "YaRN: where interpolation begins", group);
}

std::vector<MetadataOverride> ModelOptions::overrides(const gguf::Metadata& metadata) const {
  std::vector<MetadataOverride> all;
  for (const std::string& text : values_) {
    for (MetadataOverride& one : parse_overrides(text)) all.push_back(std::move(one));
  }
  const std::string* architecture = metadata.get_string("general.architecture");
  const std::string prefix = architecture == nullptr ? "" : *architecture + ".";
  const auto number = [&](const char* flag, const std::string& text, std::string_view key, bool inverse = false) {
    if (text.empty()) return false;
    const double value = positive_number(flag, text);
    all.push_back({prefix + std::string(key), {inverse ? 1 / value : value}});
    return true;
  };
  if (!rope_scaling_.empty()) all.push_back({prefix + "rope.scaling.type", {rope_scaling_}});
  const bool scaled = number("--rope-freq-scale", rope_freq_scale_, "rope.scaling.factor", true) |
                      number("--rope-scale", rope_scale_, "rope.scaling.factor");
  // As llama.cpp has it: a factor alone is linear.
  if (scaled && rope_scaling_.empty() && !metadata.contains(prefix + "rope.scaling.type")) {
    all.push_back({prefix + "rope.scaling.type", {std::string("linear")}});
  }
  number("--rope-freq-base", rope_freq_base_, "rope.freq_base");
  if (!yarn_orig_ctx_.empty()) {
    all.push_back({prefix + "rope.scaling.original_context_length",
                   {static_cast<std::uint64_t>(positive_number("--yarn-orig-ctx", yarn_orig_ctx_))}});
  }
  number("--yarn-ext-factor", yarn_ext_factor_, "rope.scaling.yarn_ext_factor");
  number("--yarn-attn-factor", yarn_attn_factor_, "rope.scaling.attn_factor");
  number("--yarn-beta-slow", yarn_beta_slow_, "rope.scaling.yarn_beta_slow");
  number("--yarn-beta-fast", yarn_beta_fast_, "rope.scaling.yarn_beta_fast");
  return all;
}

ModelSource ModelOptions::open(Bytes most) const {
  if (!demo()) return open_file(path_, most);
  ModelSource source = open_file(find_demo(demo_), most);
  source.demo = true;
  source.title = "demo model";
  return source;
}

ModelSource ModelOptions::open_file(const fs::path& file, Bytes most) const {
  ModelSource source;
  source.model = gguf::open_model(file, most);
  const std::vector<MetadataOverride> changes = overrides(source.model.metadata);
  for (const MetadataOverride& change : changes) {
    source.remarks.push_back(fmt::format("{} is {}, by the command line; the file {}", printable(change.key),
                                         gguf::value_text(change.value, false),
                                         shown(source.model.metadata.find(change.key))));
    source.model.metadata.set(change.key, change.value);
  }
  for (const MetadataOverride& change : changes) require_read(source.model, change);
  try {
    source.program = model::build_program(source.model);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", printable(file.string(), 4096), error.what()), error.hint());
  }
  source.remarks.insert(source.remarks.end(), source.program.remarks.begin(), source.program.remarks.end());
  const std::string& name = source.program.config.name;
  source.title = name.empty() ? file.filename().string() : name;
  return source;
}

gguf::Model ModelOptions::open_header(const fs::path& path) const {
  gguf::Model model = gguf::open_model(path);
  for (const MetadataOverride& change : overrides(model.metadata)) model.metadata.set(change.key, change.value);
  return model;
}

}  // namespace loadline::cli

// Where a command's model comes from: -m, or the demo model that is installed with the program; and what is overridden
// in its metadata.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cli/metadata_override.h"
#include "gguf/gguf.h"
#include "gguf/limits.h"
#include "model/program.h"

namespace loadline::cli {

class Command;

struct ModelSource {
  gguf::Model model;
  model::Program program;
  bool demo = false;
  std::string title;                 // "Llama 3 8B Instruct", "demo model", or the file's name
  std::vector<std::string> remarks;  // what was overridden or is not honoured, a line each
};

// -m and the flags that override metadata, the same for every command that has a model. `add_to` binds this object,
// which must outlive the parsing.
class ModelOptions {
 public:
  // `position`: what the model is called among the positional arguments, where it can be named so.
  void add_to(Command& command, const std::string& position = "", bool required = false);
  // For a command that names its model itself.
  void add_overrides_to(Command& command);

  // The demo model that is meant, by its file's name, where it is not the usual one.
  void set_demo(std::string file) { demo_ = std::move(file); }

  // Neither -m nor an empty name is given: the demo model is meant.
  [[nodiscard]] bool demo() const { return path_.empty(); }
  // The model's file or the demo's, with the overrides in its metadata. Throws Error(BadInput), prefixed with the
  // file's name, and for an override that nothing reads.
  // `most`: of memory for what the headers hold.
  [[nodiscard]] ModelSource open(Bytes most = gguf::kMostDecodedHeader) const;
  // The same of another file.
  [[nodiscard]] ModelSource open_file(const std::filesystem::path& file, Bytes most = gguf::kMostDecodedHeader) const;
  // The metadata alone: no program is made of them, and overrides of what only a program reads are let pass.
  [[nodiscard]] gguf::Model open_header(const std::filesystem::path& path) const;

 private:
  // Sets what is overridden; a line for each.
  [[nodiscard]] std::vector<MetadataOverride> overrides(const gguf::Metadata& metadata) const;

  std::string demo_ = "demo.gguf";
  std::string path_;
  std::vector<std::string> values_;
  std::string rope_scaling_;
  std::string rope_scale_, rope_freq_base_, rope_freq_scale_;
  std::string yarn_orig_ctx_, yarn_ext_factor_, yarn_attn_factor_, yarn_beta_slow_, yarn_beta_fast_;
};

}  // namespace loadline::cli

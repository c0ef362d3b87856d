// Options of each model of a folder, from a file: sections named like models ("[*]": for all of them), and in them
// lines NAME = VALUE as options have them, without their dashes. What the command line or the environment says goes
// before.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::cli {

class Command;

class ModelPresets {
 public:
  struct Line {
    std::string name, value;
    std::size_t number = 0;  // in the file
  };
  ModelPresets() = default;

  // `command`: as it was given. Throws Error(BadInput) naming file and line.
  static ModelPresets read(const std::filesystem::path& file, const Command& command);
  // The same of a text.
  static ModelPresets parse(std::string_view text, const std::string& file);

  // Sets what the sections for all and for this model say. Throws Error(BadInput) for what is none of the command's
  // options, or not such a value.
  void apply(const std::string& model, Command& command) const;
  [[nodiscard]] const std::map<std::string, std::vector<Line>>& sections() const { return sections_; }

 private:
  std::string file_;
  std::map<std::string, std::vector<Line>> sections_;  // by serve::plain_name
  std::set<std::string> given_;                        // flags that are not to be set
};

}  // namespace loadline::cli

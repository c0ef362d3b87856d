// Where a command's model comes from: -m, or the demo model that is installed with the program.
#pragma once

#include <filesystem>
#include <string>

#include "gguf/gguf.h"
#include "model/program.h"

namespace loadline::cli {

struct ModelSource {
  gguf::Model model;
  model::Program program;
  bool demo = false;
  std::string title;  // "Llama 3 8B Instruct", "demo model", or the file's name
};

// Opens `path`, or the demo model where it is empty. Throws Error(BadInput), prefixed with the file's name.
ModelSource open_source(const std::filesystem::path& path);

}  // namespace loadline::cli

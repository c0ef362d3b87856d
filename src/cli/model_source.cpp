#include "cli/model_source.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"

namespace loadline::cli {
namespace fs = std::filesystem;
namespace {

// Beside the program, in the repository it was built in, or where it was installed.
fs::path find_demo() {
  std::error_code problem;
  const fs::path program = fs::read_symlink("/proc/self/exe", problem).parent_path();
  const std::array candidates = {program / "demo.gguf", program / "../../models/demo.gguf",
                                 program / "../share/loadline/demo.gguf"};
  for (const fs::path& candidate : candidates) {
    if (fs::is_regular_file(candidate, problem)) return candidate;
  }
  throw bad_input("no model was named, and the demo model is not where it was installed", "Name a model with -m.");
}

}  // namespace

ModelSource open_source(const fs::path& path) {
  ModelSource source;
  source.demo = path.empty();
  const fs::path file = source.demo ? find_demo() : path;
  source.model = gguf::open_model(file);
  try {
    source.program = model::build_program(source.model);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", file.string(), error.what()), error.hint());
  }
  const std::string& name = source.program.config.name;
  source.title = source.demo ? "demo model" : name.empty() ? file.filename().string() : name;
  return source;
}

}  // namespace loadline::cli

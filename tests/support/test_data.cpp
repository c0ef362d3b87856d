#include "support/test_data.h"

#include <unistd.h>

#include <cstdlib>

namespace loadline::test {
namespace fs = std::filesystem;

std::optional<fs::path> shared_data() {
  if (const char* named = std::getenv("LOADLINE_SHARED_DATA")) {
    if (fs::is_directory(named)) return fs::path(named);
    return std::nullopt;
  }
  const fs::path beside = source_dir().parent_path() / "shared" / "data";
  if (fs::is_directory(beside)) return beside;
  return std::nullopt;
}

fs::path source_dir() {
  const char* named = std::getenv("LOADLINE_SOURCE_DIR");
  return named != nullptr ? fs::path(named) : fs::current_path();
}

fs::path program() {
  const char* named = std::getenv("LOADLINE_PROGRAM");
  return named != nullptr ? fs::path(named) : source_dir() / "build/release/loadline";
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "loadline-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder: " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace loadline::test

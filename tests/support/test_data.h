// Where tests find data and programs outside the repository, and a scratch folder of their own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>

namespace loadline::test {

// shared/data beside the repository (or $LOADLINE_SHARED_DATA); nullopt where it is missing.
std::optional<std::filesystem::path> shared_data();

// The repository's root, and the built program.
std::filesystem::path source_dir();
std::filesystem::path program();

// A fresh folder, removed with everything in it on destruction.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace loadline::test

// Skips the running test, visibly, where shared/data/PART is missing; else `variable` is its path.
#define LOADLINE_REQUIRE_SHARED(variable, part)                                 \
  const auto variable##_root = ::loadline::test::shared_data();                 \
  if (!variable##_root || !std::filesystem::exists(*variable##_root / (part)))  \
    GTEST_SKIP() << "shared/data/" << (part) << " is not beside this checkout"; \
  const std::filesystem::path variable = *variable##_root / (part)

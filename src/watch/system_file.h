// SystemFile: a file of the kernel that is read again and again. Opened once; reading neither allocates nor seeks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

namespace loadline::watch {

// Not thread-safe: the text of `read` is good until the next read of the same thread.
class SystemFile {
 public:
  SystemFile() = default;
  explicit SystemFile(const std::filesystem::path& path);
  ~SystemFile();
  SystemFile(SystemFile&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  SystemFile& operator=(SystemFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  SystemFile(const SystemFile&) = delete;
  SystemFile& operator=(const SystemFile&) = delete;

  [[nodiscard]] bool is_there() const { return descriptor_ >= 0; }
  // What the file says now, up to 64 KiB; empty where it cannot be read (any more).
  [[nodiscard]] std::string_view read() const;
  // The number it begins with.
  [[nodiscard]] std::optional<std::uint64_t> number() const;

 private:
  int descriptor_ = -1;
};

}  // namespace loadline::watch

// Small readers of the kernel's text files. Whatever is missing or malformed reads as nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace loadline::hardware {

// The file's text up to 1 MiB, without trailing newlines; empty where it cannot be read.
std::string read_system_file(const std::filesystem::path& path);
std::optional<std::uint64_t> read_number(const std::filesystem::path& path);
std::optional<std::uint64_t> to_number(std::string_view text);
// The number after `key` in lines of "key value" or "key: value kB" (the unit is ignored).
std::optional<std::uint64_t> find_number(std::string_view text, std::string_view key);

std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);

// A line of /proc/self/mountinfo (proc(5)): what is mounted where.
struct Mount {
  std::string device;  // major:minor
  std::string root;    // the part of the file system that is mounted
  std::string point;
  std::string type;     // "ext4", "cgroup", "cgroup2"
  std::string source;   // "/dev/vda1"
  std::string options;  // of the file system: names the controllers of a cgroup
};
std::vector<Mount> read_mounts(const std::filesystem::path& root);

}  // namespace loadline::hardware

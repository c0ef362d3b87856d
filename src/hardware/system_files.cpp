#include "hardware/system_files.h"

#include <charconv>
#include <fstream>

namespace loadline::hardware {
namespace {

// mountinfo writes spaces, tabs, newlines and backslashes as a backslash and three octal digits.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      plain.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

std::string read_system_file(const std::filesystem::path& path) {
  constexpr std::size_t kMost = 1 << 20;
  constexpr std::size_t kPiece = 4096;  // most such files are smaller, and what is not read is not touched
  std::ifstream file(path);
  if (!file) return {};
  std::string text;
  while (file && text.size() < kMost) {
    const std::size_t read = text.size();
    text.resize(read + kPiece);
    file.read(text.data() + read, static_cast<std::streamsize>(kPiece));
    text.resize(read + static_cast<std::size_t>(file.gcount()));
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.pop_back();
  return text;
}

std::optional<std::uint64_t> to_number(std::string_view text) {
  text = trim(text);
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

std::optional<std::uint64_t> read_number(const std::filesystem::path& path) {
  return to_number(read_system_file(path));
}

std::optional<std::uint64_t> find_number(std::string_view text, std::string_view key) {
  for (std::string_view line : split(text, '\n')) {
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (line.starts_with(':')) line.remove_prefix(1);
    if (!line.starts_with(' ') && !line.starts_with('\t')) continue;
    return to_number(line);
  }
  return std::nullopt;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<Mount> read_mounts(const std::filesystem::path& root) {
  std::vector<Mount> mounts;
  const std::string text = read_system_file(root / "proc/self/mountinfo");
  for (const std::string_view line : split(text, '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto before = split(line.substr(0, dash), ' ');
    const auto after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 2) continue;
    mounts.push_back({std::string(before[2]), unescape(before[3]), unescape(before[4]), std::string(after[0]),
                      unescape(after[1]), after.size() > 2 ? std::string(after[2]) : std::string()});
  }
  return mounts;
}

}  // namespace loadline::hardware

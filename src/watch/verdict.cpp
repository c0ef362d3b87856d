#include "watch/verdict.h"

#include <fmt/format.h>

namespace loadline::watch {
namespace {

struct Words {
  std::string_view name, key, cause;
};

constexpr std::array<Words, kKinds> kWords = {{
    {"spilled", "spilled", "graphics memory that was moved to system memory"},
    {"squeezed", "squeezed", "memory that others took"},
    {"thrashing", "thrashing", "pages that had to be brought back from disk"},
    {"starved", "starved", "others' use of the processors"},
    {"throttled", "throttled", "lowered clocks"},
    {"disk slow", "disk_slow", "a slow disk"},
    {"mispredicted", "mispredicted", "no cause that can be seen"},
}};

const Words& words_of(Kind kind) { return kWords[static_cast<std::size_t>(kind)]; }

}  // namespace

std::string_view name_of(Kind kind) { return words_of(kind).name; }
std::string_view key_of(Kind kind) { return words_of(kind).key; }
std::string_view cause_of(Kind kind) { return words_of(kind).cause; }

std::string line(const Verdict& verdict) {
  std::string text = fmt::format("{}: {}", name_of(verdict.kind), verdict.evidence);
  if (verdict.slowdown >= 1.1)
    text += fmt::format("; passes take {:.1f} times as long as they should", verdict.slowdown);
  return fmt::format("{}. {}", text, verdict.remedy);
}

}  // namespace loadline::watch

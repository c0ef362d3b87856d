// Verdict: what is wrong with the machine while a model runs, with the numbers that show it and what to do. Words only;
// how it is found is judge.h's.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plan/plan.h"

namespace loadline::watch {

enum class Kind : std::uint8_t {
  Spilled,       // the driver moved device memory to system memory
  Squeezed,      // someone else took memory that the plan counts on
  Thrashing,     // our pages are reclaimed or swapped
  Starved,       // others have the processors
  Throttled,     // the machine slowed itself down
  DiskSlow,      // weights come more slowly than the disk was measured
  Mispredicted,  // none of these, and yet far off
};
inline constexpr std::size_t kKinds = 7;
inline constexpr std::array<Kind, kKinds> kAllKinds = {
    Kind::Spilled, Kind::Squeezed, Kind::Thrashing, Kind::Starved, Kind::Throttled, Kind::DiskSlow, Kind::Mispredicted};
// "spilled", "disk slow", ...
std::string_view name_of(Kind kind);
// The same as one word: "disk_slow".
std::string_view key_of(Kind kind);
// "to processors that others had", for figures.
std::string_view cause_of(Kind kind);

// A figure that a verdict rests on.
struct Figure {
  std::string_view name;  // "waited_share"
  double value = 0;
};

struct Verdict {
  Kind kind = Kind::Mispredicted;
  plan::DeviceIndex device = plan::kCpu;  // whose trouble it is, where it is one device's
  double since = 0;                       // s, of the sample in which it was found
  double slowdown = 1;                    // how much longer passes take than they should; 1: as long, or not known
  std::string evidence;                   // a clause with the numbers
  std::string remedy;                     // a sentence; names no flags
  std::vector<Figure> figures;            // the same numbers
};

// "starved: other programs had 48 % of ...; passes take 1.9 times as long. Close them, or ..."
std::string line(const Verdict& verdict);

}  // namespace loadline::watch

// Packs buffers that are alive at different times into the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace loadline::plan {

// Both ends included. Time is an operation's place in the program.
struct Interval {
  std::uint32_t begin;
  std::uint32_t end;
};

struct Buffer {
  std::string name;
  Bytes size;
  std::vector<Interval> alive;  // ascending, not overlapping
  Bytes offset = {};            // set by `pack`
};

bool alive_together(const Buffer& a, const Buffer& b);

// Gives every buffer an offset, a multiple of `alignment`, such that buffers that are alive together do not overlap.
// Returns the end of the last byte. Deterministic. Never less than the most bytes alive at one time, and for the
// handful of buffers of a transformer usually exactly that.
Bytes pack(std::vector<Buffer>& buffers, Bytes alignment);

}  // namespace loadline::plan

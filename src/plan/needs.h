// What a part of a program needs of the device that runs it, as plain data: backends say it (plan/lowering.h), the
// planner finds room for it. No address, no allocation, no formula.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "model/program.h"
#include "plan/plan.h"

namespace loadline::plan {

// A pass has few tokens up to here. What is cut inside a group between devices runs in larger passes only.
inline constexpr std::uint32_t kFewTokens = 8;

// What a device runs by itself: a group, or some operations of it, [first_op, end_op).
struct Part {
  std::uint32_t group = 0;
  std::uint32_t first_op = 0;
  std::uint32_t end_op = kAllOps;
  bool large_only = false;  // only in passes of more than kFewTokens tokens

  bool operator==(const Part&) const = default;
};
std::span<const model::Op> ops_of(const model::Program& program, const Part& part);

// A buffer is an intermediate value of the program, by its model::ValueId, or one of the backend's own: those have the
// numbers after the last value's.
using Slot = std::uint32_t;

// That a buffer is used from one step of the part to another, both included. Steps are the backend's own, counted from
// 0 in each part; what one step uses is there together. One buffer may be listed several times; its size is the
// largest.
struct BufferNeed {
  Slot slot = 0;
  Bytes size;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool whole_pass = false;  // and before the part and after it, as long as the pass lasts

  bool operator==(const BufferNeed&) const = default;
};

// A tensor, and how the device wants it to lie.
struct SlabNeed {
  model::TensorIndex tensor = model::kNoTensor;
  Layout layout = Layout::File;
  Bytes size;
  bool matrix = false;  // of a product: a pass reads all of it, and it may come from disk for every pass

  bool operator==(const SlabNeed&) const = default;
};

// A cache of the program, in whole pages of every head (cache_pages.h), or in whole states.
struct CacheNeed {
  model::CacheIndex cache = 0;
  std::uint32_t pages = 0;  // or states
  Bytes k;
  Bytes v;

  bool operator==(const CacheNeed&) const = default;
};

struct Needs {
  std::uint32_t steps = 0;
  std::vector<BufferNeed> buffers;
  std::vector<SlabNeed> slabs;  // each tensor once, in the order of use
  std::vector<CacheNeed> caches;

  bool operator==(const Needs&) const = default;
};

// What a device needs once, whatever it runs: a region of its own memory, or of RAM that its driver must give because
// it works on it.
struct StagingNeed {
  std::string name;
  Bytes size;  // zero: not needed, and no region
  bool in_ram = false;
};

}  // namespace loadline::plan

// Plan: where every byte of a run lies, before anything is loaded. The executor uses nothing else.
// Plain data; how it is made is make_plan (planner.h), how it is printed and stored is render.h and json.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "model/program.h"
#include "quant/format.h"

namespace loadline::plan {

// Devices that compute: 0 is the CPU, 1 + i is GPU i of the profile. A device's memory is the tier of the same index;
// the disk is the last tier and computes nothing.
using DeviceIndex = std::uint32_t;
inline constexpr DeviceIndex kCpu = 0;

enum class TierKind : std::uint8_t { Ram, Gpu, Disk };
struct Tier {
  TierKind kind;
  std::string name;         // "RAM", "RTX 3050 Ti", "ext4 on vda"
  Bytes capacity;           // what the tier has
  Bytes available;          // what could be taken when the plan was made
  Bytes headroom;           // left alone; zero where the user named the budget
  Bytes budget;             // what the plan may use: available less headroom, or as the user said
  std::string device = {};  // Gpu: hardware::Gpu::id

  bool operator==(const Tier&) const = default;
};

enum class Purpose : std::uint8_t { Weights, KvCache, Scratch, Staging, Runtime };
std::string_view name_of(Purpose purpose);  // "weights", "KV cache", ...

// How a tensor lies in its region: as in the file, or in an order that the device's backend has given a number. A
// repacked tensor has exactly the bytes of the original.
enum class Layout : std::uint8_t { File };

// A device is given rows of a tensor by multiples of this, counted from the first, and whatever its last ones are.
inline constexpr std::uint64_t kUploadRows = 16;

// One allocation on one tier. RAM has one for all weights and one for all caches; a GPU has one for each layer's, so
// that when a plan is replaced, layers that stay on it are left where they are (engine/kept_gpus.h).
struct Arena {
  std::uint32_t tier;
  Purpose purpose;
  Bytes size;               // a multiple of 4 KiB, of 2 MiB where huge_pages
  bool huge_pages = false;  // backed by 2 MiB pages: large enough that fewer page-table walks pay

  bool operator==(const Arena&) const = default;
};

// A named range of an arena. Regions of one arena overlap only where their contents are never alive together
// (scratch, and slots of the streaming ring). Runtime regions (vocabulary, code, stacks) are accounted, not allocated
// by the executor: their arena has no address. Offsets are multiples of 64 (256 on a GPU).
using RegionIndex = std::uint32_t;
inline constexpr RegionIndex kNoRegion = 0xFFFFFFFFU;
struct Region {
  std::string name;
  Purpose purpose;
  std::uint32_t arena;
  Bytes offset;
  Bytes size;
  model::TensorIndex tensor = model::kNoTensor;
  Layout layout = Layout::File;

  bool operator==(const Region&) const = default;
};

// Where a group's operations run and where its weights come from.
struct GroupPlacement {
  DeviceIndex device = kCpu;
  bool streamed = false;   // some of its weights are read from disk for every pass: see Plan::stream
  bool kv_on_cpu = false;  // --no-kv-offload: the cache of a GPU's attention stays in RAM

  bool operator==(const GroupPlacement&) const = default;
};

// Prompts with weights in RAM: in passes of at least `tokens` tokens these groups run on a GPU, and their weights pass
// through a ring in its memory, slice after slice. In smaller passes they run where they are placed.
// Of an attention only the projections do; what works on the cache stays with it on the CPU.
struct PromptStream {
  std::uint32_t tokens = 0;  // 0: there is none
  DeviceIndex device = kCpu;
  Bytes slice;                        // what passes at a time is cut to about this much
  std::vector<std::uint32_t> groups;  // on the CPU, resident in RAM; ascending

  bool operator==(const PromptStream&) const = default;
};

// A maximal run of consecutive operations on one device: whole groups, but that the first group's may begin later and
// the last group's end earlier, where the projections of an attention pass through a GPU and its cache stays.
inline constexpr std::uint32_t kAllOps = 0xFFFFFFFFU;
struct Stage {
  DeviceIndex device;
  std::uint32_t first_group;
  std::uint32_t group_count;
  std::uint32_t first_op = 0;      // of the first group
  std::uint32_t end_op = kAllOps;  // of the last group

  bool operator==(const Stage&) const = default;
};

struct KvRegions {
  RegionIndex k = kNoRegion;  // or the states
  RegionIndex v = kNoRegion;
  std::uint32_t pages = 0;    // that each is divided into; or states
  DeviceIndex device = kCpu;  // that works on it

  bool operator==(const KvRegions&) const = default;
};

// What one device needs besides weights and KV. What a backend's own buffers and staging are is its affair
// (plan/lowering.h); kNoRegion where the device does not use one. Empty lists of a device that the plan does not use.
struct DeviceScratch {
  std::vector<RegionIndex> values;   // per model::ValueId, in the device's scratch arena
  std::vector<RegionIndex> own;      // likewise
  std::vector<RegionIndex> staging;  // in its staging arena, or in one of RAM that its driver gives

  bool operator==(const DeviceScratch&) const = default;
};

// One group's turn in the stream from disk. The slots are read in the order of Plan::stream, pass after pass, each as
// soon as its place in the ring is free: `tensors[i]` goes to the region Plan::weights gives it, in the RAM staging
// arena.
struct StreamSlot {
  std::uint32_t group;
  std::vector<model::TensorIndex> tensors;
  // This slot may be filled once the slot of this index (before it in the order, or of the pass before where it is not
  // smaller) has been computed: the latest one whose regions overlap this slot's. Its own index where none does.
  std::uint32_t after;
  Bytes bytes;  // of the file, read per pass

  bool operator==(const StreamSlot&) const = default;
};

struct Prediction {
  double prompt_rate = 0;      // tokens/s for a prompt of one batch
  double generation_rate = 0;  // tokens/s of one sequence that fills half of its context
  double load_seconds = 0;
  std::string generation_bound;  // "RAM bandwidth", "disk bandwidth", ...
  std::string prompt_bound;

  bool operator==(const Prediction&) const = default;
};

// What was asked for, after defaults: enough to execute.
struct Shape {
  std::uint32_t context = 0;  // cells of the KV cache, all sequences together; whole pages for each sequence
  std::uint32_t sequences = 1;
  std::uint32_t batch = 512;  // most tokens of one pass
  std::uint32_t outputs = 1;  // most rows of logits of one pass
  std::uint32_t threads = 1;
  quant::TensorType k_type = quant::TensorType::F16;
  quant::TensorType v_type = quant::TensorType::F16;
  bool matrix_unit = false;  // the CPU has one, and there is room for what it needs

  bool operator==(const Shape&) const = default;
};

struct Plan {
  std::string model_name;
  std::string model_fingerprint;  // of header and sizes: a plan runs only the model it was made for
  Shape shape;
  std::vector<Tier> tiers;
  std::vector<Arena> arenas;
  std::vector<Region> regions;
  std::vector<GroupPlacement> groups;  // per group of the program
  PromptStream prompt;
  std::vector<Stage> stages;  // of ordinary passes, then those of passes that PromptStream is for: see stages_for
  std::vector<RegionIndex> weights;  // per tensor of the model; kNoRegion for one that is not used
  // A tied embedding whose group and the output group are on different devices is there twice: the copy for Embed.
  RegionIndex embedding_copy = kNoRegion;
  // The token embedding stays on disk and its rows are read one by one (disk tier): into this region of RAM's staging.
  RegionIndex embedding_rows = kNoRegion;
  std::vector<KvRegions> kv;           // per cache of the program
  std::vector<DeviceScratch> scratch;  // per device
  // For reading the file while loading; in RAM's scratch arena, over what the passes use later. 4 KiB aligned.
  RegionIndex load_buffer = kNoRegion;
  std::vector<StreamSlot> stream;         // in the order of reading; empty without the disk tier
  RegionIndex stream_buffer = kNoRegion;  // direct reads land here and are laid out into the ring; 4 KiB aligned
  Prediction prediction;

  bool operator==(const Plan&) const = default;
};

// The stages of a pass of so many tokens: [first, end) of Plan::stages.
struct StageRange {
  std::uint32_t first;
  std::uint32_t end;
};
StageRange stages_for(const Plan& plan, std::size_t tokens);

// The operations of a group that a stage runs.
std::span<const model::Op> stage_ops(const model::Program& program, const Stage& stage, std::uint32_t group);

// Where group g's matrices are multiplied in a pass of so many tokens.
DeviceIndex device_for(const Plan& plan, std::size_t group, std::size_t tokens);

// The device that allocates an arena: the tier's own, but for RAM that a GPU's driver must give because the GPU works
// on it (its host staging, and the cache of its attention where that stays in RAM).
DeviceIndex holder_of(const Plan& plan, std::uint32_t arena);

// Bytes of all arenas of a tier, and of those of one purpose.
Bytes tier_total(const Plan& plan, std::uint32_t tier);
Bytes tier_total(const Plan& plan, std::uint32_t tier, Purpose purpose);
// The latter on all devices' tiers together.
Bytes devices_total(const Plan& plan, Purpose purpose);

}  // namespace loadline::plan

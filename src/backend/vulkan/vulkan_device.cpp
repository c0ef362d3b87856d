#include "backend/vulkan/vulkan_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "backend/vulkan/slices.h"
#include "backend/vulkan/units_check.h"
#include "base/error.h"
#include "plan/cache_pages.h"
#include "quant/kv_page.h"
#include "quant/packed_codebooks.h"

namespace loadline::vulkan {
namespace {

// Token counts that schedules are recorded for, besides the plan's batch: one for generation, a few for several users,
// and a prompt's last part.
constexpr std::uint32_t kClasses[] = {1, kMostVectorRows, 64};

// Threads that may fill and submit parts of the staging memory at the same time.
constexpr std::uint64_t kUploadSlots = 4;

constexpr const char* kRunning = "computing";
constexpr const char* kCopying = "copying a page of its cache";
constexpr const char* kUploading = "taking weights";

}  // namespace

VulkanDevice::VulkanDevice(const gguf::Model& model, const model::Program& program, const plan::Plan& plan,
                           plan::DeviceIndex index, const DeviceOptions& options)
    : VulkanDevice(model, program, plan, index, KeptGpu{std::make_unique<OpenGpu>(options), {}, {}}) {}

VulkanDevice::VulkanDevice(const gguf::Model& model, const model::Program& program, const plan::Plan& plan,
                           plan::DeviceIndex index, KeptGpu kept)
    : model_(model),
      program_(program),
      plan_(plan),
      index_(index),
      staging_(host_staging({model, program, plan.shape}, device_task(plan, index))),
      table_(pass_table(program, plan.shape)),
      kept_(std::move(kept)),
      context_(kept_.gpu->context),
      pipelines_(kept_.gpu->pipelines),
      timeline_(context_) {
  check_free_memory();
  allocate();
  slot_bytes_ = Bytes(staging_.total.value / kUploadSlots / 256 * 256);
  for (std::uint64_t i = 0; i < kUploadSlots; ++i) slots_.push_back({CommandList(context_), slot_bytes_ * i});
  context_.check_messages();
}

// After the context was made and before anything but what is kept is allocated in it. What the context has not taken
// yet of the plan's row for it is kept for what it still takes, the shaders' code above all.
void VulkanDevice::check_free_memory() const {
  const std::optional<Bytes> free = context_.free_memory();
  if (!free) return;
  const plan::Tier& tier = plan_.tiers[index_];
  const Bytes planned = plan::tier_total(plan_, index_, plan::Purpose::Runtime);
  const Bytes arenas = plan::tier_total(plan_, index_) - planned;
  const Bytes taken = kept_.gpu->taken.value_or(Bytes(0));
  const Bytes left_to_take = planned - std::min(planned, taken);
  const Bytes to_allocate = arenas - std::min(arenas, kept_.allocated());
  const bool fits = to_allocate + left_to_take <= *free && taken + arenas <= tier.budget + tier.headroom;
  if (fits) return;
  if (taken > planned) {
    throw Error(ErrorCode::DoesNotFit,
                fmt::format("opening the GPU {} took {} of its memory where the plan has {}, and the {} of the plan no "
                            "longer fit",
                            context_.info().name, to_string(taken), to_string(planned), to_string(arenas)),
                "`loadline devices --measure` measures it for the next plan, unless another program took it just now.");
  }
  throw Error(ErrorCode::DoesNotFit,
              fmt::format("the plan wants {} of the GPU {}, but only {} are free now",
                          to_string(to_allocate + left_to_take), context_.info().name, to_string(*free)),
              "Another program has taken memory since the plan was made; plan again, or end it.");
}

void VulkanDevice::allocate() {
  arenas_.resize(plan_.arenas.size());
  for (std::uint32_t i = 0; i < plan_.arenas.size(); ++i) {
    const plan::Arena& arena = plan_.arenas[i];
    if (plan::holder_of(plan_, i) != index_ || arena.purpose == plan::Purpose::Runtime) continue;
    const auto kept = kept_.arenas.find(i);
    arenas_[i] = kept == kept_.arenas.end() ? make_arena(context_, plan_, i) : std::move(kept->second);
  }
  kept_.arenas.clear();
}

KeptGpu VulkanDevice::give(std::span<const std::uint32_t> arenas) {
  timeline_.drain();
  classes_.clear();
  slots_.clear();
  page_copy_.reset();
  KeptGpu kept;
  for (const std::uint32_t arena : arenas) kept.before.emplace(arena, std::move(arenas_[arena]));
  arenas_.clear();
  kept.gpu = std::move(kept_.gpu);
  return kept;
}

Place VulkanDevice::place(plan::RegionIndex region) const {
  const plan::Region& r = plan_.regions[region];
  return arenas_[r.arena].place(r.offset);
}

std::size_t VulkanDevice::take_slot() {
  std::unique_lock lock(slots_lock_);
  const auto is_free = [](const UploadSlot& slot) { return !slot.taken; };
  slot_free_.wait(lock, [&] { return upload_failed_ || std::ranges::any_of(slots_, is_free); });
  if (upload_failed_) {
    throw Error(ErrorCode::DeviceFailure, fmt::format("the GPU {} failed while {}", context_.info().name, kUploading));
  }
  const auto slot = std::ranges::find_if(slots_, is_free);
  slot->taken = true;
  return static_cast<std::size_t>(slot - slots_.begin());
}

void VulkanDevice::give_slot(std::size_t slot, bool failed) noexcept {
  const std::lock_guard lock(slots_lock_);
  slots_[slot].taken = failed;  // what failed may still be under way: nobody takes it again
  upload_failed_ = upload_failed_ || failed;
  slot_free_.notify_all();
}

void VulkanDevice::upload(plan::RegionIndex region, std::uint64_t first_row, std::uint64_t,
                          std::span<const std::byte> data) {
  const plan::Region& r = plan_.regions[region];
  const gguf::TensorInfo& tensor = model_.tensors[static_cast<std::size_t>(r.tensor)];
  Place target = place(region);
  target.offset += (quant::size_of(tensor.type, tensor.columns()) * first_row).value;
  const std::size_t slot = take_slot();
  try {
    while (!data.empty()) {
      const std::size_t count = std::min<std::size_t>(data.size(), slot_bytes_.value);
      upload_part(slots_[slot], target, data.first(count));
      target.offset += count;
      data = data.subspan(count);
    }
  } catch (...) {
    give_slot(slot, true);
    throw;
  }
  give_slot(slot, false);
}

void VulkanDevice::upload_part(UploadSlot& slot, const Place& target, std::span<const std::byte> data) {
  Place source = place(region_of(plan_.scratch[index_], Staging::Host));
  source.offset += slot.offset.value;
  std::memcpy(source.data + slot.offset.value, data.data(), data.size());
  slot.list.begin(false);
  slot.list.copy(source, target, Bytes(data.size()));
  slot.list.end();
  timeline_.wait(timeline_.submit(slot.list, kUploading), kUploading);
}

Address VulkanDevice::codebooks() const {
  const plan::RegionIndex region = region_of(plan_.scratch[index_], Staging::Codebooks);
  return region == plan::kNoRegion ? 0 : place(region).address;
}

void VulkanDevice::upload_codebooks() {
  const plan::RegionIndex region = region_of(plan_.scratch[index_], Staging::Codebooks);
  if (region == plan::kNoRegion) return;
  const std::vector<std::uint16_t> all = quant::packed_codebooks();
  upload_part(slots_.front(), place(region), std::as_bytes(std::span(all)));
}

// Of the matrices that are multiplied here.
std::set<quant::TensorType> VulkanDevice::formats_here() const {
  std::set<quant::TensorType> formats;
  for (const plan::Region& region : plan_.regions) {
    if (region.tensor == model::kNoTensor) continue;
    const bool here = plan_.arenas[region.arena].tier == index_ || plan_.prompt.device == index_;
    if (here) formats.insert(model_.tensors[static_cast<std::size_t>(region.tensor)].type);
  }
  return formats;
}

void VulkanDevice::check_fast_products() {
  const plan::RegionIndex staging = region_of(plan_.scratch[index_], Staging::Host);
  const std::set<quant::TensorType> formats = formats_here();
  assert(plan_.regions[staging].size >= kUnitsCheckMemory);
  if (checks_units()) check_matrix_units(formats, place(staging));
  if (context_.integer_dots()) check_integer_dots(formats, place(staging));
}

// Where the matrix units are wrong in one format, or the driver refuses their shader, they are used for none.
void VulkanDevice::check_matrix_units(const std::set<quant::TensorType>& formats, const Place& memory) {
  for (const quant::TensorType format : formats) {
    if (!suits_matrix_units(format)) continue;
    try {
      if (matrix_units_agree(context_, pipelines_, timeline_, memory, format, codebooks())) continue;
      kept_.gpu->remark = fmt::format("the matrix units of the GPU {} multiply {} wrongly and are not used",
                                      context_.info().name, quant::name_of(format));
    } catch (const Error& error) {
      // A device that is lost fails in what follows, too.
      kept_.gpu->remark =
          fmt::format("the matrix units of the GPU {} cannot be used: {}", context_.info().name, error.what());
    }
    return context_.do_without_matrix_units();
  }
}

// Likewise.
void VulkanDevice::check_integer_dots(const std::set<quant::TensorType>& formats, const Place& memory) {
  for (const quant::TensorType format : formats) {
    if (!suits_integer_dots(format)) continue;
    const std::string before = kept_.gpu->remark.empty() ? "" : kept_.gpu->remark + "; ";
    try {
      const std::span<const std::uint32_t> tokens = dots_tokens(context_, plan_.shape.batch);
      if (integer_dots_agree(context_, pipelines_, timeline_, memory, format, tokens)) continue;
      kept_.gpu->remark = fmt::format("{}the GPU {}'s products of bytes are wrong in {} and are not used", before,
                                      context_.info().name, quant::name_of(format));
    } catch (const Error& error) {
      kept_.gpu->remark = fmt::format("{}the GPU {}'s products of bytes cannot be used: {}", before,
                                      context_.info().name, error.what());
    }
    return context_.do_without_integer_dots();
  }
}

void VulkanDevice::prepare() {
  upload_codebooks();
  slots_.clear();
  pipelines_.collect(true);
  record_classes();
  for (const quant::TensorType format : formats_here()) {
    if (checks_units() && suits_matrix_units(format)) want_units_check(context_, pipelines_, format, codebooks());
    const bool dots = context_.integer_dots() && suits_integer_dots(format);
    if (dots) want_dots_check(context_, pipelines_, format, dots_tokens(context_, plan_.shape.batch));
  }
  pipelines_.collect(false);
  shader_seconds_ = pipelines_.make_wanted();
  check_fast_products();
  classes_ = record_classes();
  page_copy_.emplace(context_);
  pipelines_.save();
  context_.check_messages();
}

std::vector<VulkanDevice::PassClass> VulkanDevice::record_classes() {
  std::vector<PassClass> classes;
  std::vector<std::uint32_t> sizes;
  for (const std::uint32_t most : kClasses) {
    if (most < plan_.shape.batch) sizes.push_back(most);
  }
  sizes.push_back(plan_.shape.batch);
  const PlaceOf place_of = [this](plan::RegionIndex region) { return place(region); };
  const StageSource source{model_, program_, plan_, index_, place_of, codebooks()};
  const Operations operations(context_, pipelines_);
  std::uint32_t least = 1;  // tokens of the class
  for (const std::uint32_t most : sizes) {
    PassClass pass_class{most, tile_tokens(operations, program_, plan_.shape, most), {}};
    pass_class.stages.resize(plan_.stages.size());
    const std::uint32_t first_stage = plan::stages_for(plan_, least).first;
    const std::uint32_t end_stage = plan::stages_for(plan_, most).end;
    for (std::uint32_t i = first_stage; i < end_stage; ++i) {
      if (plan_.stages[i].device != index_) continue;
      pass_class.stages[i] = record_stage(context_, pipelines_, source, plan_.stages[i], most);
    }
    classes.push_back(std::move(pass_class));
    least = most + 1;
  }
  return classes;
}

// The pass as the shaders see it (PassTable), into host memory; the first list of a stage takes it to the device.
void VulkanDevice::write_table(const PassClass& pass_class, const backend::Batch& batch) {
  std::byte* host = place(region_of(plan_.scratch[index_], Staging::Host)).data;
  std::byte* base = host + staging_.table.value;
  const auto words = [&](Bytes offset) { return reinterpret_cast<std::uint32_t*>(base + offset.value); };
  std::uint32_t* tokens = words(table_.tokens);
  std::uint32_t* tiles = words(table_.tiles);
  std::uint32_t* runs = words(table_.runs);
  std::uint32_t* pages = words(table_.pages);
  std::uint32_t* window_pages = words(table_.window_pages);
  std::uint32_t tile_count = 0;
  std::uint32_t page_count = 0;
  for (std::size_t i = 0; i < batch.runs.size(); ++i) {
    const backend::TokenRun& run = batch.runs[i];
    for (const std::uint32_t word : {run.first_token, run.count, run.first_position, run.state, run.state_after}) {
      *runs++ = word;
    }
    for (std::uint32_t t = 0; t < run.count; ++t) {
      tokens[2 * (run.first_token + t)] = run.first_position + t;
      tokens[2 * (run.first_token + t) + 1] = page_count;
    }
    for (std::uint32_t t = 0; t < run.count; t += pass_class.tile_tokens) {
      tiles[tile_count++] = (run.first_token + t) * 256 + std::min(pass_class.tile_tokens, run.count - t);
    }
    const std::uint32_t used = (run.first_position + run.count + quant::kKvPageCells - 1) / quant::kKvPageCells;
    std::memcpy(pages + page_count, run.pages, used * sizeof(std::uint32_t));
    if (!batch.window_runs.empty()) {
      std::memcpy(window_pages + page_count, batch.window_runs[i].pages, used * sizeof(std::uint32_t));
    }
    page_count += used;
  }
  std::uint32_t* counts = words(table_.counts);
  counts[0] = static_cast<std::uint32_t>(batch.tokens.size());
  counts[1] = static_cast<std::uint32_t>(batch.outputs.size());
  counts[2] = tile_count;
  counts[3] = static_cast<std::uint32_t>(batch.runs.size());
  std::memcpy(words(table_.ids), batch.tokens.data(), batch.tokens.size_bytes());
  std::memcpy(words(table_.outputs), batch.outputs.data(), batch.outputs.size_bytes());
  std::byte* const all_angles = host + staging_.angles.value;
  for (model::RopeIndex table = 0; table < program_.ropes.size(); ++table) {
    const Angles angles = angles_of(program_, plan_.shape, table);
    const std::size_t bytes = batch.tokens.size() * angles.pairs * sizeof(float);
    std::memcpy(all_angles + angles.cosines.value, batch.ropes[table].cosines, bytes);
    std::memcpy(all_angles + angles.sines.value, batch.ropes[table].sines, bytes);
  }
}

bool VulkanDevice::run(std::uint32_t stage, const backend::Batch& batch, const backend::StopFlag& stop) {
  const auto pass_class = std::ranges::lower_bound(classes_, batch.tokens.size(), {}, &PassClass::most);
  write_table(*pass_class, batch);
  try {
    const bool done = submit_all(pass_class->stages[stage], stop);
    context_.check_messages();
    return done;
  } catch (...) {
    timeline_.drain();
    throw;
  }
}

// One list computes while the next is already in the queue, and while the host fills a slot for the one after; a stop
// is looked at before each.
bool VulkanDevice::submit_all(const StageRecording& recording, const backend::StopFlag& stop) {
  std::uint64_t last = 0;
  std::uint64_t computing = 0;
  std::array<std::uint64_t, kRingSlots> copying{};
  const auto stopped = [&] { return stop.load(std::memory_order_relaxed); };
  for (const StageRecording::Entry& entry : recording.lists) {
    if (stopped()) break;
    if (entry.slice == StageRecording::kNoSlice) {
      last = timeline_.submit(entry.list, kRunning);
      // A software device's lists are long, and gain nothing from another in the queue.
      const std::uint64_t before = context_.limits().software ? last : std::exchange(computing, last);
      if (before != 0) timeline_.wait(before, kRunning);
      continue;
    }
    std::uint64_t& slot = copying[entry.slice % kRingSlots];
    if (slot != 0) timeline_.wait(slot, kRunning);
    source_->read(recording.slices[entry.slice]);
    if (stopped()) break;
    last = slot = timeline_.submit(entry.list, kRunning);
  }
  if (last != 0) timeline_.wait(last, kRunning);
  return !stopped();
}

std::optional<backend::MemoryUse> VulkanDevice::memory_use() const {
  const std::optional<hardware::HeapUse> heap = context_.heap_use();
  if (!heap) return std::nullopt;
  return backend::MemoryUse{heap->budget, heap->used};
}

std::string VulkanDevice::bus_address() const {
  const hardware::VulkanDeviceInfo& info = context_.info();
  if (!info.has_pci) return {};
  return fmt::format("{:04x}:{:02x}:{:02x}.0", info.pci_domain, info.pci_bus, info.pci_device);
}

Peaks VulkanDevice::measure() {
  std::vector<MeasuredMemory> weights;
  for (std::uint32_t i = 0; i < plan_.arenas.size(); ++i) {
    const bool here = plan_.arenas[i].tier == index_ && plan_.arenas[i].purpose == plan::Purpose::Weights;
    if (here) weights.push_back({arenas_[i].place(Bytes(0)), arenas_[i].first_part()});
  }
  // The table of the pass is written anew for each.
  return measure_peaks(context_, pipelines_, timeline_, weights,
                       place(region_of(plan_.scratch[index_], Staging::Table)));
}

float* VulkanDevice::crossing(model::ValueId value) {
  const Bytes offset = staged_place(staging_, program_, plan_.shape, value);
  return reinterpret_cast<float*>(place(region_of(plan_.scratch[index_], Staging::Host)).data + offset.value);
}

bool VulkanDevice::copy_page(std::uint32_t from, std::uint32_t to) { return copy_page(false, from, to); }
bool VulkanDevice::copy_window_page(std::uint32_t from, std::uint32_t to) { return copy_page(true, from, to); }

// A page's K, or V, of all heads lies together.
bool VulkanDevice::copy_page(bool windows, std::uint32_t from, std::uint32_t to) {
  if (!page_copy_) return false;
  const bool apart = plan::has_window_pages(program_, plan_.shape);
  if (windows && !apart) return true;
  page_copy_->begin(false);
  page_copy_->barrier();
  for (std::size_t i = 0; i < plan_.kv.size(); ++i) {
    const model::CacheKind kind = program_.caches[i].kind;
    if (kind == model::CacheKind::State || (apart && kind == model::CacheKind::Window) != windows) continue;
    const plan::KvRegions& kv = plan_.kv[i];
    for (const plan::RegionIndex index : {kv.k, kv.v}) {
      if (index == plan::kNoRegion) continue;
      const plan::Region& region = plan_.regions[index];
      if (plan::holder_of(plan_, region.arena) != index_) continue;
      if (from >= kv.pages || to >= kv.pages) throw Error(ErrorCode::Internal, "a GPU's cache has no such page");
      const Bytes page(region.size.value / kv.pages);
      const auto at = [&](std::uint32_t number) {
        Place place = arenas_[region.arena].place(region.offset);
        place.offset += page.value * number;
        return place;
      };
      page_copy_->copy(at(from), at(to), page);
    }
  }
  page_copy_->end();
  timeline_.wait(timeline_.submit(*page_copy_, kCopying), kCopying);
  return true;
}

const float* VulkanDevice::logits() {
  return reinterpret_cast<const float*>(place(region_of(plan_.scratch[index_], Staging::Host)).data +
                                        staging_.logits.value);
}

const float* VulkanDevice::states() {
  return reinterpret_cast<const float*>(place(region_of(plan_.scratch[index_], Staging::Host)).data +
                                        staging_.states.value);
}

Bytes VulkanDevice::allocated() const {
  Bytes total;
  for (const Arena& arena : arenas_) total += arena.allocated();
  return total;
}

}  // namespace loadline::vulkan

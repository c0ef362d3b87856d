#include "engine/loader.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "base/clock.h"
#include "plan/layout.h"
#include "storage/range_reader.h"

namespace loadline::engine {
namespace {

// More threads gain nothing: they share the disk, or the memory's bandwidth.
constexpr int kMostThreads = 16;

// Rows of one tensor that are read and uploaded at once, and where they are.
struct Piece {
  plan::RegionIndex region;
  std::uint64_t first_row;
  std::uint64_t rows;
  storage::Range range;
};

void append_pieces(const gguf::TensorInfo& tensor, plan::RegionIndex region, Bytes limit, std::vector<Piece>& pieces) {
  const Bytes row = quant::size_of(tensor.type, tensor.columns());
  const std::uint64_t step =
      std::max(limit.value / row.value / plan::kUploadRows, std::uint64_t{1}) * plan::kUploadRows;
  for (std::uint64_t first = 0; first < tensor.rows(); first += step) {
    const std::uint64_t rows = std::min(step, tensor.rows() - first);
    pieces.push_back({region, first, rows, {tensor.file, tensor.offset + row * first, (row * rows).value}});
  }
}

// In the order in which they lie in the files.
std::vector<Piece> all_pieces(const gguf::Model& model, const plan::Plan& plan,
                              std::span<const plan::RegionIndex> there, Bytes limit) {
  std::vector<Piece> pieces;
  for (plan::RegionIndex i = 0; i < plan.regions.size(); ++i) {
    const plan::Region& region = plan.regions[i];
    if (std::ranges::binary_search(there, i)) continue;
    if (region.purpose != plan::Purpose::Weights || region.tensor == model::kNoTensor) continue;
    append_pieces(model.tensors[static_cast<std::size_t>(region.tensor)], i, limit, pieces);
  }
  std::ranges::sort(pieces, {}, [](const Piece& piece) { return std::pair(piece.range.file, piece.range.offset); });
  return pieces;
}

}  // namespace

bool load_weights(const gguf::Model& model, const plan::Plan& plan, std::span<const plan::RegionIndex> there,
                  const std::vector<backend::Device*>& devices, ThreadPool& pool, std::span<std::byte> buffers,
                  const LoadProgress& progress, const backend::StopFlag& stop, std::vector<UploadFigures>& uploads) {
  uploads.assign(devices.size(), {});
  const std::uint32_t parts = plan::load_buffer_parts(plan.shape.threads);
  const std::size_t part = buffers.size() / parts / 4096 * 4096;
  const std::vector<Piece> pieces = all_pieces(model, plan, there, Bytes(part - storage::RangeReader::part_size(0)));
  std::vector<storage::Range> ranges;
  Bytes total;
  for (const Piece& piece : pieces) {
    ranges.push_back(piece.range);
    total += Bytes(piece.range.size);
  }
  if (pieces.empty()) return !stop.load(std::memory_order_relaxed);
  storage::RangeReader reader(model.files, ranges, buffers,
                              storage::open_queue(model.files, buffers, {.depth = parts}));

  std::atomic<std::uint64_t> done{0};
  std::atomic<bool> failed{false};
  std::mutex lock;  // of what follows, and of `uploads`
  std::exception_ptr failure;

  pool.run([&](int thread) noexcept {
    if (thread >= kMostThreads) return;
    std::vector<UploadFigures> own;
    try {
      own.resize(devices.size());
      while (!failed.load(std::memory_order_relaxed) && !stop.load(std::memory_order_relaxed)) {
        const auto arrived = reader.next();
        if (!arrived) break;
        const Piece& piece = pieces[arrived->range];
        const std::uint32_t tier = plan.arenas[plan.regions[piece.region].arena].tier;
        const double began = steady_seconds();
        devices[tier]->upload(piece.region, piece.first_row, piece.rows, arrived->data);
        own[tier].seconds += steady_seconds() - began;
        own[tier].bytes += Bytes(piece.range.size);
        reader.give_back(*arrived);
        const std::uint64_t now = done.fetch_add(piece.range.size) + piece.range.size;
        if (thread == 0 && progress) progress(Bytes(now), total);
      }
    } catch (...) {
      const std::lock_guard guard(lock);
      if (!failure) failure = std::current_exception();
      failed.store(true);
    }
    const std::lock_guard guard(lock);
    for (std::size_t tier = 0; tier < own.size(); ++tier) {
      uploads[tier].bytes += own[tier].bytes;
      uploads[tier].seconds += own[tier].seconds;
    }
  });
  if (failure) std::rethrow_exception(failure);
  return !stop.load(std::memory_order_relaxed);
}

}  // namespace loadline::engine

#include "engine/loader.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "storage/file_reader.h"

namespace loadline::engine {
namespace {

// Rows of one tensor that are read and uploaded at once.
struct Piece {
  plan::RegionIndex region;
  std::uint64_t first_row;
  std::uint64_t rows;
  std::uint32_t file;
  Bytes offset;
  Bytes size;
};

constexpr std::uint64_t kRowMultiple = 16;  // what Device::upload asks for

void append_pieces(const gguf::TensorInfo& tensor, plan::RegionIndex region, Bytes limit, std::vector<Piece>& pieces) {
  const Bytes row = quant::size_of(tensor.type, tensor.columns());
  const std::uint64_t step = std::max(limit.value / row.value / kRowMultiple, std::uint64_t{1}) * kRowMultiple;
  for (std::uint64_t first = 0; first < tensor.rows(); first += step) {
    const std::uint64_t rows = std::min(step, tensor.rows() - first);
    pieces.push_back({region, first, rows, tensor.file, tensor.offset + row * first, row * rows});
  }
}

std::vector<Piece> all_pieces(const gguf::Model& model, const plan::Plan& plan, Bytes limit) {
  std::vector<Piece> pieces;
  for (plan::RegionIndex i = 0; i < plan.regions.size(); ++i) {
    const plan::Region& region = plan.regions[i];
    if (region.purpose != plan::Purpose::Weights || region.tensor == model::kNoTensor) continue;
    append_pieces(model.tensors[static_cast<std::size_t>(region.tensor)], i, limit, pieces);
  }
  std::ranges::sort(
      pieces, [](const Piece& a, const Piece& b) { return a.file != b.file ? a.file < b.file : a.offset < b.offset; });
  return pieces;
}

}  // namespace

bool load_weights(const gguf::Model& model, const plan::Plan& plan, const std::vector<backend::Device*>& devices,
                  ThreadPool& pool, std::span<std::byte> buffers, const LoadProgress& progress,
                  const backend::StopFlag& stop) {
  const std::size_t share = buffers.size() / static_cast<std::size_t>(pool.threads()) / 4096 * 4096;
  // A part of the buffer holds a piece and up to a page before and after it.
  const std::vector<Piece> pieces = all_pieces(model, plan, Bytes(share - storage::FileReader::buffer_size(0)));
  const storage::FileReader reader(model.files);
  Bytes total;
  for (const Piece& piece : pieces) total += piece.size;

  std::atomic<std::size_t> next{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<bool> failed{false};
  std::mutex failure_lock;
  std::exception_ptr failure;

  pool.run([&](int thread) noexcept {
    const std::span<std::byte> buffer = buffers.subspan(static_cast<std::size_t>(thread) * share, share);
    while (!failed.load(std::memory_order_relaxed) && !stop.load(std::memory_order_relaxed)) {
      const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed);
      if (mine >= pieces.size()) return;
      const Piece& piece = pieces[mine];
      try {
        const std::span<std::byte> data = reader.read(piece.file, piece.offset, piece.size.value, buffer);
        const std::uint32_t tier = plan.arenas[plan.regions[piece.region].arena].tier;
        devices[tier]->upload(piece.region, piece.first_row, piece.rows, data);
      } catch (...) {
        const std::lock_guard lock(failure_lock);
        if (!failure) failure = std::current_exception();
        failed.store(true);
        return;
      }
      const std::uint64_t now = done.fetch_add(piece.size.value) + piece.size.value;
      if (thread == 0 && progress) progress(Bytes(now), total);
    }
  });
  if (failure) std::rethrow_exception(failure);
  return !stop.load(std::memory_order_relaxed);
}

}  // namespace loadline::engine

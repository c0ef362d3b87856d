#include "engine/weight_stream.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "storage/read_errors.h"

namespace loadline::engine {
namespace {

constexpr std::uint32_t kNoSlot = 0xFFFFFFFFU;
constexpr std::uint64_t kRowMultiple = 16;  // what Device::upload asks for
// How often a waiting pass looks at its stop flag, which nobody can wait on.
constexpr std::chrono::milliseconds kStopInterval(5);

std::uint64_t down_to_page(std::uint64_t value) {
  return value / storage::kDirectAlignment.value * storage::kDirectAlignment.value;
}

}  // namespace

WeightStream::WeightStream(const gguf::Model& model, const plan::Plan& plan, backend::Device& device,
                           std::span<std::byte> buffer, std::unique_ptr<storage::ReadQueue> queue)
    : model_(model),
      plan_(plan),
      device_(device),
      buffer_(buffer),
      queue_(std::move(queue)),
      part_size_(down_to_page(buffer.size() / queue_->depth())),
      slot_of_group_(plan.groups.size(), kNoSlot),
      arrived_(queue_->depth()) {
  // A part holds the rows and up to a page before and after them.
  cut_pieces(Bytes(part_size_ - 2 * storage::kDirectAlignment.value));
  for (std::uint32_t i = 0; i < plan.stream.size(); ++i) slot_of_group_[plan.stream[i].group] = i;
  for (const File& file : model.files) stamps_.push_back(stamp_of(file));
  thread_ = std::thread([this] { work(); });
}

WeightStream::~WeightStream() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

WeightStream::Stamp WeightStream::stamp_of(const File& file) {
  struct stat status{};
  if (::fstat(file.descriptor(), &status) != 0) return {};
  return {static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

void WeightStream::cut_pieces(Bytes limit) {
  for (std::uint32_t slot = 0; slot < plan_.stream.size(); ++slot) {
    for (const model::TensorIndex index : plan_.stream[slot].tensors) {
      const gguf::TensorInfo& tensor = model_.tensors[static_cast<std::size_t>(index)];
      const Bytes row = quant::size_of(tensor.type, tensor.columns());
      const std::uint64_t step = std::max(limit.value / row.value / kRowMultiple, std::uint64_t{1}) * kRowMultiple;
      for (std::uint64_t first = 0; first < tensor.rows(); first += step) {
        const std::uint64_t rows = std::min(step, tensor.rows() - first);
        pieces_.push_back({slot, false, plan_.weights[static_cast<std::size_t>(index)], first, rows, tensor.file,
                           tensor.offset + row * first, (row * rows).value});
      }
    }
    pieces_.back().last_of_slot = true;
  }
}

std::byte* WeightStream::part(std::uint64_t piece) const {
  return buffer_.data() + piece % queue_->depth() * part_size_;
}

void WeightStream::submit(std::uint64_t piece) {
  const Piece& p = pieces_[piece % pieces_.size()];
  const std::uint64_t begin = down_to_page(p.offset.value);
  const std::uint64_t end = align_up(p.offset.value + p.size, storage::kDirectAlignment.value);
  arrived_[piece % queue_->depth()] = false;
  ++in_flight_;
  queue_->submit({p.file, Bytes(begin), part(piece), end - begin, piece});
}

storage::Completion WeightStream::wait() {
  const storage::Completion done = queue_->wait();
  --in_flight_;
  return done;
}

// Takes completions until this piece's read has ended. False, with failure_ set, if it did not bring the whole piece.
bool WeightStream::await_piece(std::uint64_t piece) {
  while (!arrived_[piece % queue_->depth()]) {
    const storage::Completion done = wait();
    const Piece& p = pieces_[done.tag % pieces_.size()];
    const File& file = model_.files[p.file];
    const std::uint64_t needed = p.offset.value + p.size - down_to_page(p.offset.value);
    if (done.result < 0) {
      fail(std::make_exception_ptr(storage::reading_failed(file, p.offset, static_cast<int>(-done.result))));
    } else if (const auto got = static_cast<std::uint64_t>(done.result); got < needed) {
      fail(std::make_exception_ptr(storage::ended_early(file, Bytes(down_to_page(p.offset.value) + got))));
    }
    arrived_[done.tag % queue_->depth()] = true;
  }
  const std::lock_guard lock(mutex_);
  return failure_ == nullptr;
}

// Lays the piece out into its region, once the slot that lay there before has been computed. False: restart or closing.
bool WeightStream::place(std::uint64_t piece) {
  const Piece& p = pieces_[piece % pieces_.size()];
  const std::uint64_t slots = plan_.stream.size();
  const std::uint64_t slot = piece / pieces_.size() * slots + p.slot;
  const std::uint32_t after = plan_.stream[p.slot].after;
  // The number, counted over the passes, of the slot that must be computed before; one less pass where it comes later.
  const std::uint64_t before = slot - p.slot + after;
  const std::uint64_t wanted = after < p.slot ? before + 1 : before + 1 - std::min(before + 1, slots);
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closing_ || restart_ || computed_slots_ >= wanted; });
    if (closing_ || restart_) return false;
  }
  const std::byte* rows = part(piece) + (p.offset.value - down_to_page(p.offset.value));
  device_.upload(p.region, p.first_row, p.rows, {rows, p.size});
  const std::lock_guard lock(mutex_);
  bytes_read_ += p.size;
  if (p.last_of_slot) {
    loaded_slots_ = slot + 1;
    changed_.notify_all();
  }
  return true;
}

// Until a restart, the end or a failure. False if nobody can say any more what is in flight.
bool WeightStream::read_pass_after_pass() {
  std::uint64_t submitted = 0;
  std::uint64_t placed = 0;
  try {
    while (true) {
      while (submitted - placed < queue_->depth()) submit(submitted++);
      if (!await_piece(placed) || !place(placed)) break;
      ++placed;
    }
    // The buffer is reused only once nothing is in flight into it.
    while (in_flight_ > 0) wait();
  } catch (...) {
    fail(std::current_exception());
    return false;
  }
  return true;
}

void WeightStream::work() {
  while (read_pass_after_pass()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closing_ || restart_; });
    if (closing_) return;
    restart_ = false;
    loaded_slots_ = 0;
    computed_slots_ = 0;
    changed_.notify_all();
  }
}

void WeightStream::fail(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
  }
  changed_.notify_all();
}

void WeightStream::begin_pass() {
  for (std::size_t i = 0; i < stamps_.size(); ++i) {
    if (stamp_of(model_.files[i]) == stamps_[i]) continue;
    throw Error(ErrorCode::DeviceFailure,
                fmt::format("{}: the file changed while it was in use", model_.files[i].path().string()),
                "Its weights are read again for every token; load it again.");
  }
  std::unique_lock lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  const bool interrupted = computed_slots_ % plan_.stream.size() != 0;
  if (interrupted) {
    restart_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !restart_ || failure_; });
  }
}

bool WeightStream::acquire(std::uint32_t group, const backend::StopFlag& stop) noexcept {
  const std::uint64_t slots = plan_.stream.size();
  std::unique_lock lock(mutex_);
  const std::uint64_t slot = computed_slots_ / slots * slots + slot_of_group_[group];
  if (loaded_slots_ > slot) return true;
  const auto start = std::chrono::steady_clock::now();
  bool comes = true;
  while (comes && loaded_slots_ <= slot) {
    comes = !failure_ && !stop.load(std::memory_order_relaxed);
    if (comes) changed_.wait_for(lock, kStopInterval);
  }
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return comes;
}

void WeightStream::release(std::uint32_t /*group*/) noexcept {
  {
    const std::lock_guard lock(mutex_);
    ++computed_slots_;
  }
  changed_.notify_all();
}

void WeightStream::rethrow() {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

Bytes WeightStream::bytes_read() const {
  const std::lock_guard lock(mutex_);
  return Bytes(bytes_read_);
}

}  // namespace loadline::engine

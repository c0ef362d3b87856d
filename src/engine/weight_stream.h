// Weights from disk, pass after pass: reads the plan's stream slots in order, ahead of the computation, lays them out
// into their ring regions, and tells the devices when a group's weights are there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backend/device.h"
#include "gguf/gguf.h"
#include "plan/plan.h"
#include "storage/read_queue.h"

namespace loadline::engine {

// Owns one reading thread. `acquire` and `release` come from the thread that runs the passes, in the order of the
// slots; `begin_pass` before each pass.
class WeightStream final : public backend::WeightGate {
 public:
  // `buffer` is the plan's stream_buffer region. `queue` reads from the model's files into it.
  WeightStream(const gguf::Model& model, const plan::Plan& plan, backend::Device& device, std::span<std::byte> buffer,
               std::unique_ptr<storage::ReadQueue> queue);
  ~WeightStream() override;
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;

  // A pass starts at the first slot. After one that was not completed, what was read ahead is dropped.
  // Throws the Error of a read that failed, or Error(DeviceFailure) where a file changed since this was made.
  void begin_pass() override;
  bool acquire(std::uint32_t group, const backend::StopFlag& stop) noexcept override;
  void release(std::uint32_t group) noexcept override;
  void rethrow() override;
  [[nodiscard]] double waited_seconds() const override { return waited_; }

  // Bytes of weights read from disk so far.
  [[nodiscard]] Bytes bytes_read() const;

 private:
  // Rows of one tensor that are read at once, with the alignment of direct reads around them.
  struct Piece {
    std::uint32_t slot;
    bool last_of_slot;
    plan::RegionIndex region;
    std::uint64_t first_row;
    std::uint64_t rows;
    std::uint32_t file;
    Bytes offset;      // of the rows, in the file
    std::size_t size;  // of the rows
  };

  // When a file was written last.
  struct Stamp {
    std::uint64_t size = 0;
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
    bool operator==(const Stamp&) const = default;
  };

  static Stamp stamp_of(const File& file);
  void cut_pieces(Bytes limit);
  void work();
  void submit(std::uint64_t piece);
  storage::Completion wait();
  bool await_piece(std::uint64_t piece);
  bool read_pass_after_pass();
  bool place(std::uint64_t piece);
  void fail(std::exception_ptr failure);
  [[nodiscard]] std::byte* part(std::uint64_t piece) const;

  const gguf::Model& model_;
  const plan::Plan& plan_;
  backend::Device& device_;
  std::span<std::byte> buffer_;
  std::unique_ptr<storage::ReadQueue> queue_;
  std::size_t part_size_;
  std::vector<Piece> pieces_;                 // of one pass, in order
  std::vector<std::uint32_t> slot_of_group_;  // kNoSlot where the group is not streamed
  std::vector<Stamp> stamps_;                 // per file of the model

  // Of the reading thread. Counted from the last restart: piece and slot numbers go on over the passes.
  std::vector<bool> arrived_;  // per part of the buffer: its read has ended
  std::size_t in_flight_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t loaded_slots_ = 0;    // slots whose weights are in place
  std::uint64_t computed_slots_ = 0;  // slots that were released
  std::uint64_t bytes_read_ = 0;
  bool restart_ = false;
  bool closing_ = false;
  std::exception_ptr failure_;
  double waited_ = 0;  // s in `acquire`; of the thread that runs passes
  std::thread thread_;
};

}  // namespace loadline::engine

// What the rope tables of a program turn the tokens of a pass by.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/batch.h"
#include "model/program.h"

namespace loadline::exec {

// Allocates only when constructed. Refers to the program's tables, which must outlive it.
class RopeAngles {
 public:
  // `factors[i]`: what divides the frequencies of table i, or empty; missing ones are empty. Room for `tokens` tokens.
  RopeAngles(const model::Program& program, std::span<const std::vector<float>> factors, std::uint32_t tokens);

  RopeAngles(const RopeAngles&) = delete;  // the views are of its own memory
  RopeAngles& operator=(const RopeAngles&) = delete;
  RopeAngles(RopeAngles&&) = default;
  RopeAngles& operator=(RopeAngles&&) = default;

  // The batch's token number `token` is at `position` of its sequence.
  void set(std::size_t token, std::uint32_t position);
  // One for each table.
  [[nodiscard]] std::span<const backend::RopeAngles> views() const { return views_; }

 private:
  struct Table {
    const model::RopeConfig* config;
    std::vector<float> frequencies;
    std::vector<float> cosines, sines;  // [tokens][frequencies]
  };
  std::vector<Table> tables_;
  std::vector<backend::RopeAngles> views_;
};

}  // namespace loadline::exec

// What the checks of a self-test are given and how they answer. Each file of checks adds its own to the list.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "authoring/shapes.h"
#include "backend/device.h"
#include "backend/vulkan/context.h"
#include "engine/engine.h"
#include "hardware/profile.h"
#include "model/format_mix.h"
#include "selftest/report.h"

namespace loadline::selftest {

using backend::StopFlag;
using exec::Token;

// A result that is not what it must be.
class Mismatch : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// The time is up, or the user had enough: who it was is known to the one who set the flag.
class Stopped : public std::exception {};
// This card cannot be asked that; the text says why.
class NotHere : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
// It needs what an earlier check finds out, which was not made or failed.
class NotKnown : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Models of our own making, each written once, and what the oracle says of them. They lie in a temporary folder that
// goes with this object.
class Models {
 public:
  // Throws Error(BadInput) where no temporary folder can be made.
  explicit Models(const StopFlag& stop);
  ~Models();
  Models(const Models&) = delete;
  Models& operator=(const Models&) = delete;

  // Throws Stopped.
  std::filesystem::path file(const authoring::Shape& shape, const model::FormatMix& mix);
  // Logits of all tokens, [tokens][vocabulary], as the oracle computes them. Throws Stopped.
  const std::vector<float>& oracle(const authoring::Shape& shape, const model::FormatMix& mix,
                                   const std::vector<Token>& tokens);
  // No longer needed: its room on the disk is free.
  void drop(const std::filesystem::path& file);
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  const StopFlag& stop_;
  std::filesystem::path folder_;
  std::map<std::string, std::vector<float>> oracle_;
};

// The GPU at hand.
struct Subject {
  hardware::Profile machine;  // with this GPU and no other; its figures once they were measured
  vulkan::DeviceOptions options;
  Models& models;
  const StopFlag& stop;
  bool matrix_units = false;  // it has some, and they are used
  bool integer_dots = false;  // products of bytes, likewise
  double square_product = 0;  // operations/s of the largest square product, once it was measured

  [[nodiscard]] hardware::Gpu& gpu() { return machine.gpus.front(); }
  [[nodiscard]] bool software() const { return machine.gpus.front().software; }
  void check_time() const {
    if (stop.load(std::memory_order_relaxed)) throw Stopped();
  }
};

struct Check {
  std::string section, name;
  int rank = 0;  // lower ones come first
  // Fills in what it saw. Throws Mismatch, NotHere, NotKnown, Stopped, or Error for what the driver refuses.
  std::function<void(Subject&, Row&)> run;
};
using Checks = std::vector<Check>;

void add_card_checks(Checks& checks);
void add_shader_checks(Checks& checks);
void add_attention_checks(Checks& checks);     // those of caches and heads
void add_recurrent_checks(Checks& checks);     // those that keep a state
void add_small_shader_checks(Checks& checks);  // the others that read no weights
void add_model_checks(Checks& checks);
void add_memory_checks(Checks& checks);
void add_speed_checks(Checks& checks);

}  // namespace loadline::selftest

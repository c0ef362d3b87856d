// Tune: looks for the setting that is fastest by measuring, where a plan only predicts. Pure: what measures is given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace loadline::watch {

struct Setting {
  std::optional<std::uint32_t> gpu_layers;  // absent: as the plan places them, or there is no GPU
  std::uint32_t threads = 1;
  std::uint32_t batch = 512;  // most tokens of a pass

  bool operator==(const Setting&) const = default;
};

struct Measured {
  double generation = 0;  // tokens/s
  double prompt = 0;
};

// Where to look.
struct TuneSpace {
  std::uint32_t planned_layers = 0;  // on GPUs by the plan
  std::uint32_t most_layers = 0;     // 0: there is no GPU
  std::uint32_t most_threads = 1;
  std::uint32_t least_batch = 32, most_batch = 2048;
};

struct Trial {
  std::string what;  // "as planned", "12 layers on the GPU", "threads 6", "batch 1024"
  Setting setting;
  std::optional<Measured> measured;  // absent: it does not fit
  bool best = false;                 // so far
};

struct TuneResult {
  Setting setting;
  Measured measured;
  std::vector<Trial> trials;
  bool finished = false;  // nothing near helps; false: time was up
};

// `measure`: nullopt for a setting that does not fit. It is asked for each setting once, and for the two best a second
// time in the end, where there is time. `out_of_time` is asked before each.
TuneResult tune(const Setting& planned, const TuneSpace& space,
                const std::function<std::optional<Measured>(const Setting&)>& measure,
                const std::function<bool()>& out_of_time, const std::function<void(const Trial&)>& tried);

}  // namespace loadline::watch

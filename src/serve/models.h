// The models of a server: which there are, which are loaded, and who is meant by a name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/served.h"

namespace loadline::serve {

// A model that there is, loaded or not, as lists tell of it.
struct Listed {
  std::string name;
  std::vector<std::string> aliases;
  std::int64_t modified = 0;  // s since 1970
  Bytes size;                 // of its tensors; of its file until that was read
  std::string architecture, file_type, size_label;
  std::uint64_t parameters = 0;
  std::uint32_t trained_context = 0;
  bool read = false;     // what is above was; else it stands for what its file's name says
  std::string unusable;  // why; empty: it can be loaded
  // What it would be here, alone; zeros where that was not found out yet, or it does not fit.
  bool planned = false, fits = false;
  std::string why_not;  // a sentence
  double prompt_rate = 0, generation_rate = 0;
  Bytes ram, vram;  // of its plan

  enum class State : std::uint8_t { Unloaded, Waiting, Loading, Loaded, Unloading };
  State state = State::Unloaded;
  Bytes loaded, to_load;  // while it loads
};
std::string_view name_of(Listed::State state);

// Calls come from the network's thread.
class Models {
 public:
  virtual ~Models() = default;
  // All that are loaded, the one used last first.
  [[nodiscard]] virtual std::vector<std::shared_ptr<const Served>> loaded() const = 0;
  // The one that a request by this name means, if it is loaded; null where it is not. Empty: whichever.
  [[nodiscard]] virtual std::shared_ptr<const Served> find(std::string_view name) const = 0;
  // Why nothing can be answered yet; empty where it can.
  [[nodiscard]] virtual std::string loading() const { return {}; }

  // Whether there are others than those that are loaded: the rest is of such servers alone.
  [[nodiscard]] virtual bool is_folder() const { return false; }
  [[nodiscard]] virtual std::vector<Listed> list() const { return {}; }
  // Has it loaded, and then calls `then` from the network's thread: with nothing, or with why it is not.
  using Then = std::function<void(const std::exception* problem)>;
  virtual void load(std::string_view /*name*/, Then then) { then(nullptr); }
  // Likewise: once its answers are given, and it is gone. Throws where it is not loaded.
  virtual void unload(std::string_view /*name*/, Then then) { then(nullptr); }
  // A request names it.
  virtual void use(const Served& /*served*/) {}
  // How long it stays once nobody uses it; 0: until its answers are given; nullopt: as long as there is room.
  virtual void keep(const Served& /*served*/, std::optional<double> /*seconds*/) {}
  // For how long from now; nullopt: as long as there is room.
  [[nodiscard]] virtual std::optional<double> left(const Served& /*served*/) const { return std::nullopt; }
  // Gives up what is being loaded.
  virtual void cancel() {}
  // What all of them and their requests take of RAM together, and what the last check against that found.
  struct Sum {
    Bytes requests;  // in no model's plan
    Bytes planned;   // by the plans of those that are loaded, and that
    Bytes held;      // by the process
    std::string trouble;
  };
  [[nodiscard]] virtual Sum sum() const { return {}; }
};

// One model, whatever it is asked for by: clients send names that they made up.
class OneModel final : public Models {
 public:
  void set(std::shared_ptr<const Served> served) { served_ = std::move(served); }
  [[nodiscard]] std::vector<std::shared_ptr<const Served>> loaded() const override {
    if (served_ == nullptr) return {};
    return {served_};
  }
  [[nodiscard]] std::shared_ptr<const Served> find(std::string_view /*name*/) const override { return served_; }
  [[nodiscard]] std::string loading() const override { return served_ == nullptr ? "Loading model" : ""; }

 private:
  std::shared_ptr<const Served> served_;
};

// "keep_alive" of a request, in seconds: a number of them or a duration such as "5m", "1h30m" or "250ms"; negative:
// nullopt, for ever. Throws Error(BadInput).
std::optional<double> parse_keep_alive(std::string_view text);

}  // namespace loadline::serve

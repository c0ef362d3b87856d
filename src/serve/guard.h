// Guard: looks after a model that is served where the machine has less memory than its plan counted on: it then goes on
// by a smaller plan, and by the one that was wished for once there is room again and stays. When is watch/recovery.h's.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "serve/service.h"
#include "watch/recovery.h"

namespace loadline::serve {

enum class OnPressure : std::uint8_t { Continue, Shrink, Stop };

struct GuardOptions {
  OnPressure on_pressure = OnPressure::Shrink;
  // A clause that says what memory is missing now; empty: none is.
  std::function<std::string()> trouble;
  std::function<void()> stop;                   // of the server, where that is what is to be done
  std::function<void(const std::string&)> log;  // a line; empty: none
  watch::RecoveryTimes times;
  double period = 0.5;  // s
};

// The plan that fits now: what was wished for, as far as there is memory. Context and sequences stay as they are.
Basis basis_now(const Service& service, const Basis& wished);

// Goes before the service.
class Guard {
 public:
  Guard(Service& service, std::function<void(Basis&)> leave_to_others, GuardOptions options);
  ~Guard();
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  void run();
  void look(double time);
  [[nodiscard]] bool change_to_what_fits(const std::string& why, bool only_if_faster);

  Service& service_;
  std::function<void(Basis&)> leave_to_others_;
  GuardOptions options_;
  watch::Recovery recovery_;
  std::shared_ptr<const Basis> wished_;  // the last basis that was not this one's doing
  std::shared_ptr<const Basis> mine_;
  double looked_for_room_ = 0;  // s
  bool room_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace loadline::serve

// Service: one loaded model and the thread that runs it, answering generations that come from any thread. It admits as
// many at once as the plan has sessions, and keeps a bounded queue of the others. The plan can be replaced by another
// one of the same model while generations run: they wait, and go on where they were. It knows no dialect and no HTTP.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/interruption.h"
#include "hardware/profile.h"
#include "plan/options.h"
#include "serve/fair_turns.h"
#include "serve/generation.h"
#include "serve/request_memory.h"
#include "serve/undelivered.h"
#include "tokenizer/tokenizer.h"

namespace loadline::serve {

class Running;

// What a plan is made from.
struct Basis {
  plan::Options options;
  hardware::Profile machine;  // as it was, or would be, without the model
  // What `options.of_requests` is made of, and whether what is any model's belongs to it; nullopt: nobody knows.
  std::optional<RequestLimits> requests;
  bool alone = true;
};
// Sets `options.of_requests` to what requests take by the options' context and sequences. `trained`: what the model was
// trained for, for plans whose context is to be found.
void count_requests(Basis& basis, std::uint32_t trained);
// A plan, and what it was made from.
struct Proposal {
  plan::Plan plan;
  std::shared_ptr<const Basis> basis;
};

struct ServiceOptions {
  std::uint32_t most_waiting = 64;
  // Called from the engine's thread where there is something to deliver: has `deliver` called soon.
  std::function<void()> notify;
  // Called from the engine's thread, for whoever looks at the engine meanwhile: it is loaded; or, null, it goes now.
  std::function<void(engine::Engine* engine, const Basis& basis)> on_engine;
  // Called from the engine's thread where a device failed: another plan, without it. nullopt: there is none.
  std::function<std::optional<Proposal>(plan::DeviceIndex device)> without_device;
  // What the plan was made from. Not null.
  std::shared_ptr<const Basis> basis;
  // A line about a change of plan. From the engine's thread. Empty: none.
  std::function<void(const std::string& line)> log;
};

// Another plan of the same model in the place of the present one.
struct Change {
  Proposal to;
  std::string why;  // a clause
  // Called from the engine's thread once the new plan is loaded, or the old one again.
  std::function<void(const struct Changed&)> done;
};
struct Changed {
  std::string why;
  std::string error;  // a sentence where the old plan goes on; empty: the new one does
  bool cancelled = false;
  engine::Interruption predicted;
  double load_seconds = 0;  // without what is computed again
};

// `deliver` is one thread's; every other function may be called from any.
class Service {
 public:
  using Id = std::uint64_t;

  Service(std::unique_ptr<engine::Engine> engine, std::unique_ptr<tokenizer::Tokenizer> tokenizer,
          ServiceOptions options);
  // Ends what runs; nobody is told any more.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // nullopt where the queue is full, or the service is stopping. Throws Error(BadInput) for what can never run: an
  // empty prompt, tokens that the model does not have, more than the context holds, samplers that make no sense. Throws
  // Error(DoesNotFit) where it would take more memory than there is for each.
  std::optional<Id> submit(Generation generation, std::shared_ptr<Listener> listener);
  // Ends it, if it has not ended: its listener is told Cancelled.
  void cancel(Id id);
  // As soon as the running pass has ended, under the generations that there are. False where another change is under
  // way, or the service ends.
  bool change(Change change);
  // The one that is under way: the old plan is loaded again.
  void cancel_change();

  // Has `work` done between passes once the slot has no session: it is given the text that the slot had last, which it
  // may change. `then` is told by `deliver` what was thrown. False where too much waits already.
  using SlotWork = std::function<void(engine::Engine&, std::vector<Token>& text)>;
  bool act(std::uint32_t slot, SlotWork work, std::function<void(std::exception_ptr)> then);
  // The same, whatever the slots do.
  bool act(std::function<void(engine::Engine&)> work, std::function<void(std::exception_ptr)> then);
  // Nothing new is admitted; what waits is cancelled, what runs goes on to its end.
  void wind_down();
  // Calls listeners with what has come.
  void deliver();

  [[nodiscard]] const tokenizer::Tokenizer& tokenizer() const { return *tokenizer_; }
  // Its model and its program; all else of it is the engine's thread's.
  [[nodiscard]] const engine::Engine& engine() const { return *engine_; }
  [[nodiscard]] std::shared_ptr<const plan::Plan> plan() const;
  [[nodiscard]] std::shared_ptr<const Basis> basis() const;
  // Tokens that a session can have, its prompt's included.
  [[nodiscard]] std::uint32_t context() const { return context_; }
  [[nodiscard]] std::uint32_t places() const { return places_; }
  // What the process holds of RAM.
  [[nodiscard]] Bytes held() const;
  // Bytes of weights read from disk for passes so far.
  [[nodiscard]] Bytes streamed() const;
  // Sets what the machine has free now, this model's own share included.
  void look_at(hardware::Profile& machine) const;

  struct Load {
    std::uint32_t running = 0, waiting = 0;
    exec::Scheduler::Activity activity;
    // Of generations that ended: tokens that were computed, and in which time.
    std::uint64_t prompt_tokens = 0, generated_tokens = 0;
    double prompt_seconds = 0, generation_seconds = 0;
    std::uint64_t generations = 0;  // that ended
    std::uint64_t longest = 0;      // tokens of the longest of them
    std::string trouble;            // what the last check against the plan found; empty: nothing
    double idle_since = 0;          // s, by the steady clock; while nothing runs
    std::string broken;             // why nothing is loaded any more; empty: something is
    // Changes of the plan: how many, the last one, and how long tokens were missing then.
    std::uint64_t changes = 0;
    Changed last_change;
    double interrupted_seconds = 0;
    bool changing = false;
    Bytes loaded, to_load;  // of the change under way
  };
  [[nodiscard]] Load load() const;
  // What `deliver` has not taken yet; while there is too much, nothing more is generated.
  [[nodiscard]] const Undelivered& undelivered() const { return undelivered_; }

  // What the places do.
  struct Place {
    Id id = 0;  // 0: idle
    std::size_t prompt_tokens = 0, prompt_read = 0, shared = 0, generated = 0;
    std::int64_t most_tokens = -1;
    bool begun = false;  // it has the cells for its prompt
  };
  [[nodiscard]] std::vector<Place> what_runs() const;
  // Those that wait for a place, the first so many.
  [[nodiscard]] std::vector<Place> who_waits(std::size_t most) const;

  // Of each tier that is a device: what the system or its driver says that this process holds, and what it could have
  // in all. Zero where nobody knows.
  struct TierNow {
    Bytes held, available;
  };
  // `available`: of RAM, where it was asked lately; zero: the system is asked, which takes longest.
  [[nodiscard]] std::vector<TierNow> memory_now(Bytes available = {}) const;

 private:
  friend class Running;

  // What is to be done with a slot, and then with what came of it.
  struct SlotTask {
    std::optional<std::uint32_t> slot;  // nullopt: none in particular
    SlotWork work;
    std::function<void(std::exception_ptr)> then;
    std::exception_ptr error;
  };

  bool add_task(SlotTask task);
  void run();
  void run_passes();
  void require_possible(const Generation& generation) const;
  bool act_on_slots();
  bool admit();
  std::shared_ptr<Running> take_next();
  bool goes_on(Running& running);
  [[nodiscard]] std::uint32_t slot_of(const Running& running) const;
  void ended(Running& running, const exec::SessionResult& result);
  void has_news(Running& running);
  void announce(std::shared_ptr<Running> running);
  void check();
  void carry_out_change();
  bool load_plan(const plan::Plan& plan, std::string& error);
  [[nodiscard]] std::string why_not(const plan::Plan& plan) const;
  void tell_interruption();
  void show_engine(bool there);
  Changed replace(Change& change);
  void note_catching_up();
  bool step();
  void leave_device(const Error& error);
  void publish_plan(std::shared_ptr<const Basis> basis);

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  ServiceOptions options_;
  Undelivered undelivered_{kMostUndelivered};  // outlives all Running

  mutable std::mutex mutex_;
  Id last_ = 0;
  bool stopping_ = false, winding_down_ = false;
  std::deque<std::shared_ptr<Running>> waiting_;
  FairTurns turns_;
  std::deque<SlotTask> tasks_, told_;      // to be done; done, to be told
  std::vector<std::vector<Token>> texts_;  // that each slot had last; the engine's thread's
  std::unordered_map<Id, std::shared_ptr<Running>> running_;
  std::vector<std::shared_ptr<Running>> news_;  // to be delivered
  std::vector<std::shared_ptr<Running>> done_;  // ended within the present step; the engine's thread's
  Load totals_;
  std::optional<Change> wanted_change_;
  std::shared_ptr<const plan::Plan> plan_;
  std::shared_ptr<const Basis> basis_;
  std::atomic<std::uint32_t> context_, places_;
  // Of memory that each generation that runs may take, and all that wait together; 0: no limit.
  std::atomic<std::uint64_t> most_running_{0}, most_queued_{0};
  std::atomic<bool> stop_change_{false};
  std::atomic<std::uint64_t> loaded_{0}, to_load_{0};
  double change_began_ = 0;                 // the engine's thread's; 0: nobody waits for tokens since
  mutable std::shared_mutex engine_mutex_;  // held alone while the plan is replaced
  mutable Bytes streamed_;
  std::thread thread_;
};

}  // namespace loadline::serve

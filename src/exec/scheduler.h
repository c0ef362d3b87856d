// Scheduler: runs all sessions of a model, a pass at a time. `step` makes one pass of the next tokens of all sessions
// that generate and of as much of the waiting prompts as fits beside them; sessions join, and are cancelled, at any
// time and from any thread. It owns which sessions there are and what each has; cells are the KvCache's, arithmetic the
// devices'.
//
// A session alone has the whole pass: its prompt goes in full batches, which a newcomer may have abandoned once, and
// cancelling it ends the pass at once. A pass that is shared is by prediction no longer than a bound, and runs to its
// end. Every step gives each session that generates a token, in turn where there are more than a pass has rows of
// logits; the prompts share what is left of the pass equally.
//
// A prompt is begun only where its cells are there for all of it; one that pinned texts leave too few for fails. A
// session that generates takes pages as it grows; one that finds none waits until another ends, and where all wait, the
// one that joined last ends: its context is full.
//
// Sessions that begin alike compute what they share once: one whose prompt begins as another's that is being read waits
// for that part of it.
//
// What is promised of texts: a session gets the same tokens whatever else runs, as far as its logits are the same. The
// CPU computes a token that is generated as if it were alone (Rounding::AsAlone) in every pass that has nothing else
// than such tokens. With a GPU or a matrix unit, a pass that also reads a prompt, or a beginning that was computed in
// other parts than it would have been alone, may change the last bits of logits, and so which of two almost equally
// likely tokens is drawn.
//
// The executor may be replaced under the sessions (`put_down`, `take_up`), as by another plan. Where the new one has
// the cache of the old one, they go on where they were. Else their texts are kept and computed again, the prompts as
// prompts and what was generated as tokens that are generated, so that the same follows; no client is asked for a token
// twice.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "exec/executor.h"
#include "exec/pace.h"
#include "exec/session.h"

namespace loadline::exec {

struct SchedulerOptions {
  double longest_shared_pass = 0.5;  // s, by prediction
  // Passes are made for this share of it: they vary, and become longer with a prompt's context before that is learned.
  double aimed_at = 0.9;
  bool learn = true;  // correct predictions by what passes take
  // Sessions outlive a device that fails: `step` throws, and they stay as they were before the pass, for whoever puts
  // the scheduler down and gives it another executor.
  bool outlive_devices = false;
  // For tests; else the system's steady clock, in seconds.
  std::function<double()> clock = {};
};

// What of a session would be computed again: tokens of its prompt, and what it generated behind them.
struct HeldText {
  std::uint64_t prompt = 0, generated = 0;
};

// One thread calls `step`, `put_down` and `take_up`; every other function may be called from any thread, also while a
// step runs. Allocates only when constructed, and when it is put down.
class Scheduler {
 public:
  // `executor` outlives it, and is used by nobody else while there are sessions.
  explicit Scheduler(Executor& executor, SchedulerOptions options = {});
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // A session more, which runs from the next step on. nullopt where the plan's sessions, or its place, are taken.
  // Throws Error(BadInput) for a prompt that is empty, that has tokens outside the vocabulary, or that is longer than
  // the context, and for a place that there is not. `client` is called until it was told that the session has ended.
  std::optional<SessionId> join(const SessionOptions& options, SessionClient& client);
  // For who calls `join` between two steps only: somebody will. As in `join`, a pass that is a lone prompt's, and takes
  // longer still than passes that are shared, is given up, once for each session.
  void make_way();

  // Which of the scheduler's places a session has, from 0.
  [[nodiscard]] std::uint32_t place_of(SessionId session) const {
    return static_cast<std::uint32_t>(session % sessions_.size());
  }

  // Ends a session: its client is told, and its cells are free, when the running pass ends, which is at once where the
  // session is alone in it. Returns at once. False where it has ended already, or is about to.
  bool cancel(SessionId session);
  void cancel_all();

  // One pass. True while there are sessions. Where `stop` is given, setting it ends the pass, and every session stays
  // as it was (in its place, `cancel` takes effect when the pass ends). Throws what a device throws: the sessions of
  // that pass have then failed, and all others are as they were. Where the executor was given up, those that were
  // cancelled end, and others are an Error.
  bool step(const StopFlag* stop = nullptr);

  // Gives up the executor, which may then go; to be called between steps, and followed by `take_up` of one with as many
  // sequences, or by `abandon`. What sessions have so far is kept, as tokens. How many of these have to be computed
  // again.
  std::uint64_t put_down();
  // How many that would be now, and of which texts.
  [[nodiscard]] std::uint64_t tokens_held() const;
  [[nodiscard]] std::vector<HeldText> held_texts() const;
  // Sessions that the new one's context cannot hold end: their context is full. Where there are none, it may be for
  // another number of them. `same_cache`: it has the cache of the one that was put down (Executor::give_cache), with
  // all that its pages hold, and nothing is computed again.
  void take_up(Executor& executor, bool same_cache = false);
  // There will be none: all sessions fail, for this reason, and so does whoever joins.
  void abandon(const std::string& reason);
  // After a `step` that threw under `outlive_devices`: those of that pass fail.
  void fail_pass(const std::exception_ptr& error);
  // Sessions that were put down and do not generate yet what they would have.
  [[nodiscard]] std::uint32_t catching_up() const;

  // Blocks until there is a session, or `wake` is called, which may be before.
  void wait_for_work();
  void wake();

  // Sessions that there are, and places for more.
  [[nodiscard]] std::uint32_t sessions() const;
  [[nodiscard]] std::uint32_t free_places() const;
  [[nodiscard]] bool is_free(std::uint32_t place) const;
  // What they do.
  struct Activity {
    std::uint32_t waiting = 0, reading = 0, generating = 0;
    std::uint32_t held_pages = 0;    // of the cache; one that several share counts once
    std::uint32_t kept_pages = 0;    // held by nobody, and found where a prompt begins so
    std::uint32_t pinned_pages = 0;  // of those held: so that they are not taken for others
    std::uint64_t passes = 0;        // so far ...
    std::uint64_t members = 0;       // ... and how many sessions had a part in each, added up
    std::uint64_t prompt_tokens = 0, shared_tokens = 0, generated_tokens = 0;
  };
  // As the last step left it, and pages as they were noted last: between steps, by the thread that calls `step`.
  [[nodiscard]] Activity activity() const;
  void note_pages();

 private:
  static constexpr std::uint32_t kNoSession = 0xFFFFFFFFU;
  // Tokens of a pass with guesses, where one wrong guess means that all of the pass are computed again.
  static constexpr std::uint32_t kMostAgain = 16;
  enum class State : std::uint8_t { Free, Arriving, Waiting, Reading, Generating };
  struct Session {
    // Guarded by the mutex.
    State state = State::Free;  // changed by the stepping thread alone, but from Free to Arriving
    bool cancelled = false;
    bool in_pass = false;    // of the pass that runs
    bool abandoned = false;  // a pass of its prompt was, for a newcomer
    std::uint32_t generation = 0;

    // The stepping thread's from the first step on.
    SessionClient* client = nullptr;
    SessionOptions options;
    std::uint64_t order = 0;              // of joining
    std::size_t read = 0;                 // tokens of the prompt that are in the cache
    Token next = 0;                       // drawn last; no row has followed it yet
    std::span<const Token> drafts;        // of the pass that runs
    std::array<Token, kMostAgain> again;  // tokens before `next` that have to be computed once more
    std::uint32_t again_count = 0;
    std::vector<Token> history;  // generated before it was put down, in front of `next`; empty once it is computed ...
    std::size_t replayed = 0;    // ... of which so many are
    bool resumes = false;        // it was put down while it generated, and has not caught up
    bool begun_before = false;   // its prompt was begun before it was put down ...
    std::size_t told_rows = 0;   // ... and its client has so many rows of it
    std::uint32_t leader = kNoSession;  // the session whose prompt begins alike ...
    SessionId leader_id = 0;            // ... if it still is that one ...
    std::size_t led = 0;                // ... and how many tokens are alike
    double begun = 0;                   // s, by the clock
    double prompt_done = 0;
    SessionResult result;
  };
  // Of a session that was put down, what it was before.
  struct Before {
    std::uint32_t index;
    SessionId id;
    State state;
    std::size_t read, replayed;
    std::uint32_t again_count, leader;
    bool had_history, resumes, begun_before;
  };
  // What a session has in the pass: tokens and the rows of logits behind them.
  struct Member {
    std::uint32_t session;
    std::span<const Token> tokens;
    Want want;
  };
  static std::size_t rows_of(std::span<const Token> tokens, Want want) {
    return want == Want::All ? tokens.size() : want == Want::Last ? 1 : 0;
  }
  // The pass that runs, for those who cancel or join meanwhile. Guarded by the mutex.
  struct Running {
    std::uint32_t going_on = 0;              // sessions of it that are not cancelled
    std::uint32_t lone_prompt = kNoSession;  // the one whose prompt has all of it and may be abandoned
    double until = 0;                        // by the clock, by prediction
  };

  [[nodiscard]] SessionId id_of(std::uint32_t index) const;
  [[nodiscard]] double now() const { return options_.clock(); }
  void require_prompt(const SessionOptions& options) const;
  void receive();
  void end_cancelled();
  void find_leader(std::uint32_t index);
  [[nodiscard]] bool is_led(const Session& session) const;
  bool begin_prompts();
  void compose();
  // What a pass has left for sessions that generate.
  struct Left {
    std::uint32_t sessions = 0;  // that have not had their turn
    std::uint32_t rows = 0, tokens = 0, pages = 0;
    bool prompts = false;  // there are prompts too
  };
  void add_generating(std::uint32_t readers);
  void add_one_generating(std::uint32_t index, Left& left);
  void add_history(std::uint32_t index, Left& left);
  void add_prompts(std::uint32_t readers);
  [[nodiscard]] std::uint32_t prompt_tokens_now(std::uint32_t readers) const;
  void share_among_prompts(std::uint32_t tokens, std::uint32_t readers);
  void end_one_of_the_stuck(bool kept_out);
  bool run(const StopFlag* stop);
  void abandon_long_pass();
  void finish_pass();
  void finish_prompt_part(const Member& member, std::size_t row);
  void draw_rows(std::uint32_t index, std::size_t row);
  void take_off(std::uint32_t index, std::uint32_t begin, std::uint32_t right);
  void resize(std::uint32_t sequences);
  void keep_history(std::uint32_t index);
  void go_on_as_before();
  [[nodiscard]] bool replay(const Member& member);
  [[nodiscard]] std::uint64_t tokens_left(const Session& session) const;
  [[nodiscard]] bool is_cancelled(const Session& session) const;
  void set_state(std::uint32_t index, State state);
  void end(std::uint32_t index, Ending ending, std::exception_ptr error = nullptr);
  template <class Function>
  bool guarded(std::uint32_t index, Function&& function);

  Executor* executor_;  // null: it was put down
  SchedulerOptions options_;
  Pace pace_;
  std::vector<Session> sessions_;          // per sequence of the plan
  std::vector<std::uint32_t> turns_;       // live sessions in the order in which they joined
  std::vector<Member> prompts_;            // of the pass
  std::vector<Member> generating_;         // of the pass
  std::vector<Member> members_;            // both, in the order of the pass
  std::vector<Input> inputs_;              // the same for the executor
  std::vector<Token> tokens_;              // what sessions that generate have in the pass
  std::uint32_t rows_ = 0;                 // of logits, taken of the pass
  std::uint64_t last_served_ = 0;          // order of the session that was the last to get a row, where not all did
  std::atomic<std::uint32_t> most_cells_;  // the executor's
  const std::uint32_t vocabulary_;
  std::vector<Before> before_;  // while the executor is given up
  std::string abandoned_;       // why; guarded by the mutex
  bool stuck_ = false;          // the last pass left out a session that found no page
  Activity activity_;           // guarded by the mutex

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  std::uint64_t joined_ = 0;
  Running running_;
  StopFlag pass_stop_{false};
};

}  // namespace loadline::exec

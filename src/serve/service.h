// Service: one loaded model and the thread that runs it, answering generations that come from any thread. It admits as
// many at once as the plan has sessions, and keeps a bounded queue of the others. It knows no dialect and no HTTP.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "grammar/token_index.h"
#include "serve/generation.h"
#include "tokenizer/tokenizer.h"

namespace loadline::serve {

class Running;

struct ServiceOptions {
  std::uint32_t most_waiting = 64;
  // Called from the engine's thread where there is something to deliver: has `deliver` called soon.
  std::function<void()> notify;
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
  // empty prompt, tokens that the model does not have, more than the context holds, samplers that make no sense.
  std::optional<Id> submit(Generation generation, std::shared_ptr<Listener> listener);
  // Ends it, if it has not ended: its listener is told Cancelled.
  void cancel(Id id);
  // Nothing new is admitted; what waits is cancelled, what runs goes on to its end.
  void wind_down();
  // Calls listeners with what has come.
  void deliver();

  [[nodiscard]] const tokenizer::Tokenizer& tokenizer() const { return *tokenizer_; }
  [[nodiscard]] const grammar::TokenIndex& token_index() const { return index_; }
  [[nodiscard]] const engine::Engine& engine() const { return *engine_; }
  // Tokens that a session can have, its prompt's included.
  [[nodiscard]] std::uint32_t context() const { return engine_->plan().shape.context; }
  [[nodiscard]] std::uint32_t places() const { return engine_->plan().shape.sequences; }

  struct Load {
    std::uint32_t running = 0, waiting = 0;
    exec::Scheduler::Activity activity;
    // Of generations that ended: tokens that were computed, and in which time.
    std::uint64_t prompt_tokens = 0, generated_tokens = 0;
    double prompt_seconds = 0, generation_seconds = 0;
    std::uint64_t generations = 0;  // that ended
    std::string trouble;            // what the last check against the plan found; empty: nothing
    double idle_since = 0;          // s, by the steady clock; while nothing runs
  };
  [[nodiscard]] Load load() const;

  // What the places do.
  struct Place {
    Id id = 0;  // 0: idle
    std::size_t prompt_tokens = 0, prompt_read = 0, shared = 0, generated = 0;
    std::int64_t most_tokens = -1;
  };
  [[nodiscard]] std::vector<Place> what_runs() const;

 private:
  friend class Running;

  void run();
  bool admit();
  std::deque<std::shared_ptr<Running>>::iterator next_waiting();
  void ended(Running& running, const exec::SessionResult& result);
  void has_news(Running& running);
  void announce(std::shared_ptr<Running> running);
  void check();

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  grammar::TokenIndex index_;
  ServiceOptions options_;

  mutable std::mutex mutex_;
  Id last_ = 0;
  bool stopping_ = false, winding_down_ = false;
  std::deque<std::shared_ptr<Running>> waiting_;
  std::unordered_map<Id, std::shared_ptr<Running>> running_;
  std::vector<std::shared_ptr<Running>> news_;  // to be delivered
  std::vector<std::shared_ptr<Running>> done_;  // ended within the present step; the engine's thread's
  Load totals_;
  std::thread thread_;
};

}  // namespace loadline::serve

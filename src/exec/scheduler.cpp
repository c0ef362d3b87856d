#include "exec/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "plan/runtime.h"

namespace loadline::exec {

static_assert(PagePool::bytes_per_page() <= plan::kPageEntry.value);

Scheduler::Scheduler(Executor& executor, SchedulerOptions options)
    : executor_(&executor),
      options_(std::move(options)),
      pace_(executor.plan().prediction),
      sessions_(executor.plan().shape.sequences),
      most_cells_(executor.cache().most_cells()),
      vocabulary_(executor.vocabulary()) {
  static_assert(sizeof(Session) + 3 * sizeof(Member) + 2 * sizeof(Input) + 64 <= plan::kSession.value);
  if (!options_.clock) options_.clock = steady_seconds;
  turns_.reserve(sessions_.size());
  prompts_.reserve(sessions_.size());
  generating_.reserve(sessions_.size());
  members_.reserve(sessions_.size());
  inputs_.reserve(sessions_.size());
  tokens_.reserve(executor.plan().shape.batch);
}

SessionId Scheduler::id_of(std::uint32_t index) const {
  return SessionId{sessions_[index].generation} * sessions_.size() + index;
}

void Scheduler::require_prompt(const SessionOptions& options) const {
  if (options.prompt.empty()) throw bad_input("the prompt is empty");
  const std::size_t most = std::min(options.most_cells, most_cells_.load());
  if (options.prompt.size() > most) {
    throw bad_input(
        fmt::format("the prompt has {} tokens, but the context has room for {}", options.prompt.size(), most),
        "Give more context, or a shorter prompt.");
  }
  for (const Token token : options.prompt) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= vocabulary_) {
      throw bad_input(fmt::format("token {} is outside the model's vocabulary of {}", token, vocabulary_));
    }
  }
}

std::optional<SessionId> Scheduler::join(const SessionOptions& options, SessionClient& client) {
  require_prompt(options);
  const std::lock_guard lock(mutex_);
  if (!abandoned_.empty()) throw Error(ErrorCode::DeviceFailure, abandoned_);
  auto place = std::ranges::find(sessions_, State::Free, &Session::state);
  if (options.place) {
    if (*options.place >= sessions_.size()) {
      throw bad_input(fmt::format("place {} is asked for, and there are {}", *options.place, sessions_.size()));
    }
    place = sessions_.begin() + *options.place;
  }
  if (place == sessions_.end() || place->state != State::Free) return std::nullopt;
  Session fresh;
  fresh.generation = place->generation;
  fresh.state = State::Arriving;
  fresh.client = &client;
  fresh.options = options;
  fresh.order = ++joined_;
  *place = fresh;
  abandon_long_pass();
  changed_.notify_all();
  return id_of(static_cast<std::uint32_t>(place - sessions_.begin()));
}

void Scheduler::make_way() {
  const std::lock_guard lock(mutex_);
  abandon_long_pass();
}

// For a newcomer, the pass of a lone prompt that would take much longer still. The mutex is held.
void Scheduler::abandon_long_pass() {
  if (running_.lone_prompt == kNoSession || running_.until - now() <= options_.longest_shared_pass) return;
  sessions_[running_.lone_prompt].abandoned = true;
  running_.lone_prompt = kNoSession;
  pass_stop_.store(true);
}

bool Scheduler::cancel(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto index = static_cast<std::uint32_t>(session % sessions_.size());
  Session& s = sessions_[index];
  if (s.state == State::Free || s.cancelled || id_of(index) != session) return false;
  s.cancelled = true;
  if (s.in_pass && --running_.going_on == 0) pass_stop_.store(true);
  changed_.notify_all();
  return true;
}

void Scheduler::cancel_all() {
  const std::lock_guard lock(mutex_);
  for (Session& session : sessions_) {
    if (session.state != State::Free) session.cancelled = true;
  }
  if (running_.going_on > 0) pass_stop_.store(true);
  running_.going_on = 0;
  changed_.notify_all();
}

void Scheduler::wait_for_work() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return woken_ || std::ranges::any_of(sessions_, [](const Session& s) { return s.state != State::Free; });
  });
  woken_ = false;
}

void Scheduler::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

std::uint32_t Scheduler::sessions() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(
      std::ranges::count_if(sessions_, [](const Session& s) { return s.state != State::Free; }));
}

std::uint32_t Scheduler::free_places() const { return static_cast<std::uint32_t>(sessions_.size()) - sessions(); }

bool Scheduler::is_free(std::uint32_t place) const {
  const std::lock_guard lock(mutex_);
  return place < sessions_.size() && sessions_[place].state == State::Free;
}

Scheduler::Activity Scheduler::activity() const {
  const std::lock_guard lock(mutex_);
  Activity activity = activity_;
  for (const Session& session : sessions_) {
    if (session.state == State::Arriving || session.state == State::Waiting) ++activity.waiting;
    if (session.state == State::Reading) ++activity.reading;
    if (session.state == State::Generating) ++activity.generating;
  }
  return activity;
}

bool Scheduler::step(const StopFlag* stop) {
  receive();
  end_cancelled();
  if (executor_ == nullptr) {
    if (turns_.empty()) return false;
    throw Error(ErrorCode::Internal, "a pass was asked for where nothing is loaded");
  }
  executor_->cache().set_time(now());
  const bool kept_out = begin_prompts();
  compose();
  if (!members_.empty()) {
    if (run(stop)) finish_pass();
    end_cancelled();
  } else if (!turns_.empty()) {
    end_one_of_the_stuck(kept_out);
  }
  note_pages();
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(sessions_, [](const Session& s) { return s.state != State::Free; });
}

void Scheduler::note_pages() {
  const PagePool& pool = executor_->cache().pool();
  const std::lock_guard lock(mutex_);
  activity_.held_pages = pool.pages() - pool.available();
  activity_.kept_pages = pool.kept_pages();
  activity_.pinned_pages = pool.pinned_pages();
}

// Takes up who came since the last step.
void Scheduler::receive() {
  turns_.clear();
  {
    const std::lock_guard lock(mutex_);
    for (std::uint32_t i = 0; i < sessions_.size(); ++i) {
      if (sessions_[i].state != State::Free) turns_.push_back(i);
    }
  }
  std::ranges::sort(turns_, {}, [&](std::uint32_t i) { return sessions_[i].order; });
  for (const std::uint32_t index : turns_) {
    if (sessions_[index].state != State::Arriving) continue;
    if (executor_ != nullptr) find_leader(index);
    set_state(index, State::Waiting);
  }
}

void Scheduler::end_cancelled() {
  for (std::size_t i = 0; i < turns_.size();) {
    const std::uint32_t index = turns_[i];
    if (is_cancelled(sessions_[index])) {
      end(index, Ending::Stopped);  // which takes it out of turns_
    } else {
      ++i;
    }
  }
}
std::uint64_t Scheduler::tokens_left(const Session& session) const {
  if (session.options.most_tokens < 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(session.options.most_tokens) - session.result.generated_tokens;
}

bool Scheduler::is_cancelled(const Session& session) const {
  const std::lock_guard lock(mutex_);
  return session.cancelled;
}

void Scheduler::set_state(std::uint32_t index, State state) {
  const std::lock_guard lock(mutex_);
  sessions_[index].state = state;
}

void Scheduler::end(std::uint32_t index, Ending ending, std::exception_ptr error) {
  Session& session = sessions_[index];
  if (executor_ != nullptr) executor_->cache().cut(index, 0);
  std::erase(turns_, index);
  session.history = {};
  session.resumes = false;
  SessionResult result = session.result;
  result.ending = ending;
  result.error = std::move(error);
  SessionClient& client = *session.client;
  {
    const std::lock_guard lock(mutex_);
    ++session.generation;
    session.state = State::Free;
  }
  client.ended(result);
}
}  // namespace loadline::exec

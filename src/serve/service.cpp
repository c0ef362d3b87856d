#include "serve/service.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "serve/running.h"

namespace loadline::serve {
Service::Service(std::unique_ptr<engine::Engine> engine, std::unique_ptr<tokenizer::Tokenizer> tokenizer,
                 ServiceOptions options)
    : engine_(std::move(engine)), tokenizer_(std::move(tokenizer)), options_(std::move(options)) {
  publish_plan(options_.basis);
  texts_.resize(places());
  totals_.idle_since = steady_seconds();
  thread_ = std::thread([this] { run(); });
}

Service::~Service() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    options_.notify = nullptr;
  }
  stop_change_ = true;
  undelivered_.abandon();
  engine_->scheduler().cancel_all();
  engine_->scheduler().wake();
  thread_.join();
}

void Service::require_possible(const Generation& generation) const {
  if (generation.prompt.empty()) throw bad_input("the prompt is empty");
  if (generation.prompt.size() > context()) {
    throw bad_input(fmt::format("request has {} tokens, which exceeds the maximum context length of {} tokens",
                                generation.prompt.size(), context()));
  }
  for (const Token token : generation.prompt) {
    if (token < 0 || token >= tokenizer_->vocabulary_size()) {
      throw bad_input(fmt::format("{} is no token of this model", token));
    }
  }
  if (generation.slot && *generation.slot >= places()) {
    throw bad_input(fmt::format("there is no slot {}: there are {}", *generation.slot, places()));
  }
  const std::uint32_t vocabulary = engine_->program().config.vocabulary;
  sample::validate(generation.sampling, vocabulary);
  const Bytes needed = Running::memory_bytes(generation, engine_->program().config, context());
  const Bytes most(most_running_);
  if (most.value > 0 && needed > most) {
    throw Error(ErrorCode::DoesNotFit,
                fmt::format("the answer to this request takes {}, and there are {} for each", to_string(needed),
                            to_string(most)),
                "Ask with a smaller grammar, fewer phrases or fewer settings.");
  }
}

std::optional<Service::Id> Service::submit(Generation generation, std::shared_ptr<Listener> listener) {
  require_possible(generation);
  const Bytes queued = Running::queued_bytes(generation);
  Id id = 0;
  bool begins_now = false;
  {
    const std::lock_guard lock(mutex_);
    const std::size_t free = places() > running_.size() ? places() - running_.size() : 0;
    if (stopping_ || winding_down_ || waiting_.size() >= free + options_.most_waiting) return std::nullopt;
    Bytes all = queued;
    for (const auto& one : waiting_) all += one->queued();
    // One alone may always wait.
    const Bytes most(most_queued_);
    if (most.value > 0 && all > most && !waiting_.empty()) return std::nullopt;
    id = ++last_;
    begins_now = waiting_.size() < free;
    waiting_.push_back(std::make_shared<Running>(*this, id, std::move(generation), std::move(listener)));
  }
  if (begins_now) engine_->scheduler().make_way();
  engine_->scheduler().wake();
  return id;
}

void Service::cancel(Id id) {
  std::shared_ptr<Running> unstarted;
  std::optional<exec::SessionId> session;
  {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find_if(waiting_, [&](const auto& one) { return one->id() == id; });
    if (at != waiting_.end()) {
      unstarted = std::move(*at);
      waiting_.erase(at);
    }
    const auto found = running_.find(id);
    if (found != running_.end()) {
      found->second->cancelled = true;
      session = found->second->session;
    }
  }
  if (session) engine_->scheduler().cancel(*session);
  if (!unstarted) return;
  unstarted->end_unstarted(Finish::Cancelled, "");
  announce(std::move(unstarted));
}

bool Service::act(std::uint32_t slot, SlotWork work, std::function<void(std::exception_ptr)> then) {
  return add_task({slot, std::move(work), std::move(then), nullptr});
}

bool Service::act(std::function<void(engine::Engine&)> work, std::function<void(std::exception_ptr)> then) {
  auto any = [work = std::move(work)](engine::Engine& engine, std::vector<Token>& /*text*/) { work(engine); };
  return add_task({std::nullopt, std::move(any), std::move(then), nullptr});
}

bool Service::add_task(SlotTask task) {
  constexpr std::size_t kMost = 16;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || winding_down_ || tasks_.size() >= kMost) return false;
    tasks_.push_back(std::move(task));
  }
  engine_->scheduler().wake();
  return true;
}

// Those whose slot has no session. True where some wait for theirs.
bool Service::act_on_slots() {
  for (;;) {
    SlotTask task;
    {
      const std::lock_guard lock(mutex_);
      const auto at = std::ranges::find_if(tasks_, [&](const SlotTask& one) {
        return stopping_ || !one.slot || *one.slot >= places() || engine_->scheduler().is_free(*one.slot);
      });
      if (at == tasks_.end()) return !tasks_.empty();
      task = std::move(*at);
      tasks_.erase(at);
      if (stopping_) continue;
      if (!totals_.broken.empty()) {
        task.error = std::make_exception_ptr(Error(ErrorCode::DeviceFailure, "nothing is loaded any more"));
      } else if (task.slot && *task.slot >= places()) {
        task.error = std::make_exception_ptr(bad_input(fmt::format("there is no slot {} any more", *task.slot)));
      }
    }
    const std::uint32_t slot = task.slot.value_or(0);
    if (texts_.size() <= slot) texts_.resize(slot + std::size_t{1});
    try {
      if (!task.error) task.work(*engine_, texts_[slot]);
    } catch (...) {
      task.error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    told_.push_back(std::move(task));
    if (options_.notify) options_.notify();
  }
}

void Service::wind_down() {
  std::deque<std::shared_ptr<Running>> left;
  {
    const std::lock_guard lock(mutex_);
    winding_down_ = true;
    left.swap(waiting_);
  }
  for (auto& one : left) {
    one->end_unstarted(Finish::Cancelled, "");
    announce(std::move(one));
  }
}

void Service::announce(std::shared_ptr<Running> running) {
  const std::lock_guard lock(mutex_);
  if (std::exchange(running->announced, true)) return;
  news_.push_back(std::move(running));
  if (news_.size() == 1 && options_.notify) options_.notify();
}

void Service::deliver() {
  std::vector<std::shared_ptr<Running>> news;
  std::deque<SlotTask> told;
  {
    const std::lock_guard lock(mutex_);
    news.swap(news_);
    told.swap(told_);
    for (const auto& one : news) one->announced = false;
  }
  for (const auto& one : news) one->deliver();
  for (const SlotTask& one : told) one.then(one.error);
}

Service::Load Service::load() const {
  const exec::Scheduler::Activity activity = engine_->scheduler().activity();
  const std::lock_guard lock(mutex_);
  Load load = totals_;
  load.loaded = Bytes(loaded_.load());
  load.to_load = Bytes(to_load_.load());
  load.activity = activity;
  load.running = static_cast<std::uint32_t>(running_.size());
  load.waiting = static_cast<std::uint32_t>(waiting_.size());
  return load;
}

std::vector<Service::Place> Service::what_runs() const {
  std::vector<Place> out(places());
  const std::lock_guard lock(mutex_);
  for (const auto& [id, running] : running_) {
    if (running->session) out[slot_of(*running)] = running->place();
  }
  return out;
}

std::vector<Service::Place> Service::who_waits(std::size_t most) const {
  std::vector<Place> out;
  const std::lock_guard lock(mutex_);
  for (const auto& one : waiting_) {
    if (out.size() == most) break;
    out.push_back(one->place());
  }
  return out;
}

// Whose turn it is, of those whose place is free; null where there is none. The mutex is held.
std::shared_ptr<Running> Service::take_next() {
  exec::Scheduler& scheduler = engine_->scheduler();
  if (scheduler.free_places() == 0) return nullptr;
  std::vector<std::string_view> keys;
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < waiting_.size(); ++i) {
    const std::optional<std::uint32_t>& slot = waiting_[i]->slot();
    // One that a smaller plan has not is refused when it joins.
    if (slot && *slot < places() && !scheduler.is_free(*slot)) continue;
    keys.emplace_back(waiting_[i]->key());
    indices.push_back(i);
  }
  if (keys.empty()) return nullptr;
  const std::size_t chosen = turns_.choose(keys, [&](std::string_view key) {
    return static_cast<std::size_t>(
        std::ranges::count_if(running_, [&](const auto& one) { return one.second->key() == key; }));
  });
  const auto at = waiting_.begin() + static_cast<std::ptrdiff_t>(indices[chosen]);
  std::shared_ptr<Running> next = std::move(*at);
  waiting_.erase(at);
  turns_.took(next->key());
  return next;
}

// Into the places that are free. False once there is nothing to do any more.
bool Service::admit() {
  for (;;) {
    std::shared_ptr<Running> next;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
      next = take_next();
      if (next == nullptr) return true;
      running_.emplace(next->id(), next);
    }
    std::string problem;
    try {
      next->begin();  // takes its memory, which may take a moment
      const std::lock_guard lock(mutex_);
      if (!next->cancelled) next->session = engine_->scheduler().join(next->options(), *next);
      if (next->session) continue;
    } catch (const std::exception& error) {
      problem = error.what();
    }
    next->end_unstarted(problem.empty() ? Finish::Cancelled : Finish::Failed, problem);
    {
      const std::lock_guard lock(mutex_);
      running_.erase(next->id());
    }
    announce(std::move(next));
  }
}

// In another session, where a phrase was taken back. False where it may not.
bool Service::goes_on(Running& running) {
  const std::lock_guard lock(mutex_);
  if (running.cancelled || stopping_) return false;
  try {
    const auto session = engine_->scheduler().join(running.options(), running);
    if (session) running.session = session;
    return session.has_value();
  } catch (const Error&) {
    return false;
  }
}

std::uint32_t Service::slot_of(const Running& running) const {
  return engine_->scheduler().place_of(running.session.value_or(0));
}

void Service::run() {
  show_engine(true);
  run_passes();
  show_engine(false);
}

void Service::run_passes() {
  exec::Scheduler& scheduler = engine_->scheduler();
  bool was_busy = true;
  for (;;) {
    carry_out_change();
    const bool waits = act_on_slots();
    const bool goes_on = admit();
    undelivered_.wait_for_room();
    bool busy = step();
    done_.clear();
    note_catching_up();
    {
      const std::lock_guard lock(mutex_);
      busy = busy || (goes_on && (!waiting_.empty() || waits || wanted_change_));
    }
    if (busy) {
      was_busy = true;
      continue;
    }
    if (!goes_on) return;
    if (std::exchange(was_busy, false)) check();
    scheduler.wait_for_work();
  }
}

// Whether everything still holds what was planned.
void Service::check() {
  malloc_trim(0);  // what requests took meanwhile
  std::string trouble;
  try {
    engine_->verify();
  } catch (const std::exception& error) {
    trouble = error.what();
  }
  const std::lock_guard lock(mutex_);
  totals_.trouble = std::move(trouble);
  totals_.idle_since = steady_seconds();
}

// In the middle of a call of the generation's own, which is therefore kept until the step is over.
void Service::ended(Running& running, const exec::SessionResult& result) {
  std::shared_ptr<Running> kept;
  {
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(running.id());
    if (found == running_.end()) return;
    kept = std::move(found->second);
    running_.erase(found);
    const std::uint32_t slot = slot_of(running);
    if (texts_.size() <= slot) texts_.resize(slot + std::size_t{1});
    texts_[slot] = running.text();
    ++totals_.generations;
    totals_.longest = std::max<std::uint64_t>(totals_.longest, result.prompt_tokens + result.generated_tokens);
    totals_.prompt_tokens += result.prompt_tokens - result.shared_tokens;
    totals_.prompt_seconds += result.prompt_seconds;
    totals_.generated_tokens +=
        result.generated_tokens > 0 ? result.generated_tokens - 1 : 0;  // the first is the prompt's
    totals_.generation_seconds += result.generation_seconds;
  }
  done_.push_back(kept);
  announce(std::move(kept));
}

void Service::has_news(Running& running) {
  const std::lock_guard lock(mutex_);
  if (running.announced) return;
  const auto found = running_.find(running.id());
  if (found == running_.end()) return;
  running.announced = true;
  news_.push_back(found->second);
  if (news_.size() == 1 && options_.notify) options_.notify();
}

}  // namespace loadline::serve

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
    : engine_(std::move(engine)),
      tokenizer_(std::move(tokenizer)),
      index_(grammar::TokenIndex::of(*tokenizer_)),
      options_(std::move(options)) {
  publish_plan(options_.basis);
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
  engine_->scheduler().cancel_all();
  engine_->scheduler().wake();
  thread_.join();
}

std::optional<Service::Id> Service::submit(Generation generation, std::shared_ptr<Listener> listener) {
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
  Id id = 0;
  {
    const std::lock_guard lock(mutex_);
    const std::size_t free = places() > running_.size() ? places() - running_.size() : 0;
    if (stopping_ || winding_down_ || waiting_.size() >= free + options_.most_waiting) return std::nullopt;
    id = ++last_;
  }
  auto running = std::make_shared<Running>(*this, id, std::move(generation), std::move(listener));
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(running));
  }
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
    if (found != running_.end()) session = found->second->session;
  }
  if (session) engine_->scheduler().cancel(*session);
  if (!unstarted) return;
  unstarted->end_unstarted(Finish::Cancelled, "");
  announce(std::move(unstarted));
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
  {
    const std::lock_guard lock(mutex_);
    news.swap(news_);
    for (const auto& one : news) one->announced = false;
  }
  for (const auto& one : news) one->deliver();
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
    const std::size_t index = running->session.value_or(0) % out.size();  // exec::Scheduler numbers them so
    out[index] = running->place();
  }
  return out;
}

// Of those whose key has the fewest running, the one that waits longest.
std::deque<std::shared_ptr<Running>>::iterator Service::next_waiting() {
  const auto running_of = [&](const std::string& key) {
    return std::ranges::count_if(running_, [&](const auto& one) { return one.second->key() == key; });
  };
  return std::ranges::min_element(waiting_, {}, [&](const auto& one) { return running_of(one->key()); });
}

// Into the places that are free. False once there is nothing to do any more.
bool Service::admit() {
  for (;;) {
    std::shared_ptr<Running> next;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || waiting_.empty() || engine_->scheduler().free_places() == 0) return !stopping_;
      const auto at = next_waiting();
      next = std::move(*at);
      waiting_.erase(at);
      try {
        next->session = engine_->scheduler().join(next->options(), *next);
        running_.emplace(next->id(), next);
        continue;
      } catch (const Error& error) {
        next->end_unstarted(Finish::Failed, error.what());
      }
    }
    announce(std::move(next));
  }
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
    const bool goes_on = admit();
    bool busy = step();
    done_.clear();
    note_catching_up();
    {
      const std::lock_guard lock(mutex_);
      busy = busy || (goes_on && !waiting_.empty()) || (goes_on && wanted_change_);
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
    ++totals_.generations;
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

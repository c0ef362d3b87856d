// The thread of a ModelFolder: it reads headers, loads and unloads.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "serve/call.h"
#include "serve/model_folder.h"

namespace loadline::serve {
namespace {

// A model is loaded beside others where it is not slower than this share of what it would be alone.
constexpr double kFastEnough = 2.0 / 3;
constexpr auto kTick = std::chrono::milliseconds(50);

}  // namespace

void ModelFolder::run() {
  for (;;) {
    EntryPtr load;
    EntryPtr unload;
    std::vector<std::pair<std::string, Then>> unknown;
    bool all_read = true;
    {
      std::unique_lock lock(mutex_);
      const auto wanted = [&] { return stopping_ || !to_load_.empty() || !to_unload_.empty() || !unknown_.empty(); };
      const bool expires = std::ranges::any_of(
          entries_, [](const EntryPtr& entry) { return entry->served != nullptr && entry->keep.has_value(); });
      all_read = next_unread() == nullptr;
      if (expires || !all_read) {
        changed_.wait_for(lock, all_read ? kTick : std::chrono::milliseconds(0), wanted);
      } else {
        changed_.wait(lock, [&] { return wanted() || may_expire_; });
      }
      may_expire_ = false;
      if (stopping_) return;
      unknown.swap(unknown_);
      if (!to_unload_.empty()) {
        unload = std::move(to_unload_.front());
        to_unload_.pop_front();
      } else if (!to_load_.empty()) {
        load = std::move(to_load_.front());
        to_load_.pop_front();
      } else {
        unload = expired();
      }
    }
    for (auto& [name, then] : unknown) look_again(name, std::move(then));
    if (unload != nullptr) {
      unload_now(unload);
    } else if (load != nullptr) {
      load_now(load);
    } else if (!all_read && unknown.empty()) {
      read_next();
    }
  }
}

// A file may have come since.
void ModelFolder::look_again(const std::string& name, Then then) {
  try {
    find_files();
  } catch (const std::exception&) {  // then there is nothing new
  }
  bool known = false;
  {
    const std::lock_guard lock(mutex_);
    known = entry_of(name) != nullptr;
  }
  if (known) return load(name, std::move(then));
  std::vector<Then> one;
  one.push_back(std::move(then));
  tell(std::move(one), std::make_exception_ptr(NotFound(fmt::format("model '{}' not found", printable(name)))));
}

// With the mutex held.
ModelFolder::EntryPtr ModelFolder::next_unread() const {
  for (const EntryPtr& entry : entries_) {
    if (!entry->looked_at) return entry;
  }
  return nullptr;
}

ModelFolder::EntryPtr ModelFolder::expired() const {
  const double now = steady_seconds();
  for (const EntryPtr& entry : entries_) {
    if (entry->listed.state != Listed::State::Loaded || !entry->keep || is_busy(*entry->served)) continue;
    if (now - idle_since(*entry) >= *entry->keep) return entry;
  }
  return nullptr;
}

// What lists tell of a model that nobody asked for yet.
void ModelFolder::read_next() {
  EntryPtr entry;
  Listed now;
  {
    const std::lock_guard lock(mutex_);
    entry = next_unread();
    if (entry == nullptr) return;
    entry->looked_at = true;
    now = entry->listed;
  }
  try {
    look_at(*options_.open(entry->file, now.name), now);
  } catch (const std::exception& error) {
    now.unusable = error.what();
    if (options_.log) options_.log(fmt::format("{} cannot be served: {}", printable(now.name), error.what()));
  }
  const std::lock_guard lock(mutex_);
  now.state = entry->listed.state;
  now.aliases = entry->listed.aliases;
  entry->listed = std::move(now);
}

void ModelFolder::look_at(const Candidate& candidate, Listed& listed) const {
  candidate.describe(listed);
  listed.read = true;
  listed.unusable.clear();
  const Candidate::Fit fit = candidate.fit({options_.requests, {}});
  listed.planned = true;
  listed.fits = fit.fits;
  listed.prompt_rate = fit.prompt_rate;
  listed.generation_rate = fit.generation_rate;
  listed.ram = fit.ram;
  listed.vram = fit.vram;
  if (!fit.fits) listed.why_not = candidate.refusal({options_.requests, {}}).what();
}

// Whether the process holds no more than the plans of all and what their requests take. Of a GPU's driver only its own
// model's engine can tell.
void ModelFolder::check() {
  malloc_trim(0);
  const Sum now = sum();
  std::string trouble;
  bool with_gpus = false;
  {
    const std::lock_guard lock(mutex_);
    for (const EntryPtr& entry : entries_) {
      with_gpus = with_gpus || (entry->served != nullptr && entry->served->service->plan()->scratch.size() > 1);
    }
  }
  if (!with_gpus && now.planned.value > 0 && now.held > now.planned) {
    trouble = fmt::format("the process holds {} of RAM where the plans of its models and their requests have {}",
                          to_string(now.held), to_string(now.planned));
    if (options_.log) options_.log(trouble);
  }
  const std::lock_guard lock(mutex_);
  trouble_ = std::move(trouble);
}

void ModelFolder::load_now(const EntryPtr& entry) {
  std::exception_ptr problem;
  std::string name;
  {
    const std::lock_guard lock(mutex_);
    name = entry->listed.name;
    if (entry->listed.state == Listed::State::Loaded) {
      name.clear();
    } else {
      entry->listed.state = Listed::State::Loading;
      entry->listed.loaded = entry->listed.to_load = Bytes();
    }
    if (!winding_down_) stop_loading_ = false;
  }
  try {
    if (!name.empty()) open_and_load(entry, name);
  } catch (const std::exception& error) {
    problem = std::current_exception();
    if (options_.log) options_.log(fmt::format("{} was not loaded: {}", printable(name), error.what()));
  }
  std::vector<Then> waiting;
  {
    const std::lock_guard lock(mutex_);
    entry->listed.state = entry->served != nullptr ? Listed::State::Loaded : Listed::State::Unloaded;
    waiting.swap(entry->loading);
  }
  check();
  tell(std::move(waiting), problem);
}

void ModelFolder::open_and_load(const EntryPtr& entry, const std::string& name) {
  const std::unique_ptr<Candidate> candidate = options_.open(entry->file, name);
  const Reserved nobody{options_.requests, {}};
  const Candidate::Fit alone = candidate->fit(nobody);
  if (!alone.fits) throw candidate->refusal(nobody);
  make_room(entry, *candidate, alone);
  Reserved reserved;
  {
    const std::lock_guard lock(mutex_);
    reserved = reserved_beside(entry.get());
  }
  const auto itself = std::make_shared<std::weak_ptr<Served>>();
  LoadHooks hooks;
  hooks.leave_to_others = [this](const Served& of, Basis& basis) { leave_to_others(of, basis); };
  hooks.notify = [this, itself] {
    options_.post([itself] {
      if (const auto served = itself->lock()) served->service->deliver();
    });
  };
  const auto progress = [&](Bytes done, Bytes total) {
    const std::lock_guard lock(mutex_);
    entry->listed.loaded = done;
    entry->listed.to_load = total;
  };
  std::shared_ptr<Served> served = candidate->load(reserved, std::move(hooks), progress, stop_loading_);
  if (served == nullptr) throw Error(ErrorCode::Interrupted, "loading was cancelled");
  *itself = served;
  const std::lock_guard lock(mutex_);
  if (!entry->listed.read) {
    candidate->describe(entry->listed);
    entry->listed.read = true;
  }
  served->aliases.insert(served->aliases.end(), entry->listed.aliases.begin(), entry->listed.aliases.end());
  entry->served = std::move(served);
  entry->used = steady_seconds();
  entry->keep.reset();
}

// Unloads those used longest ago until it fits beside the others, and well enough.
void ModelFolder::make_room(const EntryPtr& entry, const Candidate& candidate, const Candidate::Fit& alone) {
  for (;;) {
    Reserved reserved;
    EntryPtr oldest;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) throw Error(ErrorCode::Interrupted, "the server stops");
      reserved = reserved_beside(entry.get());
      for (const EntryPtr& other : entries_) {
        if (other == entry || other->served == nullptr) continue;
        if (oldest == nullptr || other->used < oldest->used) oldest = other;
      }
    }
    if (oldest == nullptr) return;
    const Candidate::Fit beside = candidate.fit(reserved);
    const bool well = beside.fits && (alone.streams || !beside.streams) &&
                      beside.generation_rate >= kFastEnough * alone.generation_rate;
    if (well) return;
    unload_now(oldest);
  }
}

// Once its answers are given and nobody looks at it any more, which the network's thread can tell: only there is
// anything taken up that was not held before.
void ModelFolder::unload_now(const EntryPtr& entry) {
  {
    const std::lock_guard lock(mutex_);
    if (entry->served == nullptr) return;
    entry->listed.state = Listed::State::Unloading;
  }
  for (;;) {
    const auto unused = std::make_shared<std::promise<bool>>();
    std::future<bool> answer = unused->get_future();
    options_.post([entry, unused] { unused->set_value(entry->served.use_count() == 1 && !is_busy(*entry->served)); });
    while (answer.wait_for(kTick) != std::future_status::ready) {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (answer.get()) break;
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, kTick, [&] { return stopping_; })) return;
  }
  std::shared_ptr<Served> served;
  std::vector<Then> waiting;
  {
    const std::lock_guard lock(mutex_);
    served = std::move(entry->served);
    waiting.swap(entry->unloading);
  }
  served.reset();  // which frees what it holds
  check();
  {
    const std::lock_guard lock(mutex_);
    entry->listed.state = entry->loading.empty() ? Listed::State::Unloaded : Listed::State::Waiting;
  }
  if (options_.log) options_.log(fmt::format("{} is unloaded", printable(entry->listed.name)));
  tell(std::move(waiting), nullptr);
}

// From the network's thread, and waits until they know.
void ModelFolder::tell(std::vector<Then> all, const std::exception_ptr& problem) {
  if (all.empty()) return;
  const auto told = std::make_shared<std::promise<void>>();
  std::future<void> done = told->get_future();
  options_.post([all = std::move(all), problem, told] {
    for (const Then& then : all) {
      try {
        if (problem) std::rethrow_exception(problem);
        then(nullptr);
      } catch (const std::exception& error) {
        if (problem) then(&error);
      }
    }
    told->set_value();
  });
  while (done.wait_for(kTick) != std::future_status::ready) {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
}

}  // namespace loadline::serve

#include "serve/model_folder.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <future>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "serve/call.h"

namespace loadline::serve {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMostFiles = 2000;
constexpr int kDeepest = 3;  // folders below the one that was named: PUBLISHER/MODEL/FILE
// A model is loaded beside others where it is not slower than this share of what it would be alone.
constexpr double kFastEnough = 2.0 / 3;
constexpr auto kTick = std::chrono::milliseconds(50);

// The part of a split model that stands for all of it, or a whole one.
bool stands_for_a_model(const fs::path& file) {
  std::string ending = file.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (ending != ".gguf") return false;
  const std::string stem = file.stem().string();
  const std::size_t of = stem.rfind("-of-");
  const bool split = of != std::string::npos && of >= 6 && stem[of - 6] == '-' && stem.size() == of + 9 &&
                     stem.find_first_not_of("0123456789", of + 4) == std::string::npos;
  return !split || stem.compare(of - 5, 5, "00001") == 0;
}

void take(Bytes bytes, Bytes& from) { from -= std::min(from, bytes); }

bool is_nameable(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) { return c >= 0x20 && c != 0x7f; });
}

// Those of its answers that wait count too.
bool is_busy(const Served& served) {
  const Service::Load load = served.service->load();
  return load.running + load.waiting > 0;
}

}  // namespace

std::string name_of_file(const fs::path& file) {
  std::string name = file.stem().string();
  if (const std::size_t part = name.find("-00001-of-"); part != std::string::npos) name.resize(part);
  return name;
}

ModelFolder::ModelFolder(FolderOptions options) : options_(std::move(options)) {
  find_files();
  thread_ = std::thread([this] { run(); });
}

ModelFolder::~ModelFolder() { stop(); }

void ModelFolder::wind_down() {
  std::vector<std::shared_ptr<Served>> all;
  {
    const std::lock_guard lock(mutex_);
    winding_down_ = true;
    for (const EntryPtr& entry : entries_) {
      if (entry->served != nullptr) all.push_back(entry->served);
    }
  }
  stop_loading_ = true;
  changed_.notify_all();
  for (const auto& one : all) one->service->wind_down();
}

void ModelFolder::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = winding_down_ = true;
  }
  stop_loading_ = true;
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (const EntryPtr& entry : entries_) {
    if (entry->served != nullptr) entry->served->end();
  }
}

void ModelFolder::find_files() {
  std::error_code problem;
  fs::recursive_directory_iterator at(options_.folder, fs::directory_options::skip_permission_denied, problem);
  if (problem) {
    throw bad_input(fmt::format("{} cannot be read: {}", printable(options_.folder.string(), 4096), problem.message()));
  }
  std::vector<fs::path> files;
  for (; at != fs::recursive_directory_iterator() && files.size() < kMostFiles; at.increment(problem)) {
    if (problem) break;
    if (at.depth() >= kDeepest) at.disable_recursion_pending();
    std::error_code ignored;
    if (stands_for_a_model(at->path()) && at->is_regular_file(ignored)) files.push_back(at->path());
  }
  std::ranges::sort(files);
  const std::lock_guard lock(mutex_);
  std::set<std::string> taken;
  for (const EntryPtr& entry : entries_) taken.insert(plain_name(entry->listed.name));
  for (const fs::path& file : files) {
    if (std::ranges::any_of(entries_, [&](const EntryPtr& entry) { return entry->file == file; })) continue;
    std::string name = name_of_file(file);
    if (taken.contains(plain_name(name))) name = file.parent_path().filename().string() + "/" + name;
    if (!is_nameable(name) || !taken.insert(plain_name(name)).second) continue;
    auto entry = std::make_shared<Entry>();
    entry->file = file;
    entry->listed.name = name;
    std::error_code ignored;
    entry->listed.size = Bytes(fs::file_size(file, ignored));
    const auto written = std::chrono::file_clock::to_sys(fs::last_write_time(file, ignored));
    entry->listed.modified = std::chrono::duration_cast<std::chrono::seconds>(written.time_since_epoch()).count();
    for (const auto& [alias, of] : options_.aliases) {
      if (plain_name(of) == plain_name(name)) entry->listed.aliases.push_back(alias);
    }
    entries_.push_back(std::move(entry));
  }
  std::ranges::sort(entries_, {}, [](const EntryPtr& entry) { return entry->listed.name; });
}

// With the mutex held.
ModelFolder::EntryPtr ModelFolder::entry_of(std::string_view name) const {
  const std::string plain = plain_name(name);
  for (const EntryPtr& entry : entries_) {
    const auto same = [&](const std::string& other) { return plain_name(other) == plain; };
    if (same(entry->listed.name) || std::ranges::any_of(entry->listed.aliases, same)) return entry;
  }
  return nullptr;
}

ModelFolder::EntryPtr ModelFolder::entry_of(const Served& served) const {
  for (const EntryPtr& entry : entries_) {
    if (entry->served.get() == &served) return entry;
  }
  return nullptr;
}

std::vector<std::shared_ptr<const Served>> ModelFolder::loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<EntryPtr> all;
  for (const EntryPtr& entry : entries_) {
    if (entry->listed.state == Listed::State::Loaded) all.push_back(entry);
  }
  std::ranges::stable_sort(all, std::greater(), [](const EntryPtr& entry) { return entry->used; });
  std::vector<std::shared_ptr<const Served>> out;
  for (const EntryPtr& entry : all) out.push_back(entry->served);
  return out;
}

std::shared_ptr<const Served> ModelFolder::find(std::string_view name) const {
  if (name.empty()) {
    const auto all = loaded();
    return all.empty() ? nullptr : all.front();
  }
  const std::lock_guard lock(mutex_);
  const EntryPtr entry = entry_of(name);
  return entry != nullptr && entry->listed.state == Listed::State::Loaded ? entry->served : nullptr;
}

std::vector<Listed> ModelFolder::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<Listed> out;
  for (const EntryPtr& entry : entries_) out.push_back(entry->listed);
  return out;
}

void ModelFolder::load(std::string_view name, Then then) {
  {
    const std::lock_guard lock(mutex_);
    const auto usable = [](const EntryPtr& one) { return one->listed.unusable.empty(); };
    EntryPtr entry = entry_of(name);
    if (name.empty()) {
      const auto first = std::ranges::find_if(entries_, usable);
      if (first != entries_.end()) entry = *first;
    }
    if (entry == nullptr) {
      unknown_.emplace_back(name, std::move(then));
    } else {
      entry->loading.push_back(std::move(then));
      if (std::ranges::find(to_load_, entry) == to_load_.end()) to_load_.push_back(entry);
      if (entry->listed.state == Listed::State::Unloaded) entry->listed.state = Listed::State::Waiting;
    }
  }
  changed_.notify_all();
}

void ModelFolder::unload(std::string_view name, Then then) {
  {
    const std::lock_guard lock(mutex_);
    const EntryPtr entry = entry_of(name);
    if (entry == nullptr || entry->served == nullptr) {
      if (entry == nullptr) throw NotFound(fmt::format("model '{}' not found", printable(name)));
      throw bad_input(fmt::format("model '{}' is not loaded", printable(name)));
    }
    entry->unloading.push_back(std::move(then));
    if (std::ranges::find(to_unload_, entry) == to_unload_.end()) to_unload_.push_back(entry);
  }
  changed_.notify_all();
}

void ModelFolder::use(const Served& served) {
  const std::lock_guard lock(mutex_);
  if (const EntryPtr entry = entry_of(served)) entry->used = steady_seconds();
}

void ModelFolder::keep(const Served& served, std::optional<double> seconds) {
  {
    const std::lock_guard lock(mutex_);
    const EntryPtr entry = entry_of(served);
    if (entry == nullptr) return;
    entry->used = steady_seconds();
    entry->keep = seconds;
    may_expire_ = true;
  }
  changed_.notify_all();
}

std::optional<double> ModelFolder::left(const Served& served) const {
  const std::lock_guard lock(mutex_);
  const EntryPtr entry = entry_of(served);
  if (entry == nullptr || !entry->keep) return std::nullopt;
  return std::max(0.0, *entry->keep - (is_busy(served) ? 0 : steady_seconds() - idle_since(*entry)));
}

double ModelFolder::idle_since(const Entry& entry) {
  return std::max(entry.used, entry.served->service->load().idle_since);
}

// With the mutex held.
Reserved ModelFolder::reserved_beside(const Entry* entry) const {
  Reserved out;
  for (const EntryPtr& other : entries_) {
    if (other.get() == entry || other->served == nullptr) continue;
    const auto plan = other->served->service->plan();
    out.ram += plan::tier_total(*plan, plan::kCpu);
    for (plan::DeviceIndex i = 1; i < plan->scratch.size(); ++i) {
      out.gpus[plan->tiers[i].device] += plan::tier_total(*plan, i);
    }
  }
  return out;
}

void ModelFolder::leave_to_others(const Served& served, Basis& basis) const {
  Reserved reserved;
  {
    const std::lock_guard lock(mutex_);
    reserved = reserved_beside(entry_of(served).get());
  }
  for (hardware::Gpu& gpu : basis.machine.gpus) take(reserved.gpus[gpu.id], gpu.free);
  take_reserved(reserved, basis);
}

void take_reserved(const Reserved& reserved, Basis& basis) {
  take(reserved.ram, basis.machine.ram.available);
  if (basis.options.ram_budget) take(reserved.ram, *basis.options.ram_budget);
  for (std::uint32_t i = 0; i < basis.machine.gpus.size(); ++i) {
    const auto held = reserved.gpus.find(basis.machine.gpus[i].id);
    if (held == reserved.gpus.end()) continue;
    auto named = basis.options.gpu_budgets.find(i);
    if (named == basis.options.gpu_budgets.end() && basis.options.gpu_budget) {
      named = basis.options.gpu_budgets.emplace(i, *basis.options.gpu_budget).first;
    }
    if (named != basis.options.gpu_budgets.end()) take(held->second, named->second);
  }
}

// ---- the thread that loads and unloads ----

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

void ModelFolder::look_at(const Candidate& candidate, Listed& listed) {
  candidate.describe(listed);
  listed.read = true;
  listed.unusable.clear();
  const Candidate::Fit fit = candidate.fit({});
  listed.planned = true;
  listed.fits = fit.fits;
  listed.prompt_rate = fit.prompt_rate;
  listed.generation_rate = fit.generation_rate;
  listed.ram = fit.ram;
  listed.vram = fit.vram;
  if (!fit.fits) listed.why_not = candidate.refusal().what();
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
  tell(std::move(waiting), problem);
}

void ModelFolder::open_and_load(const EntryPtr& entry, const std::string& name) {
  const std::unique_ptr<Candidate> candidate = options_.open(entry->file, name);
  const Candidate::Fit alone = candidate->fit({});
  if (!alone.fits) throw candidate->refusal();
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
  malloc_trim(0);
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

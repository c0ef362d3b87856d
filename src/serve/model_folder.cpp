#include "serve/model_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "hardware/probe.h"
#include "serve/call.h"

namespace loadline::serve {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMostFiles = 2000;
constexpr int kDeepest = 3;  // folders below the one that was named: PUBLISHER/MODEL/FILE

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

}  // namespace

bool is_busy(const Served& served) {
  const Service::Load load = served.service->load();
  return load.running + load.waiting > 0;
}

std::string name_of_file(const fs::path& file) {
  std::string name = file.stem().string();
  if (const std::size_t part = name.find("-00001-of-"); part != std::string::npos) name.resize(part);
  return name;
}

ModelFolder::ModelFolder(FolderOptions options) : options_(std::move(options)) {
  if (!options_.held_memory) options_.held_memory = [] { return hardware::held_memory(); };
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

// Where nothing is loaded, nothing is planned either.
Models::Sum ModelFolder::sum() const {
  Sum sum{options_.requests, {}, options_.held_memory(), {}};
  const std::lock_guard lock(mutex_);
  sum.trouble = trouble_;
  for (const EntryPtr& entry : entries_) {
    if (entry->served == nullptr) continue;
    sum.planned += plan::tier_total(*entry->served->service->plan(), plan::kCpu);
  }
  if (sum.planned.value > 0) sum.planned += options_.requests;
  return sum;
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
  Reserved out{options_.requests, {}};
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

}  // namespace loadline::serve

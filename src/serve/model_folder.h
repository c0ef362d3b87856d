// The models of a folder: each is loaded when a request names it. Where its plan does not fit beside those that are
// loaded, or would be much slower there, those that were used longest ago are unloaded first, once their answers are
// given; and so is one that nobody has used for as long as it was to be kept. Names in requests are looked up among the
// files that were found, and nowhere else. How a file is opened, planned and loaded is its caller's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "engine/loader.h"
#include "serve/models.h"

namespace loadline::serve {

// What is not to be planned with, since other models hold it.
struct Reserved {
  Bytes ram;
  std::map<std::string, Bytes> gpus;  // by hardware::Gpu::id
};

// Takes that from what a plan may have: of RAM, and of budgets that were named. (What a GPU's driver says is free is
// free of it already.)
void take_reserved(const Reserved& reserved, Basis& basis);

// What clients call a model that nobody named: its file's name, less ending and part.
std::string name_of_file(const std::filesystem::path& file);

// Somebody waits for an answer of it.
bool is_busy(const Served& served);

struct LoadHooks {
  std::function<void()> notify;                                // see ServiceOptions
  std::function<void(const Served&, Basis&)> leave_to_others;  // see Served; may be empty
};

// A model whose headers are read.
class Candidate {
 public:
  virtual ~Candidate() = default;
  // Fills in what its file says.
  virtual void describe(Listed& listed) const = 0;
  struct Fit {
    bool fits = false, streams = false;
    double prompt_rate = 0, generation_rate = 0;  // predicted
    Bytes ram, vram;
  };
  [[nodiscard]] virtual Fit fit(const Reserved& reserved) const = 0;
  // Why it does not fit though nothing else is loaded, with what would.
  [[nodiscard]] virtual Error refusal(const Reserved& reserved) const = 0;
  // Once. Null: stopped. Throws Error.
  virtual std::shared_ptr<Served> load(const Reserved& reserved, LoadHooks hooks, const engine::LoadProgress& progress,
                                       const std::atomic<bool>& stop) = 0;
};

struct FolderOptions {
  std::filesystem::path folder;
  std::map<std::string, std::string> aliases;  // to names
  // Reads the headers of a file; throws Error where it cannot be served.
  std::function<std::unique_ptr<Candidate>(const std::filesystem::path& file, const std::string& name)> open;
  Bytes requests;  // what they take whichever model they are for: no model's plan has it
  std::function<void(std::function<void()>)> post;  // has it called soon, from the network's thread
  std::function<void(const std::string&)> log;      // a line; empty: none
  std::function<Bytes()> held_memory;               // of the process; empty: as the system says
};

class ModelFolder final : public Models {
 public:
  // Looks for files. Throws Error(BadInput) where the folder cannot be read.
  explicit ModelFolder(FolderOptions options);
  ~ModelFolder() override;
  ModelFolder(const ModelFolder&) = delete;
  ModelFolder& operator=(const ModelFolder&) = delete;

  // Nothing new is loaded or generated.
  void wind_down();
  // Ends what runs. The network's thread must have ended.
  void stop();

  [[nodiscard]] std::vector<std::shared_ptr<const Served>> loaded() const override;
  [[nodiscard]] std::shared_ptr<const Served> find(std::string_view name) const override;
  [[nodiscard]] bool is_folder() const override { return true; }
  [[nodiscard]] std::vector<Listed> list() const override;
  void load(std::string_view name, Then then) override;
  void unload(std::string_view name, Then then) override;
  void use(const Served& served) override;
  void keep(const Served& served, std::optional<double> seconds) override;
  [[nodiscard]] std::optional<double> left(const Served& served) const override;
  void cancel() override { stop_loading_ = true; }
  [[nodiscard]] Sum sum() const override;

 private:
  struct Entry {
    Listed listed;
    std::filesystem::path file;
    std::shared_ptr<Served> served;  // while it is loaded, or its last answers are given
    bool looked_at = false;          // its headers were read, or could not be
    double used = 0;                 // s, by the steady clock
    std::optional<double> keep;
    std::vector<Then> loading, unloading;  // who waits
  };
  using EntryPtr = std::shared_ptr<Entry>;

  void find_files();
  [[nodiscard]] EntryPtr entry_of(std::string_view name) const;
  [[nodiscard]] EntryPtr entry_of(const Served& served) const;
  void leave_to_others(const Served& served, Basis& basis) const;
  [[nodiscard]] Reserved reserved_beside(const Entry* entry) const;
  void run();
  void look_again(const std::string& name, Then then);
  [[nodiscard]] EntryPtr next_unread() const;
  void read_next();
  void look_at(const Candidate& candidate, Listed& listed) const;
  void check();
  void load_now(const EntryPtr& entry);
  void open_and_load(const EntryPtr& entry, const std::string& name);
  void make_room(const EntryPtr& entry, const Candidate& candidate, const Candidate::Fit& alone);
  [[nodiscard]] static double idle_since(const Entry& entry);
  void unload_now(const EntryPtr& entry);
  [[nodiscard]] EntryPtr expired() const;
  void tell(std::vector<Then> all, const std::exception_ptr& problem);

  FolderOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EntryPtr> entries_;  // by name
  std::deque<EntryPtr> to_load_, to_unload_;
  std::vector<std::pair<std::string, Then>> unknown_;  // names that no file had
  bool may_expire_ = false;                            // how long one is kept was changed
  bool stopping_ = false, winding_down_ = false;
  std::string trouble_;  // what the last check found
  std::atomic<bool> stop_loading_{false};
  std::thread thread_;
};

}  // namespace loadline::serve

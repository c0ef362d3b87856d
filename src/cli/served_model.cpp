#include "cli/served_model.h"

#include <fmt/format.h>

#include <ctime>
#include <mutex>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "chat/model_template.h"
#include "cli/option.h"
#include "cli/output.h"
#include "cli/pressure.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "engine/engine.h"
#include "gguf/describe.h"
#include "plan/planner.h"
#include "plan/refusal.h"
#include "plan/render.h"
#include "serve/loadline_api.h"
#include "watch/report.h"
#include "watch/watcher.h"

namespace loadline::cli {
namespace {

std::string usual_name(const ModelSource& source) {
  return source.demo ? "demo" : serve::name_of_file(source.model.files.front().path());
}

void describe(const ModelSource& source, const std::string& name, serve::Served& served) {
  const gguf::Metadata& metadata = source.model.metadata;
  const auto text = [&](const char* key) {
    const std::string* found = metadata.get_string(key);
    return found == nullptr ? std::string() : *found;
  };
  served.name = name.empty() ? usual_name(source) : name;
  served.aliases = {usual_name(source)};
  served.file_type = gguf::summarise(source.model).format;
  served.since = std::time(nullptr);
  served.bos = chat::bos_text(metadata);
  served.eos = chat::eos_text(metadata);
  served.architecture = text("general.architecture");
  served.size_label = text("general.size_label");
  served.file_size = source.model.tensor_bytes();
  served.digest = std::string(64, '0');
  for (const gguf::TensorInfo& tensor : source.model.tensors) served.parameters += tensor.elements();
}

std::atomic<bool> stopped_by_pressure{false};

// Says what is wrong with the machine as it happens, and tells it whoever asks. From any thread.
class Watch {
 public:
  void show(engine::Engine* engine, const serve::Basis& basis) {
    const std::lock_guard lock(mutex_);
    watcher_.reset();
    if (engine == nullptr) return;
    watch::Watcher::Options options = watch::watch_engine(*engine, basis.machine);
    options.on_change = [](const watch::Change& change) {
      constexpr std::size_t kMostLine = 600;
      say(change.begins ? printable(watch::line(change.verdict), kMostLine)
                        : fmt::format("{}: over", watch::name_of(change.verdict.kind)));
    };
    watcher_.emplace(std::move(options));
  }
  [[nodiscard]] watch::Status status() const {
    const std::lock_guard lock(mutex_);
    return watcher_ ? watcher_->status() : watch::Status();
  }

  [[nodiscard]] std::string missing_memory() const { return watch::missing_memory(status()); }

 private:
  mutable std::mutex mutex_;
  std::optional<watch::Watcher> watcher_;
};

// As asked for, or as the model's file says.
serve::Pooling pooling_of(const std::string& wanted, const gguf::Metadata& metadata) {
  if (wanted == "last" || wanted == "mean" || wanted == "none") {
    return wanted == "last" ? serve::Pooling::Last : wanted == "mean" ? serve::Pooling::Mean : serve::Pooling::None;
  }
  if (!wanted.empty()) {
    throw bad_input(fmt::format("embeddings cannot be pooled as \"{}\"", printable(wanted)),
                    "Give last, mean or none with --pooling.");
  }
  constexpr std::uint64_t kMean = 1;  // as llama.cpp numbers them
  const std::string* architecture = metadata.get_string("general.architecture");
  const auto type = architecture == nullptr ? std::nullopt : metadata.get_unsigned(*architecture + ".pooling_type");
  return type == kMean ? serve::Pooling::Mean : serve::Pooling::Last;
}

// Rows of logits of a pass: where a grammar knows what comes next it is verified together, and the mean of a text needs
// each token's row.
std::uint32_t rows_of(serve::Pooling pooling, std::uint32_t sequences) {
  constexpr std::uint32_t kForced = 8;
  constexpr std::uint32_t kEach = 32;
  return sequences + (pooling == serve::Pooling::Last ? kForced : kEach);
}

serve::RequestLimits limits_of(const ServedOptions& options, const ModelSource& source, Bytes index) {
  const plan::Options wanted = options.plan.options();
  const model::ModelConfig& config = source.program.config;
  constexpr std::uint32_t kUsualContext = 4096;
  const bool whole = wanted.trained_context || wanted.largest_context;
  serve::RequestLimits limits;
  limits.places = wanted.sequences;
  limits.waiting = static_cast<std::uint32_t>(options.most_waiting);
  limits.context = whole ? config.trained_context : wanted.context.value_or(kUsualContext);
  limits.vocabulary = config.vocabulary;
  limits.most_body = options.most_body;
  limits.most_bodies = options.most_bodies;
  limits.connections = options.connections;
  limits.index = index;
  return limits;
}

// The index of a vocabulary, without making it: more than it takes of any that is known.
Bytes usual_index(const ModelSource& source) {
  constexpr std::uint64_t kEachToken = 96;
  return Bytes(kEachToken * source.program.config.vocabulary) + Bytes(std::uint64_t{1} << 20);
}

// Of a model among others: its own share of what requests take is its plan's.
serve::Basis basis_of(const ServedOptions& options, const ModelSource& source) {
  serve::Basis basis;
  basis.machine = options.plan.profile(source.model);
  basis.options = options.plan.tuned_options(source.model, source.program, basis.machine);
  basis.options.outputs = rows_of(pooling_of(options.pooling, source.model.metadata), basis.options.sequences);
  basis.requests = limits_of(options, source, usual_index(source));
  basis.alone = false;
  basis.options.of_requests = serve::request_memory(*basis.requests).own();
  return basis;
}

serve::Basis beside(const serve::Reserved& reserved, serve::Basis basis) {
  serve::take_reserved(reserved, basis);
  return basis;
}

// A file of a folder.
class FileCandidate final : public serve::Candidate {
 public:
  FileCandidate(const ServedOptions& options, const std::filesystem::path& file, std::string name)
      : options_(options_for(options, name)),
        name_(std::move(name)),
        source_(options_.model.open_file(file, options_.plan.most_header())),
        basis_(basis_of(options_, source_)) {}

  void describe(serve::Listed& listed) const override {
    const gguf::Summary summary = gguf::summarise(source_.model);
    listed.architecture = summary.architecture;
    listed.file_type = summary.format;
    listed.parameters = summary.parameters;
    listed.size = source_.model.tensor_bytes();
    listed.trained_context = source_.program.config.trained_context;
    const std::string* label = source_.model.metadata.get_string("general.size_label");
    if (label != nullptr) listed.size_label = *label;
  }
  [[nodiscard]] Fit fit(const serve::Reserved& reserved) const override {
    const plan::Attempt attempt = try_beside(reserved);
    Fit fit;
    fit.fits = attempt.fits;
    fit.streams = !attempt.plan.stream.empty();
    if (fit.fits) {
      fit.prompt_rate = attempt.plan.prediction.prompt_rate;
      fit.generation_rate = attempt.plan.prediction.generation_rate;
    }
    for (std::uint32_t tier = 0; tier < attempt.plan.scratch.size(); ++tier) {
      (tier == plan::kCpu ? fit.ram : fit.vram) += plan::tier_total(attempt.plan, tier);
    }
    return fit;
  }
  [[nodiscard]] Error refusal(const serve::Reserved& reserved) const override {
    return plan::refusal(source_.model, source_.program, basis_.machine, basis_.options, engine::backends(),
                         try_beside(reserved).plan);
  }
  std::shared_ptr<serve::Served> load(const serve::Reserved& reserved, serve::LoadHooks hooks,
                                      const engine::LoadProgress& progress, const std::atomic<bool>& stop) override {
    return load_served(options_, plan_served(options_, std::move(source_), name_, reserved), std::move(hooks), progress,
                       stop);
  }

 private:
  [[nodiscard]] plan::Attempt try_beside(const serve::Reserved& reserved) const {
    const serve::Basis left = beside(reserved, basis_);
    return plan::try_plan(source_.model, source_.program, left.machine, left.options, engine::backends());
  }

  const ServedOptions options_;
  std::string name_;
  ModelSource source_;
  serve::Basis basis_;
};

}  // namespace

Bytes shared_request_memory(const ServedOptions& options) {
  serve::RequestLimits limits;
  limits.most_body = options.most_body;
  limits.most_bodies = options.most_bodies;
  limits.connections = options.connections;
  // And the headers of one that is looked at.
  return serve::request_memory(limits).shared() + gguf::kMostDecodedHeader;
}

void ServedOptions::add_to(Command& command) {
  command.option("--max-queue", &most_waiting, "Requests that may wait for their turn",
                 {.least = 0, .most = 100000, .show_default = true});
  command.option("--max-pass-ms", &most_pass,
                 "Milliseconds that a pass which several share may take, by prediction: who leaves, or comes, waits no "
                 "longer",
                 {.least = 1, .most = 60000, .show_default = true});
  command.option("--on-pressure", &on_pressure,
                 "Where memory that the plan counts on is gone: continue; shrink: go on by a smaller plan until it is "
                 "back; stop",
                 {.show_default = true});
  command.option("--slot-save-path", &slot_folder, "Folder in which clients may save and restore slots");
  command.option("--pooling", &pooling,
                 "What of a text its embedding is: last (of its last token), mean (of all), none (one for each)");
  chat.add_to(command);
  plan.add_to(command);
  sampling.add_to(command);
}

ServedOptions options_for(const ServedOptions& options, const std::string& name) {
  ServedOptions own = options;
  Command command("preset", "");
  own.model.add_overrides_to(command);
  own.add_to(command);
  options.presets.apply(name, command);
  return own;
}

PlannedModel plan_served(const ServedOptions& options, ModelSource source, const std::string& name,
                         const serve::Reserved& reserved) {
  PlannedModel out;
  out.tokenizer = tokenizer::Tokenizer::from_metadata(source.model.metadata);
  out.served = std::make_shared<serve::Served>();
  serve::Served& served = *out.served;
  describe(source, name, served);
  std::vector<std::string> notes;
  served.sampling = options.sampling.options(source.model.metadata, *out.tokenizer, notes);
  served.chat = std::make_unique<const talk::ChatModel>(source.model.metadata, *out.tokenizer,
                                                        options.chat.choose(&source.model.metadata), source.title);
  if (!options.slot_folder.empty() && !std::filesystem::is_directory(options.slot_folder)) {
    throw bad_input(fmt::format("{} is no folder that slots could be saved in", printable(options.slot_folder)),
                    "Make it, or name another with --slot-save-path.");
  }
  served.slot_folder = options.slot_folder;
  served.pooling = pooling_of(options.pooling, source.model.metadata);
  // The index of the vocabulary is made now: that takes a moment, which is not to be a request's.
  const serve::RequestLimits limits = limits_of(options, source, served.chat->index().resident_bytes());
  const Bytes requests = serve::request_memory(limits).total();
  const std::uint32_t rows = rows_of(served.pooling, options.plan.options().sequences);
  auto basis = std::make_shared<serve::Basis>();
  if (options.models.empty()) {
    out.plan = options.plan.make_plan(source.model, source.program, rows, &basis->machine, requests);
    basis->options = options.plan.tuned_options(source.model, source.program, basis->machine);
    basis->options.outputs = rows;
    basis->requests = limits;
    basis->options.of_requests = requests;
  } else {
    *basis = basis_of(options, source);
    const serve::Basis left = beside(reserved, *basis);
    out.plan = plan::make_plan(source.model, source.program, left.machine, left.options, engine::backends());
    plan::require_available(out.plan, left.machine);
  }
  out.basis = std::move(basis);
  say(plan::summary_line(out.plan, source.title));
  for (const std::string& note : options.plan.notes(out.plan, source)) say(note);
  for (const std::string& remark : out.tokenizer->remarks()) say(remark);
  for (const std::string& note : notes) say(note);
  if (served.chat->chosen().assumed) {
    say(fmt::format("the model has no chat template; {} is used", served.chat->chosen().name));
  }
  out.source = std::move(source);
  return out;
}

std::shared_ptr<serve::Served> load_served(const ServedOptions& options, PlannedModel planned, serve::LoadHooks hooks,
                                           const engine::LoadProgress& progress, const std::atomic<bool>& stop) {
  engine::Engine::Options how;
  how.scheduler.outlive_devices = true;
  how.scheduler.longest_shared_pass = static_cast<double>(options.most_pass) / 1000;
  how.alone = options.models.empty();
  auto engine = engine::Engine::load(std::move(planned.source.model), std::move(planned.source.program),
                                     std::move(planned.plan), progress, stop, std::move(how));
  if (engine == nullptr) return nullptr;
  if (hooks.leave_to_others) {
    planned.served->leave_to_others = [leave = std::move(hooks.leave_to_others),
                                       of = planned.served.get()](serve::Basis& basis) { leave(*of, basis); };
  }
  const auto watch = std::make_shared<Watch>();
  planned.served->watch_json = [watch] { return watch::json_of(watch->status()); };
  planned.served->watch_metrics = [watch] { return watch::metrics(watch->status()); };
  serve::ServiceOptions service;
  service.most_waiting = static_cast<std::uint32_t>(options.most_waiting);
  service.notify = std::move(hooks.notify);
  service.basis = planned.basis;
  service.on_engine = [watch](engine::Engine* shown, const serve::Basis& basis) { watch->show(shown, basis); };
  service.without_device = [served = planned.served.get()](plan::DeviceIndex device) {
    return serve::plan_without(*served, device);
  };
  const auto log = [](const std::string& line) { say(printable(line, 600)); };
  service.log = log;
  planned.served->service =
      std::make_unique<serve::Service>(std::move(engine), std::move(planned.tokenizer), std::move(service));
  serve::GuardOptions guard;
  guard.on_pressure = on_pressure_of(options.on_pressure);
  if (guard.on_pressure != serve::OnPressure::Continue) {
    guard.trouble = [watch] { return watch->missing_memory(); };
    guard.stop = [] {
      stopped_by_pressure = true;
      StopOnInterrupt::wake();
    };
    guard.log = log;
    planned.served->guard = std::make_unique<serve::Guard>(
        *planned.served->service,
        [served = planned.served.get()](serve::Basis& basis) {
          if (served->leave_to_others) served->leave_to_others(basis);
        },
        std::move(guard));
  }
  return std::move(planned.served);
}

bool pressure_stopped() { return stopped_by_pressure; }

std::unique_ptr<serve::Candidate> open_candidate(const ServedOptions& options, const std::filesystem::path& file,
                                                 const std::string& name) {
  return std::make_unique<FileCandidate>(options, file, name);
}

std::map<std::string, std::string> aliases_of(const ServedOptions& options) {
  std::map<std::string, std::string> out;
  for (const std::string& text : options.aliases) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      throw bad_input(fmt::format("\"{}\" does not say which model it names", printable(text)),
                      "Write NAME=MODEL where there are several.");
    }
    out[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return out;
}

}  // namespace loadline::cli

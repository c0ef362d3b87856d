// The state of what is served, as JSON and as a stream: see loadline_api.h.
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "engine/engine.h"
#include "plan/json.h"
#include "quant/kv_page.h"
#include "serve/loadline_api.h"

namespace loadline::serve {
namespace {

std::string_view kind_of(plan::TierKind kind) {
  switch (kind) {
    case plan::TierKind::Ram: return "ram";
    case plan::TierKind::Gpu: return "gpu";
    case plan::TierKind::Disk: break;
  }
  return "disk";
}

// The change of plan that is under way, or the last one; null where there was none.
Json change_json(const Service::Load& load) {
  if (load.changing) {
    return {{"state", "loading"}, {"loaded", load.loaded.value}, {"of", load.to_load.value}};
  }
  if (load.changes == 0) return {};
  const Changed& last = load.last_change;
  Json out = {{"state", last.error.empty() ? "done"
                        : last.cancelled   ? "cancelled"
                                           : "failed"},
              {"number", load.changes},
              {"why", last.why},
              {"error", last.error.empty() ? Json() : Json(last.error)}};
  out.update(interruption_json(last));
  out["seconds"] = load.interrupted_seconds;
  return out;
}

Json place_json(const Service::Place& place) {
  return {{"state", place.prompt_read < place.prompt_tokens ? "reading" : "generating"},
          {"id", place.id},
          {"begun", place.begun},
          {"prompt_tokens", place.prompt_tokens},
          {"prompt_read", place.prompt_read},
          {"cached_tokens", place.shared},
          {"generated_tokens", place.generated},
          {"cells", place.prompt_read + place.generated},
          {"most_tokens", place.most_tokens}};
}

// Of each layer that has any; 0: none has.
std::uint64_t experts_of(const gguf::Model& model) {
  const auto found = std::ranges::find_if(model.tensors, [](const gguf::TensorInfo& tensor) {
    return tensor.dimensions == 3 && tensor.name.find("_exps.") != std::string::npos;
  });
  return found == model.tensors.end() ? 0 : found->shape[2];
}

Json waiters_json(const Service& service) {
  constexpr std::size_t kMostTold = 32;
  Json out = Json::array();
  for (const Service::Place& place : service.who_waits(kMostTold)) {
    out.push_back({{"id", place.id}, {"prompt_tokens", place.prompt_tokens}});
  }
  return out;
}

using TiersNow = std::vector<Service::TierNow>;

// What watching found; null where nothing watches.
Json watch_of(const Served& served) { return served.watch_json ? served.watch_json() : Json(); }

// `watch`: as watch_of gave it.
Json state_with(const Served& served, const TiersNow& memory, Json watch);

// What is told as soon as it changes. Reading it takes a few locks, and one of the system's files.
struct Pulse {
  const void* served = nullptr;
  std::uint64_t passes = 0, generations = 0, changes = 0, loaded = 0;
  std::uint32_t running = 0, waiting = 0, held_pages = 0, kept_pages = 0, pinned_pages = 0;
  bool changing = false;
  std::string trouble;
  Json verdicts;
  Bytes held;

  bool operator==(const Pulse&) const = default;
  [[nodiscard]] bool beats() const { return running > 0 || waiting > 0 || changing; }
};

Pulse pulse_of(const Served* served, const Json& watch) {
  Pulse pulse;
  if (served == nullptr) return pulse;
  const Service::Load load = served->service->load();
  pulse.served = served;
  pulse.passes = load.activity.passes;
  pulse.generations = load.generations;
  pulse.changes = load.changes;
  pulse.loaded = load.loaded.value;
  pulse.running = load.running;
  pulse.waiting = load.waiting;
  pulse.held_pages = load.activity.held_pages;
  pulse.kept_pages = load.activity.kept_pages;
  pulse.pinned_pages = load.activity.pinned_pages;
  pulse.changing = load.changing;
  pulse.trouble = load.trouble;
  pulse.held = served->service->held();
  if (const Json* verdicts = find(watch, "verdicts")) pulse.verdicts = *verdicts;
  return pulse;
}

// Looks every so many seconds. While something is done, or where something changed, it is told; and else at every
// eighth look, since each event wakes whoever follows. What others leave free of RAM is asked at every fourth at most:
// of the system's files those take the longest.
class StateStream : public std::enable_shared_from_this<StateStream> {
 public:
  StateStream(std::function<std::shared_ptr<const Served>()> served, std::shared_ptr<Reply> reply, double seconds)
      : served_(std::move(served)), reply_(std::move(reply)), seconds_(seconds) {}
  void start() {
    reply_->set_endless();
    reply_->begin(200, kEventStream);
    reply_->when_gone([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->gone_ = true;
    });
    tick();
  }

 private:
  void tick() {
    if (gone_) return;
    const auto served = served_();
    Json watch = served == nullptr ? Json() : watch_of(*served);
    Pulse pulse = pulse_of(served.get(), watch);
    ++quiet_;
    ++stale_;
    if (pulse.beats() || pulse != last_ || quiet_ >= kQuiet) tell(served.get(), std::move(watch));
    last_ = std::move(pulse);
    reply_->after(seconds_, [self = shared_from_this()] { self->tick(); });
  }

  void tell(const Served* served, Json watch) {
    quiet_ = 0;
    Json state;
    if (served == nullptr) {
      state = empty_state_json();
    } else {
      const bool fresh = stale_ < kStale;
      const TiersNow memory = served->service->memory_now(fresh ? available_ : Bytes());
      available_ = memory.front().available;
      if (!fresh) stale_ = 0;
      state = state_with(*served, memory, std::move(watch));
    }
    reply_->write(fmt::format("event: state\ndata: {}\n\n", dump(state)));
  }

  static constexpr int kQuiet = 8, kStale = 4;  // looks

  std::function<std::shared_ptr<const Served>()> served_;
  std::shared_ptr<Reply> reply_;
  double seconds_;
  bool gone_ = false;
  Pulse last_;
  Bytes available_;                      // of RAM
  int quiet_ = kQuiet, stale_ = kStale;  // looks since something was told, and since `available_` was asked
};

}  // namespace

Json interruption_json(const Changed& changed) {
  return {{"weights", changed.predicted.weights.value},
          {"kept", changed.predicted.kept.value},
          {"kept_caches", changed.predicted.caches.value},
          {"from_disk", changed.predicted.from_disk.value},
          {"tokens", changed.predicted.tokens},
          {"kept_tokens", changed.predicted.kept_tokens},
          {"predicted_seconds", changed.predicted.seconds},
          {"predicted_range", {changed.predicted.least, changed.predicted.most}},
          {"load_seconds", changed.load_seconds}};
}

// `now`: what each holds at present, of as many as know.
Json tiers_json(const plan::Plan& plan, std::span<const Service::TierNow> now) {
  Json tiers = Json::array();
  for (std::uint32_t i = 0; i < plan.tiers.size(); ++i) {
    const plan::Tier& tier = plan.tiers[i];
    Json purposes = Json::object();
    using plan::Purpose;
    for (const Purpose purpose :
         {Purpose::Weights, Purpose::KvCache, Purpose::Scratch, Purpose::Staging, Purpose::Runtime}) {
      const Bytes bytes = plan::tier_total(plan, i, purpose);
      if (bytes.value > 0) purposes[std::string(plan::name_of(purpose))] = bytes.value;
    }
    tiers.push_back({{"kind", kind_of(tier.kind)},
                     {"name", tier.name},
                     {"capacity", tier.capacity.value},
                     {"available", tier.available.value},
                     {"headroom", tier.headroom.value},
                     {"budget", tier.budget.value},
                     {"planned", plan::tier_total(plan, i).value},
                     {"purposes", std::move(purposes)}});
    if (i < now.size() && now[i].available.value > 0) {
      tiers.back()["held"] = now[i].held.value;
      tiers.back()["available_now"] = now[i].available.value;
    }
  }
  return tiers;
}

std::string plan_json(const Served& served) {
  const engine::Engine& engine = served.service->engine();
  return plan::to_json(engine.model(), engine.program(), *served.service->plan());
}

Json health_json(const Served& served) {
  Json out = {{"status", "ok"}};
  const std::string trouble = served.service->load().trouble;
  Json watch = watch_of(served);
  const bool degraded = watch.is_object() && watch.value("degraded", false);
  if (!degraded && trouble.empty()) return out;
  out["degraded"] = true;
  if (!trouble.empty()) out["trouble"] = trouble;
  if (degraded) out["verdicts"] = watch["verdicts"];
  return out;
}

Bytes cache_page_bytes(const plan::Plan& plan) {
  Bytes all;
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    all += plan::tier_total(plan, tier, plan::Purpose::KvCache);
  }
  return Bytes(all.value / std::max<std::uint64_t>(plan.shape.context / quant::kKvPageCells, 1));
}

Json state_json(const Served& served) { return state_with(served, served.service->memory_now(), watch_of(served)); }

namespace {

Json state_with(const Served& served, const TiersNow& memory, Json watch) {
  const Service& service = *served.service;
  const Service::Load load = service.load();
  const auto held = service.plan();
  const plan::Plan& plan = *held;
  Json places = Json::array();
  for (const Service::Place& place : service.what_runs()) {
    if (place.id == 0) {
      places.push_back({{"state", "idle"}});
      continue;
    }
    places.push_back(place_json(place));
  }
  const auto rate = [](std::uint64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  return {{"model", served.name},
          {"context", served.context()},
          {"experts", experts_of(service.engine().model())},
          {"share", served.context() / service.places()},  // of it, where all places are taken
          {"uptime", std::max<std::int64_t>(0, std::time(nullptr) - served.since)},
          {"places", std::move(places)},
          {"waiting", load.waiting},
          {"waiters", waiters_json(service)},
          {"activity",
           {{"passes", load.activity.passes},
            {"prompt_tokens", load.activity.prompt_tokens},
            {"cached_tokens", load.activity.shared_tokens},
            {"generated_tokens", load.activity.generated_tokens},
            {"generations", load.generations}}},
          {"cache",
           {{"pages", plan.shape.context / quant::kKvPageCells},
            {"held_pages", load.activity.held_pages},
            {"kept_pages", load.activity.kept_pages},
            {"pinned_pages", load.activity.pinned_pages},
            {"page_cells", quant::kKvPageCells},
            {"page_bytes", cache_page_bytes(plan).value}}},
          {"rates",
           {{"prompt", rate(load.prompt_tokens, load.prompt_seconds)},
            {"generation", rate(load.generated_tokens, load.generation_seconds)}}},
          {"predicted",
           {{"prompt", plan.prediction.prompt_rate},
            {"generation", plan.prediction.generation_rate},
            {"prompt_bound", plan.prediction.prompt_bound},
            {"generation_bound", plan.prediction.generation_bound}}},
          {"held", memory.front().held.value},
          {"streamed", service.streamed().value},
          {"trouble", load.trouble.empty() ? Json() : Json(load.trouble)},
          {"change", change_json(load)},
          {"watch", std::move(watch)},
          {"tiers", tiers_json(plan, memory)}};
}

}  // namespace

Json empty_state_json() {
  return {{"model", nullptr},        {"context", 0}, {"uptime", 0},
          {"places", Json::array()}, {"waiting", 0}, {"tiers", Json::array()}};
}

Json models_json(const Models& models) {
  Json list = Json::array();
  for (const Listed& one : models.list()) {
    Json fit;
    if (one.planned) {
      fit = {{"fits", one.fits},
             {"why_not", one.why_not},
             {"prompt_rate", one.prompt_rate},
             {"generation_rate", one.generation_rate},
             {"ram", one.ram.value},
             {"vram", one.vram.value}};
    }
    list.push_back({{"name", one.name},
                    {"aliases", one.aliases},
                    {"size", one.size.value},
                    {"architecture", one.architecture},
                    {"quantization", one.file_type},
                    {"parameters", one.parameters},
                    {"trained_context", one.trained_context},
                    {"state", name_of(one.state)},
                    {"unusable", one.unusable.empty() ? Json() : Json(one.unusable)},
                    {"loaded", one.loaded.value},
                    {"to_load", one.to_load.value},
                    {"fit", std::move(fit)}});
  }
  const Models::Sum sum = models.sum();
  return {{"folder", models.is_folder()},   {"models", std::move(list)},
          {"requests", sum.requests.value}, {"planned", sum.planned.value},
          {"held", sum.held.value},         {"trouble", sum.trouble.empty() ? Json() : Json(sum.trouble)}};
}

void stream_state(std::function<std::shared_ptr<const Served>()> served, const std::shared_ptr<Reply>& reply,
                  double seconds) {
  std::make_shared<StateStream>(std::move(served), reply, seconds)->start();
}

}  // namespace loadline::serve

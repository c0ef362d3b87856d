// What Loadline tells of itself: the plan, what is held and done now, as one answer or as a stream, and what other
// plans would be. The page and `loadline top` read it.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <thread>

#include "serve/call.h"
#include "serve/models.h"
#include "serve/served.h"

namespace loadline::serve {

// Does one thing after the other in a thread of its own, so that the network's goes on.
class Worker {
 public:
  Worker();
  // What has begun is finished, what waits is dropped.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // False where too much waits already.
  bool add(std::function<void()> work);

 private:
  void run();

  static constexpr std::size_t kMostWaiting = 16;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

// What `loadline plan --json` prints of the plan that runs.
std::string plan_json(const Served& served);
// What each tier is planned to have; with `now` what it holds, of as many as know.
Json tiers_json(const plan::Plan& plan, std::span<const Service::TierNow> now = {});
// Of all caches together, for the cells of a page.
Bytes cache_page_bytes(const plan::Plan& plan);
// {"model", "places", "queue", "tiers", "rates", ...}: as things are now.
Json state_json(const Served& served);
// {"weights", "tokens", "predicted_seconds", ...}: what a change of plan cost, and was thought to.
Json interruption_json(const Changed& changed);
// {"version", "machine": ...}: what a report is to say beside the plan.
Json about_json(const Models& models);
// What there is where no model is loaded.
Json empty_state_json();
// {"models": [...]}: every one that there is, what it would be here, and how far loading is.
Json models_json(const Models& models);
// {"status": "ok"}, and what is wrong with the machine or the plan, where something is.
Json health_json(const Served& served);
// The state as server-sent events, "state", until the client leaves: every so many seconds while something is done or
// changes, and every eighth time while nothing is. `served` is asked for the model each time, and may give none.
void stream_state(std::function<std::shared_ptr<const Served>()> served, const std::shared_ptr<Reply>& reply,
                  double seconds);

// POST /api/loadline/plan: what would be if the model were loaded with other budgets, layers, context, cache types,
// sequences or cards. {"fits": true, "plan": ...}, or {"fits": false, "error", "hint", "suggestions", "plan"}.
void what_if(const Call& call, Worker& worker);

// GET /api/loadline/cache: what the cache keeps of texts, what is pinned, and what went lately and why.
void look_at_cache(const Call& call);
// POST /api/loadline/pin: {"id": as the cache's texts are called, "pinned"}. Its pages are not taken for others.
void pin_in_cache(const Call& call, Worker& worker);
// POST /api/loadline/prompt: the tokens of a conversation ("messages", ...) or a text ("prompt"), how many the cache
// has, and how long the others will take: {"tokens", "cached", "left", "seconds", ...}; with "pieces" each of them.
void look_at_prompt(const Call& call);

// POST /api/loadline/budget: the same fields, and the model goes on by such a plan, under its generations. Answers when
// that is loaded: {"changed", "interruption": {"predicted_seconds", ...}, "tiers", ...}. What does not fit is refused
// with what would, and the present plan goes on.
void change_budget(const Call& call, Worker& worker);
// POST /api/loadline/cancel: the change under way is given up.
void cancel_change(const Call& call, Worker& worker);
// Another plan for a model, as things are now, without one of its GPUs. nullopt: there is none.
std::optional<Proposal> plan_without(const Served& served, plan::DeviceIndex device);

}  // namespace loadline::serve

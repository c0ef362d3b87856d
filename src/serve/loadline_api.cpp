#include "serve/loadline_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <span>

#include "base/error.h"
#include "engine/backends.h"
#include "engine/present.h"
#include "hardware/what_if.h"
#include "plan/json.h"
#include "plan/planner.h"
#include "plan/refusal.h"
#include "plan/suggest.h"
#include "quant/kv_page.h"
#include "serve/guard.h"

namespace loadline::serve {

Worker::Worker() : thread_([this] { run(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  thread_.join();
}

bool Worker::add(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMostWaiting) return false;
    waiting_.push_back(std::move(work));
  }
  changed_.notify_all();
  return true;
}

void Worker::run() {
  for (;;) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

namespace {

// A size as a number of bytes or as people write it.
Bytes get_bytes(const Json& value, std::string_view field) {
  if (value.is_number() && value.get<double>() >= 0 && value.get<double>() < 1e18) {
    return Bytes(static_cast<std::uint64_t>(value.get<double>()));
  }
  if (!value.is_string()) throw bad_input(fmt::format("\"{}\" must be a size such as \"8GiB\"", field));
  return parse_bytes(value.get_ref<const std::string&>(), fmt::format("\"{}\"", field));
}

quant::TensorType cache_type(const Json& body, std::string_view field, quant::TensorType usual) {
  const auto name = get_string(body, field);
  if (!name) return usual;
  const quant::Format* format = quant::find_format(*name);
  using quant::TensorType;
  const bool known = format != nullptr && (format->type == TensorType::F32 || format->type == TensorType::F16 ||
                                           format->type == TensorType::Q8_0);
  if (!known) throw bad_input(fmt::format("\"{}\" must be f32, f16 or q8_0", field));
  return format->type;
}

plan::GpuLayers gpu_layers(const Json& body, plan::GpuLayers usual) {
  using Kind = plan::GpuLayers::Kind;
  const Json* value = find(body, "gpu_layers");
  if (value == nullptr) return usual;
  if (*value == "auto") return {Kind::Auto, 0};
  if (*value == "all") return {Kind::All, 0};
  return {Kind::Count, static_cast<std::uint32_t>(*get_integer(body, "gpu_layers", 0, 100000))};
}

using Question = Basis;

Question read_question(const Served& served, const Question& base, const Json& body) {
  Question question = base;
  plan::Options& options = question.options;
  const Json* context = find(body, "context");
  if (context != nullptr) {
    options.largest_context = *context == "max";
    options.trained_context = false;
    options.context.reset();
    if (!options.largest_context) {
      options.context = static_cast<std::uint32_t>(*get_integer(body, "context", 1, INT32_MAX));
    }
  }
  const auto count = [&](std::string_view field, std::uint32_t& value, std::int64_t most) {
    if (const auto given = get_integer(body, field, 1, most)) value = static_cast<std::uint32_t>(*given);
  };
  count("sequences", options.sequences, 4096);
  options.outputs += options.sequences - base.options.sequences;
  count_requests(question, served.service->engine().program().config.trained_context);
  if (find(body, "batch") != nullptr) options.batch_named = true;
  count("batch", options.batch, 65536);
  count("threads", options.threads, 4096);
  options.gpu_layers = gpu_layers(body, options.gpu_layers);
  options.k_type = cache_type(body, "cache_type_k", options.k_type);
  options.v_type = cache_type(body, "cache_type_v", options.v_type);
  options.kv_offload = get_bool(body, "kv_offload").value_or(options.kv_offload);
  options.prompt_offload = get_bool(body, "prompt_offload").value_or(options.prompt_offload);
  if (const Json* disk = find(body, "disk")) {
    if (*disk == "auto") {
      options.disk.reset();
    } else {
      options.disk = get_bool(body, "disk");
    }
  }
  const std::vector<std::string> cards = get_strings(body, "gpus");
  if (cards.size() > 16) throw bad_input("\"gpus\" must be at most 16 cards");
  std::optional<Bytes> ram;
  if (const Json* given = find(body, "ram"); given != nullptr && *given != "auto") ram = get_bytes(*given, "ram");
  if (!cards.empty()) {  // another machine: its RAM is what it has, not a budget
    question.machine = hardware::what_if(question.machine, cards, ram);
    options.ram_budget.reset();
    options.gpu_budget.reset();
    options.gpu_budgets.clear();
  } else if (ram) {
    options.ram_budget = ram;
  }
  if (const Json* given = find(body, "ram"); given != nullptr && *given == "auto") options.ram_budget.reset();
  if (const Json* headroom = find(body, "headroom")) options.headroom = get_bytes(*headroom, "headroom");
  if (const Json* vram = find(body, "vram")) {
    options.gpu_budget.reset();
    options.gpu_budgets.clear();
    if (vram->is_object()) {
      for (const auto& [name, value] : vram->items()) {
        std::uint32_t index = 0;
        const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), index);
        if (problem != std::errc() || end != name.data() + name.size()) {
          throw bad_input("\"vram\" must be a size, or sizes by the number of the GPU");
        }
        options.gpu_budgets[index] = get_bytes(value, "vram");
      }
    } else if (*vram != "auto") {
      options.gpu_budget = get_bytes(*vram, "vram");
    }
  }
  return question;
}

Json suggestions_json(const std::vector<plan::Suggestion>& suggestions) {
  Json out = Json::array();
  for (const plan::Suggestion& one : suggestions) {
    out.push_back({{"what", one.what},
                   {"effect", one.effect},
                   {"how", one.how},
                   {"prompt_rate", one.prediction.prompt_rate},
                   {"generation_rate", one.prediction.generation_rate}});
  }
  return out;
}

Json answer_question(const Served& served, const Question& question, bool faster) {
  const engine::Engine& engine = served.service->engine();
  const gguf::Model& model = engine.model();
  const model::Program& program = engine.program();
  const plan::Backends& backends = engine::backends();
  const plan::Attempt attempt = plan::try_plan(model, program, question.machine, question.options, backends);
  Json out = {{"fits", attempt.fits}};
  if (attempt.fits) {
    if (faster) {
      out["suggestions"] = suggestions_json(
          plan::suggest_faster(model, program, question.machine, question.options, backends, attempt.plan));
    }
  } else {
    const Error error = plan::refusal(model, program, question.machine, question.options, backends, attempt.plan);
    out["error"] = error.what();
    out["hint"] = error.hint();
    out["suggestions"] =
        suggestions_json(plan::suggest_fitting(model, program, question.machine, question.options, backends));
  }
  out["assumed"] = attempt.assumed;
  out["tiers"] = tiers_json(attempt.plan);
  out["plan"] = Json::parse(plan::to_json(model, program, attempt.plan));
  return out;
}

}  // namespace

void what_if(const Call& call, Worker& worker) {
  const Question question = read_question(*call.served, *call.served->service->basis(), call.body);
  const bool faster = get_bool(call.body, "suggest").value_or(false);
  const bool taken = worker.add([served = call.served, reply = call.reply, question, faster] {
    try {
      reply->send(200, "application/json", dump(answer_question(*served, question, faster)));
    } catch (const std::exception& error) {
      refuse(*reply, ErrorForm::OpenAi, refusal_of(error));
    }
  });
  if (!taken) throw Busy("other plans are being made");
}

namespace {

// What a change begins with: the machine as it is now, and the shape that clients know.
Basis present_basis(const Served& served) { return basis_now(*served.service, *served.service->basis()); }

// The same, less what other models hold.
Basis beside_others(const Served& served, Basis basis) {
  if (served.leave_to_others) served.leave_to_others(basis);
  return basis;
}

// What does not fit, with what would.
Refusal does_not_fit(const Served& served, const Basis& basis, const plan::Plan& plan) {
  const engine::Engine& engine = served.service->engine();
  const plan::Backends& backends = engine::backends();
  const Error error = plan::refusal(engine.model(), engine.program(), basis.machine, basis.options, backends, plan);
  Refusal refusal{400, "does_not_fit", error.what(), {}};
  refusal.more["hint"] = error.hint();
  refusal.more["suggestions"] =
      suggestions_json(plan::suggest_fitting(engine.model(), engine.program(), basis.machine, basis.options, backends));
  return refusal;
}

void answer_change(const std::shared_ptr<const Served>& served, const std::shared_ptr<Reply>& reply, Basis basis) {
  const engine::Engine& engine = served->service->engine();
  const Basis left = beside_others(*served, basis);
  plan::Attempt attempt =
      plan::try_plan(engine.model(), engine.program(), left.machine, left.options, engine::backends());
  if (!attempt.fits) return refuse(*reply, ErrorForm::OpenAi, does_not_fit(*served, left, attempt.plan));
  Json answer = {{"changed", true},
                 {"prompt_rate", attempt.plan.prediction.prompt_rate},
                 {"generation_rate", attempt.plan.prediction.generation_rate},
                 {"tiers", tiers_json(attempt.plan)}};
  auto done = [reply, answer = std::move(answer)](const Changed& changed) {
    if (!changed.error.empty()) {
      Refusal refusal{
          changed.cancelled ? 409 : 500, "server_error", fmt::format("the old plan goes on: {}", changed.error), {}};
      return refuse(*reply, ErrorForm::OpenAi, refusal);
    }
    Json out = answer;
    out["interruption"] = interruption_json(changed);
    reply->send(200, "application/json", dump(out));
  };
  Proposal to{std::move(attempt.plan), std::make_shared<const Basis>(std::move(basis))};
  if (!served->service->change({std::move(to), "budgets were asked for", std::move(done)})) {
    throw Busy("another change of plan is under way");
  }
}

}  // namespace

void change_budget(const Call& call, Worker& worker) {
  Basis basis = read_question(*call.served, present_basis(*call.served), call.body);
  if (!get_strings(call.body, "gpus").empty()) throw bad_input("other cards can be planned for, not used");
  const bool taken = worker.add([served = call.served, reply = call.reply, basis = std::move(basis)]() mutable {
    try {
      answer_change(served, reply, std::move(basis));
    } catch (const std::exception& error) {
      refuse(*reply, ErrorForm::OpenAi, refusal_of(error));
    }
  });
  if (!taken) throw Busy("other plans are being made");
}

void cancel_change(const Call& call, Worker& /*worker*/) {
  call.served->service->cancel_change();
  call.send({{"cancelled", true}});
}

std::optional<Proposal> plan_without(const Served& served, plan::DeviceIndex device) {
  Basis basis = present_basis(served);
  const auto plan = served.service->plan();
  std::erase_if(basis.machine.gpus, [&](const hardware::Gpu& gpu) { return gpu.id == plan->tiers.at(device).device; });
  basis.options.gpu_budgets.clear();  // they are by number, and the numbers change
  if (basis.machine.gpus.empty()) basis.options.gpu_layers = {};
  Basis left = beside_others(served, basis);
  plan::Attempt attempt = engine::plan_again(served.service->engine(), left.machine, left.options);
  if (!attempt.fits) return std::nullopt;
  basis.options.gpu_layers = left.options.gpu_layers;
  basis.options.overrides = left.options.overrides;
  return Proposal{std::move(attempt.plan), std::make_shared<const Basis>(std::move(basis))};
}

}  // namespace loadline::serve

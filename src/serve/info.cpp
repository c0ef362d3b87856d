#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "serve/dialects.h"
#include "serve/sampling.h"

namespace loadline::serve {

Json model_entry(const Served& served) {
  const model::ModelConfig& config = served.service->engine().program().config;
  const Json meta = {{"vocab_type", 1},
                     {"n_vocab", config.vocabulary},
                     {"n_ctx", served.context()},
                     {"n_ctx_train", config.trained_context},
                     {"n_embd", config.embedding},
                     {"n_params", served.parameters},
                     {"size", served.file_size.value},
                     {"ftype", served.file_type}};
  return {{"id", served.name},
          {"object", "model"},
          {"created", served.since},
          {"owned_by", "loadline"},
          {"type", "model"},
          {"display_name", served.name},
          {"created_at", "2026-01-01T00:00:00Z"},
          {"aliases", served.aliases},
          {"tags", Json::array()},
          {"meta", meta},
          {"status", {{"value", "loaded"}}},
          {"state", "loaded"},
          {"arch", served.architecture},
          {"quantization", served.file_type},
          {"context_length", served.context()},
          {"max_model_len", served.context()},
          {"max_context_length", served.context()},
          {"loaded_context_length", served.context()}};
}

Json model_entry(const Listed& listed) {
  const Json meta = {{"n_ctx_train", listed.trained_context},
                     {"n_params", listed.parameters},
                     {"size", listed.size.value},
                     {"ftype", listed.file_type}};
  const std::string_view state = name_of(listed.state);
  return {{"id", listed.name},
          {"object", "model"},
          {"created", listed.modified},
          {"owned_by", "loadline"},
          {"type", "model"},
          {"display_name", listed.name},
          {"created_at", "2026-01-01T00:00:00Z"},
          {"aliases", listed.aliases},
          {"tags", Json::array()},
          {"meta", meta},
          {"status", {{"value", state}}},
          {"state", listed.state == Listed::State::Loaded ? "loaded" : "not-loaded"},
          {"arch", listed.architecture},
          {"quantization", listed.file_type},
          {"max_context_length", listed.trained_context}};
}

Json native_props(const Served& served) {
  Json params = sampling_json(served.sampling);
  params["n_predict"] = -1;
  params["stream"] = true;
  return {{"default_generation_settings", {{"id", 0}, {"n_ctx", served.context()}, {"params", params}}},
          {"total_slots", served.service->places()},
          {"model_alias", served.name},
          {"model_path", served.name},
          {"model_ftype", served.file_type},
          {"modalities", {{"vision", false}, {"audio", false}, {"video", false}}},
          {"endpoint_slots", true},
          {"endpoint_props", false},
          {"endpoint_metrics", true},
          {"chat_template", served.chat->chosen().source},
          {"chat_template_caps",
           {{"supports_tools", served.can().tools},
            {"supports_tool_calls", served.can().calls},
            {"supports_parallel_tool_calls", served.can().parallel_calls},
            {"supports_system_role", served.can().system}}},
          {"bos_token", served.bos},
          {"eos_token", served.eos},
          {"build_info", "loadline"},
          {"is_sleeping", false}};
}

Json native_slots(const Served& served) {
  const std::vector<Service::Place> places = served.service->what_runs();
  Json slots = Json::array();
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Service::Place& place = places[i];
    const bool busy = place.id != 0;
    Json slot = {{"id", i}, {"n_ctx", served.context()}, {"speculative", false}, {"is_processing", busy}};
    if (busy) {
      slot["id_task"] = place.id;
      slot["n_prompt_tokens"] = place.prompt_tokens;
      slot["n_prompt_tokens_processed"] = place.prompt_read;
      slot["n_prompt_tokens_cache"] = place.shared;
      const std::int64_t left =
          place.most_tokens < 0 ? -1 : place.most_tokens - static_cast<std::int64_t>(place.generated);
      slot["next_token"] =
          Json::array({{{"has_next_token", true}, {"n_remain", left}, {"n_decoded", place.generated}}});
    }
    slots.push_back(std::move(slot));
  }
  return slots;
}

namespace {

// Prometheus' text format, version 0.0.4.
class Metrics {
 public:
  void add(std::string_view kind, std::string_view name, std::string_view help, double value) {
    head(kind, name, help);
    line(name, "", value);
  }
  void head(std::string_view kind, std::string_view name, std::string_view help) {
    text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, kind);
  }
  void line(std::string_view name, std::string_view labels, double value) {
    text_ += fmt::format("{}{} {}\n", name, labels, value);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// For a label's value.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

}  // namespace

std::string native_metrics(const Served& served) {
  const Service::Load load = served.service->load();
  const exec::Scheduler::Activity& did = load.activity;
  const auto held = served.service->plan();
  const plan::Plan& plan = *held;
  const auto rate = [](double count, double seconds) { return seconds > 0 ? count / seconds : 0.0; };
  Metrics out;
  const auto counter = [&](std::string_view name, std::string_view help, double value) {
    out.add("counter", name, help, value);
  };
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    out.add("gauge", name, help, value);
  };
  const auto prompt = static_cast<double>(did.prompt_tokens);
  const auto predicted = static_cast<double>(did.generated_tokens);
  counter("llamacpp:prompt_tokens_total", "Prompt tokens processed.", prompt);
  counter("llamacpp:prompt_seconds_total", "Seconds spent on prompts.", load.prompt_seconds);
  counter("llamacpp:tokens_predicted_total", "Tokens generated.", predicted);
  counter("llamacpp:tokens_predicted_seconds_total", "Seconds spent on generating.", load.generation_seconds);
  counter("llamacpp:n_decode_total", "Passes.", static_cast<double>(did.passes));
  // A mean, and yet among the counters of llama.cpp's server.
  counter("llamacpp:n_busy_slots_per_decode", "Slots that had a part in a pass, the mean over all.",
          rate(static_cast<double>(did.members), static_cast<double>(did.passes)));
  counter("llamacpp:n_tokens_max", "Tokens of the longest text that was answered.", static_cast<double>(load.longest));
  // Of those that ended, whose time is known.
  gauge("llamacpp:prompt_tokens_seconds", "Prompt tokens per second.",
        rate(static_cast<double>(load.prompt_tokens), load.prompt_seconds));
  gauge("llamacpp:predicted_tokens_seconds", "Generated tokens per second.",
        rate(static_cast<double>(load.generated_tokens), load.generation_seconds));
  gauge("llamacpp:requests_processing", "Requests that run.", load.running);
  gauge("llamacpp:requests_deferred", "Requests that wait.", load.waiting);
  counter("loadline_generations_total", "Generations that ended.", static_cast<double>(load.generations));
  counter("loadline_shared_tokens_total", "Prompt tokens found in the cache.", static_cast<double>(did.shared_tokens));
  gauge("loadline_cache_pages_held", "Pages of the KV cache in use.", did.held_pages);
  gauge("loadline_context_cells", "Cells of the KV cache.", plan.shape.context);
  gauge("loadline_places", "Sessions at once.", plan.shape.sequences);
  gauge("loadline_predicted_prompt_rate", "Prompt tokens per second, as planned.", plan.prediction.prompt_rate);
  gauge("loadline_predicted_generation_rate", "Generated tokens per second, as planned.",
        plan.prediction.generation_rate);
  gauge("loadline_held_bytes", "Bytes of RAM that the process holds.",
        static_cast<double>(served.service->held().value));
  counter("loadline_streamed_bytes_total", "Bytes of weights read from disk for passes.",
          static_cast<double>(served.service->streamed().value));
  counter("loadline_plan_changes_total", "Changes of the plan while it served.", static_cast<double>(load.changes));
  gauge("loadline_last_interruption_seconds", "Without tokens, at the last change.", load.interrupted_seconds);
  gauge("loadline_last_interruption_predicted_seconds", "As it was predicted.", load.last_change.predicted.seconds);
  gauge("loadline_alarms", "Whether the last comparison with the plan found something.", load.trouble.empty() ? 0 : 1);
  out.head("gauge", "loadline_planned_bytes", "Bytes planned by tier and purpose.");
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    using plan::Purpose;
    for (const Purpose purpose :
         {Purpose::Weights, Purpose::KvCache, Purpose::Scratch, Purpose::Staging, Purpose::Runtime}) {
      const Bytes bytes = plan::tier_total(plan, tier, purpose);
      if (bytes.value == 0) continue;
      out.line("loadline_planned_bytes",
               fmt::format("{{tier=\"{}\",purpose=\"{}\"}}", escaped(plan.tiers[tier].name), plan::name_of(purpose)),
               static_cast<double>(bytes.value));
    }
  }
  const std::vector<Service::TierNow> now = served.service->memory_now();
  out.head("gauge", "loadline_tier_held_bytes", "Bytes of each tier that the process holds, where anybody knows.");
  for (std::size_t tier = 0; tier < std::min(now.size(), plan.tiers.size()); ++tier) {
    if (now[tier].available.value == 0) continue;
    out.line("loadline_tier_held_bytes", fmt::format("{{tier=\"{}\"}}", escaped(plan.tiers[tier].name)),
             static_cast<double>(now[tier].held.value));
  }
  return served.watch_metrics ? out.text() + served.watch_metrics() : out.text();
}

}  // namespace loadline::serve

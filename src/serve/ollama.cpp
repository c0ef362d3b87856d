#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "base/error.h"
#include "base/text.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/token_ids.h"
#include "serve/token_reports.h"
#include "tokenizer/special_tokens.h"

namespace loadline::serve {
namespace {

constexpr std::string_view kLines = "application/x-ndjson";

// "2026-01-01T00:00:00.000000Z": six digits are what clients' parsers take.
std::string time_text() {
  const auto now = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  const auto seconds = std::chrono::time_point_cast<std::chrono::seconds>(now);
  const std::time_t time = std::chrono::system_clock::to_time_t(seconds);
  std::tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, (now - seconds).count());
}

std::int64_t nanoseconds(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }

std::string with_tag(const std::string& name) { return name.find(':') == std::string::npos ? name + ":latest" : name; }

// The members that end an answer; counts of zero are left out.
void add_figures(Json& last, const Outcome& outcome, double load_seconds) {
  const exec::SessionResult& figures = outcome.figures;
  const bool length = outcome.finish == Finish::Length || outcome.finish == Finish::ContextFull;
  last["done"] = true;
  last["done_reason"] = length ? "length" : "stop";
  last["total_duration"] = nanoseconds(figures.prompt_seconds + figures.generation_seconds + load_seconds);
  last["load_duration"] = nanoseconds(load_seconds);
  if (figures.prompt_tokens > 0) last["prompt_eval_count"] = figures.prompt_tokens;
  last["prompt_eval_duration"] = std::max<std::int64_t>(1, nanoseconds(figures.prompt_seconds));
  if (figures.generated_tokens > 0) last["eval_count"] = figures.generated_tokens;
  last["eval_duration"] = std::max<std::int64_t>(1, nanoseconds(figures.generation_seconds));
}

// The answer of /api/chat and of /api/generate: lines of JSON, or one object.
class OllamaAnswer final : public ChatListener {
 public:
  OllamaAnswer(const Call& call, bool chat, std::vector<Token> context)
      : served_(call.served),
        reply_(call.reply),
        model_(get_string(call.body, "model").value_or(get_string(call.body, "name").value_or(call.served->name))),
        chat_(chat),
        streams_(get_bool(call.body, "stream").value_or(true)),
        context_(std::move(context)) {
    if (!streams_) return;
    lines_ = std::make_shared<EventStream>(reply_, std::string(kLines), line(chunk("", "")));
    lines_->break_silence(kPingSeconds);
  }

 protected:
  void content(const std::string& text) override { streams_ ? send(chunk(text, "")) : (void)(content_ += text); }
  void reasoning(const std::string& text) override { streams_ ? send(chunk("", text)) : (void)(thinking_ += text); }
  void call(std::size_t index, const chat::ToolCall& call) override {
    Json arguments = Json::parse(call.arguments, nullptr, false);
    if (!arguments.is_object()) arguments = Json::object();
    Json one = {{"id", call.id.empty() ? new_id("call_", 8) : call.id},
                {"function", {{"index", index}, {"name", call.name}, {"arguments", std::move(arguments)}}}};
    if (!streams_) return calls_.push_back(std::move(one));
    Json out = chunk("", "");
    if (chat_) out["message"]["tool_calls"] = Json::array({std::move(one)});
    send(out);
  }
  void tokens(const std::vector<TokenReport>& tokens) override {
    for (const TokenReport& one : tokens) {
      context_.push_back(one.token);
      if (tells_probabilities_ && streams_) reports_.push_back(one);
    }
    if (kept_) kept_->add(tokens);
  }
  void ended(const Outcome& outcome) override {
    if (const auto failure = failure_of(outcome)) {
      if (!lines_ || !lines_->begun()) return refuse(*reply_, ErrorForm::Ollama, *failure);
      lines_->write(line({{"error", failure->message}}));
      return lines_->end();
    }
    Json last = chunk(content_, thinking_);
    if (!calls_.empty()) last["message"]["tool_calls"] = calls_;
    if (!context_.empty() && !chat_) last["context"] = context_;
    add_figures(last, outcome, 0.001);
    if (!streams_) return lists_.send(*reply_, "application/json; charset=utf-8", last);
    lines_->write(line(last));
    lines_->end();
  }

 public:
  // `kept`: where they are told at the end.
  void tell_probabilities(std::shared_ptr<TokenReports> kept) {
    tells_probabilities_ = true;
    kept_ = std::move(kept);
  }
  [[nodiscard]] bool streams() const { return streams_; }

 private:
  static std::string line(const Json& json) { return dump(json) + "\n"; }
  void send(const Json& json) { lines_->write(line(json)); }
  Json chunk(const std::string& text, const std::string& thinking) {
    Json out = {{"model", model_}, {"created_at", time_text()}};
    if (chat_) {
      out["message"] = {{"role", "assistant"}, {"content", text}};
      if (!thinking.empty()) out["message"]["thinking"] = thinking;
    } else {
      out["response"] = text;
      if (!thinking.empty()) out["thinking"] = thinking;
    }
    if (!reports_.empty()) out["logprobs"] = probabilities_json(*served_, std::exchange(reports_, {}), false);
    if (const auto reports = ended_reports(kept_)) {
      out["logprobs"] = probabilities_list(lists_, served_, reports, false);
    }
    out["done"] = false;
    return out;
  }

  std::shared_ptr<const Served> served_;
  std::shared_ptr<Reply> reply_;
  std::shared_ptr<EventStream> lines_;
  LongAnswer lists_;
  std::string model_, content_, thinking_;
  bool chat_, streams_, tells_probabilities_ = false;
  std::vector<Token> context_;
  Json calls_ = Json::array();
  std::vector<TokenReport> reports_;
  std::shared_ptr<TokenReports> kept_;
};

bool keeps_nothing(const Json& body) {
  const auto seconds = ollama_keep_alive(body);
  return seconds && *seconds == 0;
}

// Nothing to answer: the model is loaded, or, with a keep_alive of 0, goes.
Json nothing(const Call& call, const std::string& name, bool chat) {
  Json out = {{"model", get_string(call.body, "model").value_or(name)}, {"created_at", time_text()}};
  if (chat) {
    out["message"] = {{"role", "assistant"}, {"content", ""}};
  } else {
    out["response"] = "";
  }
  out["done"] = true;
  out["done_reason"] = keeps_nothing(call.body) ? "unload" : "load";
  return out;
}

void answer_nothing(const Call& call, bool chat) { call.send(nothing(call, call.served->name, chat)); }

// The samplers' fields lie in "options"; the rest of a request is OpenAI's but for names.
Json ollama_fields(const Served& served, const Json& body) {
  Json out = Json::object();
  if (const Json* options = find_object(body, "options")) out = *options;
  if (const Json* format = find(body, "format"); format != nullptr && *format != "") {
    if (*format == "json") {
      out["response_format"] = {{"type", "json_object"}};
    } else if (format->is_object()) {
      out["response_format"] = {{"type", "json_schema"}, {"json_schema", {{"schema", *format}}}};
    } else {
      throw bad_input("\"format\" must be \"json\" or a JSON schema");
    }
  }
  if (const Json* think = find(body, "think")) {
    const bool wanted = *think != false && *think != "" && *think != "none";
    if (wanted && !served.reasons()) {
      throw bad_input(fmt::format("\"{}\" does not support thinking", served.name));
    }
    if (think->is_boolean()) out["enable_thinking"] = *think;
    if (think->is_string()) out["reasoning_effort"] = *think;
  }
  return out;
}

void set_probabilities(const Call& call, Generation& generation, OllamaAnswer& answer) {
  const Json& body = call.body;
  if (!get_bool(body, "logprobs").value_or(false)) return;
  generation.log_probabilities = {static_cast<std::uint32_t>(get_integer(body, "top_logprobs", 0, 20).value_or(0)),
                                  false};
  answer.tell_probabilities(keep_reports(*call.served, {&generation, 1}, answer.streams())[0]);
}

// Of a model that is loaded, or of one that is listed.
template <class Model>
Json details(const Model& served) {
  const double billions = static_cast<double>(served.parameters) / 1e9;
  return {{"parent_model", ""},
          {"format", "gguf"},
          {"family", served.architecture},
          {"families", Json::array({served.architecture})},
          {"parameter_size", billions >= 1 ? fmt::format("{:.1f}B", billions) : fmt::format("{:.1f}M", billions * 1e3)},
          {"quantization_level", served.file_type}};
}

Json capabilities(const Served& served) {
  Json out = Json::array({"completion"});
  if (served.can().tools) out.push_back("tools");
  if (served.can_fill_in()) out.push_back("insert");
  if (served.reasons()) out.push_back("thinking");
  return out;
}

std::string date_text(std::time_t time) {
  std::tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000000+00:00", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace

Json ollama_body(const Served& served, const Json& body) {
  const Json* messages = find(body, "messages");
  if (messages == nullptr || !messages->is_array()) throw bad_input("\"messages\" must be an array");
  Json out = ollama_fields(served, body);
  out["messages"] = Json::array();
  for (Json message : *messages) {
    if (find(message, "images") != nullptr && !message["images"].empty()) throw bad_input("this model takes no images");
    if (const Json* name = find(message, "tool_name")) message["name"] = *name;
    out["messages"].push_back(std::move(message));
  }
  if (const Json* tools = find(body, "tools")) out["tools"] = *tools;
  return out;
}

void ollama_chat(const Call& call) {
  (void)ollama_keep_alive(call.body);
  const Json* messages = find(call.body, "messages");
  if (messages == nullptr || (messages->is_array() && messages->empty())) return answer_nothing(call, true);
  ChatRequest request = read_chat(*call.served, ollama_body(*call.served, call.body), Dialect::Ollama);
  auto answer = std::make_shared<OllamaAnswer>(call, true, std::vector<Token>());
  set_probabilities(call, request.generation, *answer);
  tell_changes(call, request);
  std::vector<Job> jobs;
  jobs.push_back({std::move(request.generation), std::move(answer)});
  start(call, std::move(jobs));
}

void ollama_generate(const Call& call) {
  (void)ollama_keep_alive(call.body);
  const Served& served = *call.served;
  const std::string prompt = get_string(call.body, "prompt").value_or("");
  const std::string suffix = get_string(call.body, "suffix").value_or("");
  if (prompt.empty() && suffix.empty()) return answer_nothing(call, false);
  if (const Json* images = find(call.body, "images"); images != nullptr && !images->empty()) {
    throw bad_input("this model takes no images");
  }
  Json body = ollama_fields(served, call.body);
  const bool raw = get_bool(call.body, "raw").value_or(false);
  std::vector<Token> context;
  if (const Json* ids = find_array(call.body, "context"); ids != nullptr && !raw) {
    context = tokens_of(served.tokenizer(), *ids, "context");
  }
  ChatRequest request;
  if (!suffix.empty()) {
    if (!served.can_fill_in()) throw bad_input(fmt::format("\"{}\" does not support insert", served.name));
    const tokenizer::SpecialTokens& special = served.tokenizer().special();
    request.generation = read_generation(served, body, Dialect::Ollama);
    std::vector<Token>& tokens = request.generation.prompt;
    const auto put = [&](Token mark, const std::string& text) {
      tokens.push_back(mark);
      const auto more = served.encode(text, {.add_special = false, .goes_on = true});
      tokens.insert(tokens.end(), more.begin(), more.end());
    };
    if (special.add_bos && special.bos >= 0) tokens.push_back(special.bos);
    put(special.fim_prefix, prompt);
    put(special.fim_suffix, suffix);
    tokens.push_back(special.fim_middle);
  } else if (raw) {
    request.generation = read_generation(served, body, Dialect::Ollama);
    request.generation.prompt = encode_prompt(served, prompt);
  } else {
    body["messages"] = Json::array();
    if (const auto system = get_string(call.body, "system"); system && !system->empty()) {
      body["messages"].push_back({{"role", "system"}, {"content", *system}});
    }
    body["messages"].push_back({{"role", "user"}, {"content", prompt}});
    request = read_chat(served, body, Dialect::Ollama);
  }
  if (!context.empty()) {
    std::vector<Token>& tokens = request.generation.prompt;
    const bool bos = !tokens.empty() && tokens.front() == served.tokenizer().bos();
    tokens.insert(tokens.begin(), context.begin(), context.end());
    if (bos) tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(context.size()));
  }
  if (!raw) request.generation.tell_tokens = true;
  auto answer = std::make_shared<OllamaAnswer>(call, false, raw ? std::vector<Token>() : request.generation.prompt);
  set_probabilities(call, request.generation, *answer);
  tell_changes(call, request);
  std::vector<Job> jobs;
  jobs.push_back({std::move(request.generation), std::move(answer)});
  start(call, std::move(jobs));
}

Json ollama_tag(const Served& served) {
  return {
      {"name", with_tag(served.name)},       {"model", with_tag(served.name)}, {"modified_at", date_text(served.since)},
      {"size", served.file_size.value},      {"digest", served.digest},        {"details", details(served)},
      {"capabilities", capabilities(served)}};
}

Json ollama_tag(const Listed& listed) {
  return {{"name", with_tag(listed.name)},
          {"model", with_tag(listed.name)},
          {"modified_at", date_text(listed.modified)},
          {"size", listed.size.value},
          {"digest", std::string(64, '0')},
          {"details", details(listed)},
          {"capabilities", Json::array({"completion"})}};
}

std::optional<double> ollama_keep_alive(const Json& body) {
  constexpr double kUsual = 300;  // s
  const Json* given = find(body, "keep_alive");
  if (given == nullptr) return kUsual;
  if (given->is_number()) return parse_keep_alive(fmt::format("{:.3f}", std::clamp(given->get<double>(), -1.0, 1e12)));
  if (given->is_string()) return parse_keep_alive(given->get_ref<const std::string&>());
  return parse_keep_alive("");  // which says what it must be
}

bool ollama_unloads(const Json& body) {
  const Json* messages = find(body, "messages");
  const bool asks = (messages != nullptr && !(messages->is_array() && messages->empty())) ||
                    !get_string(body, "prompt").value_or("").empty() ||
                    !get_string(body, "suffix").value_or("").empty() || find(body, "input") != nullptr;
  return !asks && keeps_nothing(body);
}

void ollama_is_unloaded(const Call& call) {
  call.send(nothing(call, get_string(call.body, "name").value_or(""), find(call.body, "messages") != nullptr));
}

Json ollama_process(const Served& served, std::optional<double> left) {
  const auto held = served.service->plan();
  const plan::Plan& plan = *held;
  Bytes all;
  Bytes graphics;
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    if (plan.tiers[tier].kind == plan::TierKind::Disk) continue;
    all += plan::tier_total(plan, tier);
    if (plan.tiers[tier].kind == plan::TierKind::Gpu) graphics += plan::tier_total(plan, tier);
  }
  return {
      {"name", with_tag(served.name)},
      {"model", with_tag(served.name)},
      {"size", all.value},
      {"size_vram", graphics.value},
      {"digest", served.digest},
      {"details", details(served)},
      {"expires_at", left ? date_text(std::time(nullptr) + static_cast<std::time_t>(std::ceil(std::min(*left, 1e9))))
                          : "2318-01-01T00:00:00.000000+00:00"},
      {"context_length", served.context()}};
}

void ollama_show(const Call& call) {
  const Served& served = *call.served;
  const model::ModelConfig& config = served.service->engine().program().config;
  std::string parameters = fmt::format("{:<31}{}", "num_ctx", served.context());
  if (!served.eos.empty()) parameters += fmt::format("\n{:<31}{}", "stop", dump(served.eos));
  // What clients look for in it: whether it fills in, and whether it takes tools.
  std::string shape = served.can_fill_in() ? "{{ if .Suffix }}{{ .Suffix }}{{ end }}" : "";
  shape += "{{ .Messages }}";
  if (served.can().tools) shape += " tools";
  const std::string& kind = served.architecture;
  call.send({{"license", ""},
             {"modelfile", "# planned by loadline"},
             {"parameters", parameters},
             {"template", shape},
             {"details", details(served)},
             {"model_info",
              {{"general.architecture", kind},
               {"general.basename", served.name},
               {"general.parameter_count", served.parameters},
               {kind + ".context_length", served.context()},
               {kind + ".embedding_length", config.embedding}}},
             {"capabilities", capabilities(served)},
             {"modified_at", date_text(served.since)}});
}

void ollama_show(const Call& call, const Listed& listed) {
  const std::string& kind = listed.architecture;
  call.send({{"license", ""},
             {"modelfile", "# planned by loadline"},
             {"parameters", ""},
             {"template", "{{ .Messages }}"},
             {"details", details(listed)},
             {"model_info",
              {{"general.architecture", kind},
               {"general.basename", listed.name},
               {"general.parameter_count", listed.parameters},
               {kind + ".context_length", listed.trained_context}}},
             {"capabilities", Json::array({"completion"})},
             {"modified_at", date_text(listed.modified)}});
}

void ollama_pull(const Call& call) {  // of a model that is there
  if (find(call.body, "model") == nullptr && find(call.body, "name") == nullptr) {
    throw bad_input("\"model\" is required");
  }
  if (get_bool(call.body, "stream").value_or(true)) {
    call.reply->send(200, kLines, "{\"status\":\"success\"}\n");
  } else {
    call.send({{"status", "success"}});
  }
}

}  // namespace loadline::serve

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "base/clock.h"
#include "base/error.h"
#include "grammar/languages.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/token_ids.h"
#include "serve/token_reports.h"

namespace loadline::serve {
namespace {

constexpr std::int64_t kUsualLength = 180;

class KoboldAnswer;

// What KoboldCpp's clients ask about answers to other requests: figures of whosever was the last, but texts of their
// own alone. The network's thread alone.
struct Known {
  struct Answer {
    std::string asker, key;
    std::weak_ptr<KoboldAnswer> answer;
  };
  std::vector<Answer> answers;  // the newest last
  exec::SessionResult last;
  Finish last_finish = Finish::Failed;
  std::uint64_t last_seed = 0, total = 0;
  bool any = false;
  std::string last_asker;  // whose Served::last_reports are
  std::weak_ptr<const Served> last_served;
};

// By its key, or where there is none its address.
std::string asker_of(const Call& call) { return call.key.empty() ? call.client : "key " + call.key; }
Known& known() {
  static Known one;
  return one;
}

class KoboldAnswer final : public Listener {
 public:
  // `kept`: where log-probabilities are told at the end, or afterwards.
  KoboldAnswer(const Call& call, bool streams, std::shared_ptr<TokenReports> kept)
      : served_(call.served),
        reply_(call.reply),
        trims_(get_bool(call.body, "trim_stop").value_or(true)),
        asker_(asker_of(call)),
        kept_(std::move(kept)) {
    if (streams) events_ = std::make_shared<EventStream>(reply_, std::string(kEventStream), "");
  }

  void piece(const Piece& piece) override {
    text_ += piece.text;
    if (kept_) kept_->add(piece.tokens);
    if (events_ && !piece.text.empty()) send(piece.text, nullptr);
  }
  void finished(const Outcome& outcome) override {
    Known& all = known();
    all.last = outcome.figures;
    all.last_finish = outcome.finish;
    all.last_seed = outcome.seed;
    all.any = true;
    ++all.total;
    const std::shared_ptr<const TokenReports> reports = take_reports();
    if (outcome.finish == Finish::Failed) {
      const Refusal refusal{500, "server_error", outcome.error, {}};
      if (!events_ || !events_->begun()) return refuse(*reply_, ErrorForm::Kobold, refusal);
      return events_->end();
    }
    const bool length = outcome.finish == Finish::Length || outcome.finish == Finish::ContextFull;
    const char* reason = length ? "length" : "stop";
    // The text of the stop string belongs to the answer where it is not to be cut off.
    const std::string stop = trims_ ? std::string() : outcome.stop;
    if (events_) {
      if (!stop.empty()) send(stop, nullptr);
      send("", reason);
      return events_->end();
    }
    Json result = {{"text", text_ + stop},
                   {"finish_reason", reason},
                   {"logprobs", nullptr},
                   {"prompt_tokens", outcome.figures.prompt_tokens},
                   {"completion_tokens", outcome.figures.generated_tokens}};
    LongAnswer lists;
    if (reports) result["logprobs"] = {{"content", probabilities_list(lists, served_, reports, true)}};
    lists.send(*reply_, "application/json", {{"results", Json::array({std::move(result)})}});
  }

  void set_ids(std::vector<Service::Id> ids) { ids_ = std::move(ids); }
  void abort() {
    for (const Service::Id id : ids_) served_->service->cancel(id);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  // Null: there are none. Whoever asks afterwards is told them too.
  std::shared_ptr<const TokenReports> take_reports() {
    const auto reports = ended_reports(kept_);
    if (!reports) return nullptr;
    known().last_asker = asker_;
    known().last_served = served_;
    return served_->last_reports = reports;
  }
  // To the byte what KoboldAI Lite looks for.
  void send(const std::string& text, Json finish) {
    events_->write(
        fmt::format("event: message\ndata: {}\n\n", dump({{"token", text}, {"finish_reason", std::move(finish)}})));
  }

  std::shared_ptr<const Served> served_;
  std::shared_ptr<Reply> reply_;
  std::shared_ptr<EventStream> events_;
  bool trims_;
  std::string asker_, text_;
  std::shared_ptr<TokenReports> kept_;
  std::vector<Service::Id> ids_;
};

// The asker's own by the key that it was given, or without one the newest; null where there is none.
std::shared_ptr<KoboldAnswer> find_answer(const Call& call) {
  const std::string key = get_string(call.body, "genkey").value_or("");
  const std::string asker = asker_of(call);
  for (const Known::Answer& one : std::views::reverse(known().answers)) {
    auto answer = one.answer.lock();
    if (answer && one.asker == asker && (key.empty() || one.key == key)) return answer;
  }
  return nullptr;
}

void remember(const Call& call, const std::shared_ptr<KoboldAnswer>& answer) {
  constexpr std::size_t kLongest = 256;
  std::string key = get_string(call.body, "genkey").value_or("");
  if (key.size() > kLongest) key.clear();
  std::erase_if(known().answers, [](const Known::Answer& one) { return one.answer.expired(); });
  known().answers.push_back({asker_of(call), std::move(key), answer});
}

// What the server cuts the prompt to: the memory stays, the oldest of the rest goes.
std::vector<Token> prompt_of(const Call& call, std::int64_t most_tokens) {
  const Served& served = *call.served;
  const std::string memory = get_string(call.body, "memory").value_or("");
  const std::string text = get_string(call.body, "prompt").value_or("");
  std::vector<Token> first;
  if (!memory.empty()) first = encode_prompt(served, memory);
  std::vector<Token> rest = first.empty()
                                ? encode_prompt(served, text)
                                : served.encode(text, {.add_special = false, .parse_special = true, .goes_on = true});
  std::size_t context = served.context();
  if (const auto wanted = get_integer(call.body, "max_context_length", 1, INT32_MAX)) {
    context = std::min(context, static_cast<std::size_t>(*wanted));
  }
  const std::size_t answer = std::min<std::size_t>(context / 2, static_cast<std::size_t>(most_tokens));
  const std::size_t room = context - answer;
  if (first.size() + rest.size() > room && first.size() < room) {
    const std::size_t kept = room - first.size();
    const bool has_bos = first.empty() && !rest.empty() && rest.front() == served.tokenizer().bos();
    const Token bos = served.tokenizer().bos();
    rest.erase(rest.begin(), rest.end() - static_cast<std::ptrdiff_t>(kept));
    if (has_bos && !rest.empty()) rest.front() = bos;
  }
  first.insert(first.end(), rest.begin(), rest.end());
  if (first.empty() && served.tokenizer().bos() >= 0) first.push_back(served.tokenizer().bos());
  return first;
}

void generate(const Call& call, bool streams) {
  Generation generation = read_generation(*call.served, call.body, Dialect::Kobold);
  if (const Json* images = find(call.body, "images"); images != nullptr && !images->empty()) {
    throw bad_input("\"images\": this model takes no images");
  }
  if (!get_most_tokens(call.body, Dialect::Kobold)) generation.most_tokens = kUsualLength;
  if (get_bool(call.body, "bypass_eos").value_or(false)) generation.ignore_end = true;
  generation.special = get_bool(call.body, "render_special").value_or(false);
  if (get_bool(call.body, "logprobs").value_or(false)) generation.log_probabilities = {5, false};
  generation.prompt = prompt_of(call, std::max<std::int64_t>(0, generation.most_tokens));
  // A stream has no place for them, but who asks afterwards is told.
  const auto kept = keep_reports(*call.served, {&generation, 1}, false);
  const auto answer = std::make_shared<KoboldAnswer>(call, streams, kept[0]);
  std::vector<Job> jobs;
  jobs.push_back({std::move(generation), answer});
  answer->set_ids(start(call, std::move(jobs)));
  remember(call, answer);
}

}  // namespace

void kobold_generate(const Call& call) { generate(call, false); }
void kobold_stream(const Call& call) { generate(call, true); }

void kobold_abort(const Call& call) {
  const auto answer = find_answer(call);
  if (answer) answer->abort();
  const char* done = answer ? "true" : "false";
  call.send({{"success", done}, {"done", done}});
}

void kobold_check(const Call& call) {
  const auto answer = find_answer(call);
  call.send({{"results", Json::array({{{"text", answer ? answer->text() : ""}}})}});
}

void kobold_probabilities(const Call& call) {
  // Null: there were none, or others', or their model is gone.
  const auto served = known().last_asker == asker_of(call) ? known().last_served.lock() : nullptr;
  if (served == nullptr || served->last_reports == nullptr) return call.send({{"logprobs", nullptr}});
  LongAnswer lists;
  const Json told = {{"content", probabilities_list(lists, served, served->last_reports, true)}};
  lists.send(*call.reply, "application/json", {{"logprobs", told}});
}

void kobold_count(const Call& call) {
  const std::string text = get_string(call.body, "prompt").value_or("");
  const bool special = get_bool(call.body, "special").value_or(true);
  const std::vector<Token> ids = call.served->encode(text, {.add_special = special, .parse_special = true});
  call.send({{"value", ids.size()}, {"ids", ids}});
}

// What "grammar" takes: a schema as it is.
void kobold_grammar(const Call& call) {
  const Json* schema = find(call.body, "schema");
  if (schema == nullptr) throw bad_input("\"schema\" is required");
  const std::string text = schema->is_string() ? schema->get<std::string>() : dump(*schema);
  (void)grammar::compile_json_schema(text);
  call.send({{"result", text}, {"success", true}});
}

void kobold_detokenize(const Call& call) {
  const Json* ids = find_array(call.body, "ids");
  std::vector<Token> tokens;
  if (ids != nullptr) {
    for (const Json& id : *ids) {
      const std::optional<Token> token = find_token(call.served->tokenizer(), id);
      if (!token) return call.send({{"result", ""}, {"success", false}});
      tokens.push_back(*token);
    }
  }
  require_tellable(tokens.size());
  call.send({{"result", call.served->tokenizer().decode(tokens, true)}, {"success", true}});
}

Json kobold_perf(const Served& served) {
  const Known& all = known();
  const Service::Load load = served.service->load();
  const double now = steady_seconds();
  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  int reason = -1;
  if (all.any) {
    reason = all.last_finish == Finish::End ? 1 : all.last_finish == Finish::StopString ? 2 : 0;
  }
  const bool idle = load.running + load.waiting == 0;
  return {{"last_process", all.last.prompt_seconds},
          {"last_eval", all.last.generation_seconds},
          {"last_token_count", all.last.generated_tokens},
          {"last_input_count", all.last.prompt_tokens},
          {"last_process_time", all.last.prompt_seconds},
          {"last_eval_time", all.last.generation_seconds},
          {"last_process_speed", rate(all.last.prompt_tokens - all.last.shared_tokens, all.last.prompt_seconds)},
          {"last_eval_speed", rate(all.last.generated_tokens, all.last.generation_seconds)},
          {"last_seed", all.last_seed},
          {"last_draft_success", 0},
          {"last_draft_failed", 0},
          {"total_gens", all.total},
          {"stop_reason", reason},
          {"total_img_gens", 0},
          {"total_tts_gens", 0},
          {"total_transcribe_gens", 0},
          {"queue", load.waiting},
          {"idle", idle ? 1 : 0},
          {"hordeexitcounter", 0},
          {"uptime", std::max<std::int64_t>(0, std::time(nullptr) - served.since)},
          {"idletime", idle ? std::max(0.0, now - load.idle_since) : 0.0},
          {"quiet", false}};
}

bool kobold_probe(const Served& served, std::string_view path, bool keys, Json& out) {
  constexpr std::string_view kLatest = "/api/latest";
  std::string plain(path);
  if (plain.starts_with(kLatest)) plain = "/api/v1" + plain.substr(kLatest.size());
  if (plain == "/api/v1/model") {
    out = {{"result", "koboldcpp/" + served.name}};
  } else if (plain == "/api/v1/info/version") {
    out = {{"result", "1.2.5"}};
  } else if (plain == "/api/extra/version") {
    out = {{"result", "KoboldCpp"}, {"version", "1.121"}, {"protected", keys}, {"llm", true},
           {"txt2img", false},      {"vision", false},    {"audio", false},    {"transcribe", false},
           {"multiplayer", false},  {"websearch", false}, {"tts", false},      {"embeddings", true},
           {"savedata", false},     {"admin", 0},         {"guidance", false}, {"jinja", true},
           {"mcp", false},          {"music", false},     {"router", false}};
  } else if (plain == "/api/v1/config/max_context_length" || plain == "/api/extra/true_max_context_length") {
    out = {{"value", served.context()}};
  } else if (plain == "/api/v1/config/max_length") {
    out = {{"value", std::min<std::int64_t>(kUsualLength, served.context())}};
  } else if (plain == "/api/v1/config/soft_prompt") {
    out = {{"value", ""}};
  } else if (plain == "/api/v1/config/soft_prompts_list") {
    out = {{"values", Json::array()}};
  } else if (plain == "/api/extra/preloadstory") {
    out = Json::object();
  } else if (plain == "/api/extra/perf") {
    out = kobold_perf(served);
  } else if (plain == "/sdapi/v1/sd-models") {
    out = Json::array();
  } else if (plain == "/.well-known/serviceinfo") {
    out = {
        {"version", "0.2"}, {"software", {{"name", "Loadline"}}}, {"api", {{"koboldai", {{"name", "KoboldAI API"}}}}}};
  } else if (plain == "/ping") {
    out = {{"status", "ok"}};
  } else {
    return false;
  }
  return true;
}

}  // namespace loadline::serve

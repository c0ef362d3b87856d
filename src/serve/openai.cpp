#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/token_ids.h"
#include "serve/token_reports.h"

namespace loadline::serve {
namespace {

std::string_view finish_reason(const Outcome& outcome, bool calls) {
  if (outcome.finish == Finish::Length || outcome.finish == Finish::ContextFull) return "length";
  return calls ? "tool_calls" : "stop";
}

// An answer with one or several choices: a stream of chunks or one object.
class OpenAiAnswer {
 public:
  OpenAiAnswer(const Call& call, std::string_view id, std::string_view kind, std::size_t choices)
      : reply_(call.reply),
        id_(new_id(id)),
        kind_(kind),
        model_(get_string(call.body, "model").value_or(call.served->name)),
        created_(std::time(nullptr)),
        streams_(get_bool(call.body, "stream").value_or(false)),
        left_(choices),
        whole_(choices) {
    if (const Json* options = find_object(call.body, "stream_options")) {
      with_usage_ = get_bool(*options, "include_usage").value_or(false);
    }
    events_ = std::make_shared<EventStream>(reply_, std::string(kEventStream), ":\n\n");
    if (streams_) events_->break_silence(get_number(call.body, "sse_ping_interval", -1, 86400).value_or(kPingSeconds));
  }

  [[nodiscard]] bool streams() const { return streams_; }
  // Where it is told as a whole.
  [[nodiscard]] LongAnswer& lists() { return lists_; }
  void send_choice(Json choice) { events_->event(object(Json::array({std::move(choice)}))); }
  void send_progress(Json choice, Json progress) {
    Json chunk = object(Json::array({std::move(choice)}));
    chunk["prompt_progress"] = std::move(progress);
    events_->event(chunk);
  }

  // One choice is complete: its last chunk, or all of it.
  void finish(std::size_t index, Json choice, const Outcome& outcome) {
    if (failed_) return;
    if (const auto failure = failure_of(outcome)) return fail(*failure);
    add(outcome.figures);
    --left_;
    if (streams_) {
      Json chunk = object(Json::array({std::move(choice)}));
      if (left_ == 0 && !with_usage_) chunk["timings"] = timings(figures_);
      events_->event(chunk);
    } else {
      whole_[index] = std::move(choice);
    }
    if (left_ == 0) streams_ ? end_stream() : send_whole();
  }

 private:
  [[nodiscard]] Json object(Json choices) const {
    const std::string kind = streams_ && kind_ == "chat.completion" ? "chat.completion.chunk" : kind_;
    return {{"id", id_},
            {"object", kind},
            {"created", created_},
            {"model", model_},
            {"system_fingerprint", "fp_loadline"},
            {"choices", std::move(choices)}};
  }
  void add(const exec::SessionResult& one) {
    figures_.prompt_tokens += one.prompt_tokens;
    figures_.shared_tokens += one.shared_tokens;
    figures_.prompt_seconds += one.prompt_seconds;
    figures_.generated_tokens += one.generated_tokens;
    figures_.generation_seconds += one.generation_seconds;
  }
  [[nodiscard]] Json usage() const {
    return {{"prompt_tokens", figures_.prompt_tokens},
            {"completion_tokens", figures_.generated_tokens},
            {"total_tokens", figures_.prompt_tokens + figures_.generated_tokens},
            {"prompt_tokens_details", {{"cached_tokens", figures_.shared_tokens}}}};
  }
  void end_stream() {
    if (with_usage_) {
      Json chunk = object(Json::array());
      chunk["usage"] = usage();
      chunk["timings"] = timings(figures_);
      events_->event(chunk);
    }
    events_->write("data: [DONE]\n\n");
    events_->end();
  }
  void send_whole() {
    Json choices = Json::array();
    for (Json& one : whole_) choices.push_back(std::move(one));
    Json whole = object(std::move(choices));
    whole["usage"] = usage();
    whole["timings"] = timings(figures_);
    lists_.send(*reply_, "application/json", whole);
  }
  void fail(const Refusal& refusal) {
    failed_ = true;
    if (!events_->begun()) return refuse(*reply_, ErrorForm::OpenAi, refusal);
    events_->event(error_object(ErrorForm::OpenAi, refusal));
    events_->end();
  }

  std::shared_ptr<Reply> reply_;
  std::shared_ptr<EventStream> events_;
  std::string id_, kind_, model_;
  std::int64_t created_;
  bool streams_, with_usage_ = false, failed_ = false;
  std::size_t left_;
  std::vector<Json> whole_;
  LongAnswer lists_;
  exec::SessionResult figures_;
};

class ChatChoice final : public ChatListener {
 public:
  // `kept`: where log-probabilities are told at the end.
  ChatChoice(std::shared_ptr<const Served> served, std::shared_ptr<OpenAiAnswer> answer, std::size_t index,
             bool progress, std::shared_ptr<TokenReports> kept)
      : served_(std::move(served)),
        answer_(std::move(answer)),
        index_(index),
        progress_(progress),
        kept_(std::move(kept)) {}

  void prompt_read(std::size_t done, std::size_t shared, std::size_t all) override {
    if (!progress_ || !answer_->streams() || role_sent_) return;
    answer_->send_progress(chunk(Json::object(), nullptr),
                           {{"total", all}, {"cache", shared}, {"processed", done}, {"time_ms", 0}});
  }

 protected:
  void content(const std::string& text) override {
    content_ += text;
    if (answer_->streams()) send({{"content", text}});
  }
  void reasoning(const std::string& text) override {
    reasoning_ += text;
    if (answer_->streams()) send({{"reasoning_content", text}});
  }
  void call(std::size_t index, const chat::ToolCall& call) override {
    const std::string id = call.id.empty() ? new_id("", 9) : call.id;
    const Json begin = {
        {"index", index}, {"id", id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", ""}}}};
    if (answer_->streams()) {
      send({{"tool_calls", Json::array({begin})}});
      send({{"tool_calls", Json::array({{{"index", index}, {"function", {{"arguments", call.arguments}}}}})}});
    } else {
      calls_.push_back(
          {{"id", id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
  }
  void tokens(const std::vector<TokenReport>& tokens) override {
    if (kept_) return kept_->add(tokens);
    reports_.insert(reports_.end(), tokens.begin(), tokens.end());
  }
  void ended(const Outcome& outcome) override {
    const std::string_view reason = finish_reason(outcome, calls() > 0);
    if (answer_->streams()) {
      if (outcome.finish != Finish::Failed && outcome.finish != Finish::Cancelled) send_role();
      return answer_->finish(index_, chunk(Json::object(), reason), outcome);
    }
    Json message = {{"role", "assistant"}, {"content", content_}};
    if (!reasoning_.empty()) message["reasoning_content"] = reasoning_;
    if (!calls_.empty()) message["tool_calls"] = calls_;
    Json choice = {{"index", index_}, {"message", std::move(message)}, {"finish_reason", reason}};
    choice["logprobs"] = nullptr;
    if (const auto reports = ended_reports(kept_)) {
      choice["logprobs"] = {{"content", probabilities_list(answer_->lists(), served_, reports, false)},
                            {"refusal", nullptr}};
    }
    answer_->finish(index_, std::move(choice), outcome);
  }

 private:
  Json take_probabilities() {
    if (reports_.empty()) return nullptr;
    return {{"content", probabilities_json(*served_, std::exchange(reports_, {}), false)}, {"refusal", nullptr}};
  }
  Json chunk(Json delta, Json finish) {
    Json choice = {{"index", index_}, {"delta", std::move(delta)}, {"finish_reason", std::move(finish)}};
    if (Json probabilities = take_probabilities(); !probabilities.is_null()) choice["logprobs"] = probabilities;
    return choice;
  }
  void send_role() {
    if (std::exchange(role_sent_, true)) return;
    answer_->send_choice(
        {{"index", index_}, {"delta", {{"role", "assistant"}, {"content", ""}}}, {"finish_reason", nullptr}});
  }
  void send(Json delta) {
    send_role();
    answer_->send_choice(chunk(std::move(delta), nullptr));
  }

  std::shared_ptr<const Served> served_;
  std::shared_ptr<OpenAiAnswer> answer_;
  std::size_t index_;
  bool progress_, role_sent_ = false;
  std::string content_, reasoning_;
  Json calls_ = Json::array();
  std::vector<TokenReport> reports_;
  std::shared_ptr<TokenReports> kept_;
};

// Log-probabilities in OpenAI's older form and llama.cpp's, since clients read one or the other. A member for each of
// its lists, each made by `list` of what becomes of a token's report.
template <class List>
Json text_probabilities(std::size_t offset, const List& list) {
  const auto of = [](const char* member) { return [member](const Json& one) { return one[member]; }; };
  const auto top = [](const Json& one) {
    Json out = Json::object();
    for (const Json& other : one["top_logprobs"]) out[other["token"].get<std::string>()] = other["logprob"];
    return out;
  };
  const auto begins = [at = offset](const Json& one) mutable -> Json {
    return std::exchange(at, at + one["token"].get_ref<const std::string&>().size());
  };
  return {{"tokens", list(of("token"))},
          {"token_logprobs", list(of("logprob"))},
          {"top_logprobs", list(top)},
          {"text_offset", list(begins)},
          {"content", list([](const Json& one) { return one; })}};
}

// POST /v1/completions: text as it is.
class TextChoice final : public Listener {
 public:
  // `kept`: where log-probabilities are told at the end.
  TextChoice(std::shared_ptr<const Served> served, std::shared_ptr<OpenAiAnswer> answer, std::size_t index,
             std::string echo, std::shared_ptr<TokenReports> kept)
      : served_(std::move(served)),
        answer_(std::move(answer)),
        index_(index),
        text_(std::move(echo)),
        kept_(std::move(kept)) {
    offset_ = text_.size();
  }

  void piece(const Piece& piece) override {
    echo();
    if (answer_->streams()) {
      if (piece.text.empty() && piece.tokens.empty()) return;
      return answer_->send_choice(choice(piece.text, nullptr, probabilities_of(piece.tokens)));
    }
    text_ += piece.text;
    if (kept_) kept_->add(piece.tokens);
  }
  void finished(const Outcome& outcome) override {
    if (!failure_of(outcome)) echo();
    const std::string_view reason = finish_reason(outcome, false);
    if (answer_->streams()) return answer_->finish(index_, choice("", reason, nullptr), outcome);
    answer_->finish(index_, choice(text_, reason, kept_probabilities()), outcome);
  }

 private:
  // Once, before the first piece.
  void echo() {
    if (!answer_->streams() || text_.empty()) return;
    answer_->send_choice(choice(std::exchange(text_, {}), nullptr, nullptr));
  }
  Json probabilities_of(const std::vector<TokenReport>& reports) {
    if (reports.empty()) return nullptr;
    const Json all = probabilities_json(*served_, reports, true);
    Json out = text_probabilities(offset_, [&](auto element) {
      Json one = Json::array();
      for (const Json& report : all) one.push_back(element(report));
      return one;
    });
    for (const Json& one : all) offset_ += one["token"].get_ref<const std::string&>().size();
    return out;
  }
  Json kept_probabilities() {
    const auto kept = ended_reports(kept_);
    if (!kept) return nullptr;
    return text_probabilities(offset_, [&](auto element) {
      return answer_->lists().list(kept->size(), [served = served_, kept, element](std::size_t index) mutable -> Json {
        return element(probabilities_json(*served, kept->at(index), true));
      });
    });
  }
  Json choice(std::string text, Json finish, Json probabilities) {
    Json out = {{"text", std::move(text)}, {"index", index_}, {"logprobs", std::move(probabilities)}};
    out["finish_reason"] = std::move(finish);
    return out;
  }

  std::shared_ptr<const Served> served_;
  std::shared_ptr<OpenAiAnswer> answer_;
  std::size_t index_, offset_ = 0;
  std::string text_;
  std::shared_ptr<TokenReports> kept_;
};

std::size_t answers_wanted(const Call& call, std::size_t prompts) {
  const std::size_t most = std::max<std::size_t>(1, call.served->service->places());
  const auto n = get_integer(call.body, "n", 1, 1024);
  const std::int64_t wanted = n.value_or(get_integer(call.body, "n_cmpl", 1, 1024).value_or(1));
  if (static_cast<std::size_t>(wanted) * prompts > std::max<std::size_t>(most, prompts)) {
    throw bad_input(fmt::format("\"n\": {} answers were asked for, but this server gives at most {} at a time",
                                static_cast<std::size_t>(wanted) * prompts, most));
  }
  return static_cast<std::size_t>(wanted);
}

// A string, token ids, or a mixture of both.
std::vector<Token> mixed_prompt(const Served& served, const Json& prompt) {
  static const std::string kWanted = "\"prompt\" must be a string, an array of token ids, or an array of such";
  if (prompt.is_string()) return encode_prompt(served, prompt.get_ref<const std::string&>());
  if (prompt.is_object()) {
    if (find(prompt, "multimodal_data") != nullptr && !prompt["multimodal_data"].empty()) {
      throw bad_input("\"prompt\": this model takes no images");
    }
    const auto text = get_string(prompt, "prompt_string");
    if (!text) throw bad_input("\"prompt\": an object must have a \"prompt_string\"");
    return encode_prompt(served, *text);
  }
  if (!prompt.is_array()) throw bad_input(kWanted);
  std::vector<Token> tokens;
  for (const Json& part : prompt) {
    if (part.is_number_integer()) {
      tokens.push_back(token_of(served.tokenizer(), part, "prompt"));
    } else if (part.is_string()) {
      const std::vector<Token> more =
          tokens.empty() ? encode_prompt(served, part.get_ref<const std::string&>())
                         : served.encode(part.get_ref<const std::string&>(),
                                         {.add_special = false, .parse_special = true, .goes_on = true});
      tokens.insert(tokens.end(), more.begin(), more.end());
    } else {
      throw bad_input(kWanted);
    }
  }
  return tokens;
}

bool is_list_of_prompts(const Json& prompt) {
  if (!prompt.is_array() || prompt.empty()) return false;
  const bool texts = std::ranges::all_of(prompt, [](const Json& one) { return one.is_string(); });
  return texts || std::ranges::any_of(prompt, [](const Json& one) { return one.is_array() || one.is_object(); });
}

}  // namespace

std::vector<std::vector<Token>> read_prompts(const Served& served, const Json& body) {
  const Json* prompt = find(body, "prompt");
  std::vector<std::vector<Token>> prompts;
  if (prompt == nullptr) {
    prompts.push_back(encode_prompt(served, ""));
  } else if (is_list_of_prompts(*prompt)) {
    constexpr std::size_t kMost = 256;
    if (prompt->size() > kMost) throw bad_input(fmt::format("\"prompt\" must be at most {} prompts", kMost));
    for (const Json& one : *prompt) prompts.push_back(mixed_prompt(served, one));
  } else {
    prompts.push_back(mixed_prompt(served, *prompt));
  }
  for (std::vector<Token>& one : prompts) {
    if (one.empty() && served.tokenizer().bos() >= 0) one.push_back(served.tokenizer().bos());
    if (one.size() > served.context()) throw TooLong(one.size(), served.context());
  }
  return prompts;
}

void openai_chat(const Call& call) {
  const Json& body = call.body;
  ChatRequest request = read_chat(*call.served, body, Dialect::OpenAi);
  const bool probabilities = get_bool(body, "logprobs").value_or(false);
  const auto likeliest = get_integer(body, "top_logprobs", 0, 20);
  if (likeliest && *likeliest > 0 && !probabilities) throw bad_input("\"top_logprobs\" needs \"logprobs\"");
  if (probabilities) request.generation.log_probabilities = {static_cast<std::uint32_t>(likeliest.value_or(0)), false};
  const std::size_t choices = answers_wanted(call, 1);
  const auto answer = std::make_shared<OpenAiAnswer>(call, "chatcmpl-", "chat.completion", choices);
  const bool progress = get_bool(body, "return_progress").value_or(false);
  std::vector<Generation> generations = generations_of(request.generation, {request.generation.prompt}, choices);
  const auto kept = keep_reports(*call.served, generations, answer->streams());
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < choices; ++i) {
    jobs.push_back(
        {std::move(generations[i]), std::make_shared<ChatChoice>(call.served, answer, i, progress, kept[i])});
  }
  tell_changes(call, request);
  start(call, std::move(jobs));
}

void openai_completion(const Call& call) {
  const Json& body = call.body;
  Generation base = read_generation(*call.served, body, Dialect::OpenAi);
  if (const Json* logprobs = find(body, "logprobs")) {
    const bool wanted = logprobs->is_boolean() ? logprobs->get<bool>() : true;
    const std::int64_t likeliest = logprobs->is_boolean() ? 5 : get_integer(body, "logprobs", 0, 100).value_or(0);
    if (wanted) base.log_probabilities = {static_cast<std::uint32_t>(likeliest), false};
  }
  const auto n_probs = get_integer(body, "n_probs", 0, 1000).value_or(0);
  if (n_probs > 0) base.log_probabilities = {static_cast<std::uint32_t>(n_probs), after_steps(body)};
  // What would be left out of the answer in silence.
  if (const auto suffix = get_string(body, "suffix"); suffix && !suffix->empty()) {
    throw bad_input("\"suffix\" is not taken here: /infill fills in the middle");
  }
  std::vector<std::vector<Token>> prompts = read_prompts(*call.served, body);
  const std::size_t each = answers_wanted(call, prompts.size());
  if (const auto best = get_integer(body, "best_of", 1, 1024); best && static_cast<std::size_t>(*best) > each) {
    throw bad_input("\"best_of\" must not be more than \"n\": all answers are told");
  }
  const bool echo = get_bool(body, "echo").value_or(false);
  const auto answer = std::make_shared<OpenAiAnswer>(call, "cmpl-", "text_completion", prompts.size() * each);
  std::vector<Generation> generations = generations_of(base, prompts, each);
  const auto kept = keep_reports(*call.served, generations, answer->streams());
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < generations.size(); ++i) {
    std::string before = echo ? call.served->tokenizer().decode(generations[i].prompt, false) : std::string();
    jobs.push_back(
        {std::move(generations[i]), std::make_shared<TextChoice>(call.served, answer, i, std::move(before), kept[i])});
  }
  start(call, std::move(jobs));
}

}  // namespace loadline::serve

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/token_ids.h"
#include "serve/token_reports.h"
#include "tokenizer/special_tokens.h"

namespace loadline::serve {
namespace {

std::string_view stop_type(Finish finish) {
  switch (finish) {
    case Finish::End: return "eos";
    case Finish::StopString: return "word";
    case Finish::Length:
    case Finish::ContextFull: return "limit";
    case Finish::Cancelled:
    case Finish::Failed: break;
  }
  return "none";
}

// The values at paths such as "timings/prompt_n", each under its path.
Json chosen_fields(const Json& all, const std::vector<std::string>& paths) {
  if (paths.empty()) return all;
  Json out = Json::object();
  for (const std::string& path : paths) {
    const Json* at = &all;
    std::string_view rest = path;
    while (at != nullptr && !rest.empty()) {
      const std::size_t end = std::min(rest.find('/'), rest.size());
      const std::string name(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      at = at->is_object() && at->contains(name) ? &(*at)[name] : nullptr;
    }
    if (at != nullptr && !path.empty()) out[path] = *at;
  }
  return out;
}

// As llama.cpp has them where they are asked for as the sampler leaves them: "prob" in place of "logprob".
Json as_probabilities(Json told) {
  const auto change = [](Json& one) {
    one["prob"] = number_json(std::exp(one["logprob"].get<float>()));
    one.erase("logprob");
  };
  change(told);
  told["top_probs"] = std::move(told["top_logprobs"]);
  told.erase("top_logprobs");
  for (Json& other : told["top_probs"]) change(other);
  return told;
}

// What the answers of one request have in common.
struct Shared {
  std::shared_ptr<Reply> reply;
  std::shared_ptr<EventStream> events;  // null: one object at the end
  std::vector<std::string> fields;
  std::vector<Json> whole;
  LongAnswer lists;
  std::size_t left = 0;
  bool is_array = false, failed = false;
};

// One answer of POST /completion: {"content", "tokens_predicted", "stop", ...}, streamed without a last "[DONE]".
class CompletionAnswer final : public Listener {
 public:
  // `kept`: where log-probabilities are told at the end.
  CompletionAnswer(const Call& call, const Generation& generation, std::shared_ptr<Shared> shared, std::size_t index,
                   std::shared_ptr<TokenReports> kept)
      : served_(call.served),
        shared_(std::move(shared)),
        index_(index),
        kept_(std::move(kept)),
        settings_(sampling_json(generation.sampling)),
        return_tokens_(get_bool(call.body, "return_tokens").value_or(false)),
        progress_(get_bool(call.body, "return_progress").value_or(false)) {
    tells_probabilities_ = generation.log_probabilities.has_value();
    after_steps_ = tells_probabilities_ && generation.log_probabilities->after_steps;
    settings_["n_predict"] = generation.most_tokens;
    settings_["stop"] = generation.stops;
    settings_["stream"] = shared_->events != nullptr;
    settings_["n_probs"] = generation.log_probabilities ? generation.log_probabilities->top : 0;
    settings_["banned_strings"] = generation.banned;
    if (const Json* prompt = find(call.body, "prompt"); prompt != nullptr && prompt->is_string()) {
      prompt_ = prompt->get<std::string>();
    }
  }

  void prompt_read(std::size_t done, std::size_t shared, std::size_t all) override {
    if (!progress_ || !shared_->events) return;
    Json event = partial("");
    event["prompt_progress"] = {{"total", all}, {"cache", shared}, {"processed", done}, {"time_ms", 0}};
    shared_->events->event(event);
  }

  void piece(const Piece& piece) override {
    for (const TokenReport& one : piece.tokens) tokens_.push_back(one.token);
    has_new_line_ = has_new_line_ || piece.text.find('\n') != std::string::npos;
    if (!shared_->events) {
      text_ += piece.text;
      if (kept_) kept_->add(piece.tokens);
      return;
    }
    if (piece.text.empty() && piece.tokens.empty()) return;
    Json event = partial(piece.text);
    if (return_tokens_) {
      for (const TokenReport& one : piece.tokens) event["tokens"].push_back(one.token);
    }
    event["tokens_predicted"] = ++pieces_;
    if (tells_probabilities_) {
      event["completion_probabilities"] = Json::array();
      for (const TokenReport& one : piece.tokens) {
        event["completion_probabilities"].push_back(told(*served_, one, after_steps_));
      }
    }
    shared_->events->event(event);
  }

  void finished(const Outcome& outcome) override {
    if (shared_->failed) return;
    if (const auto failure = failure_of(outcome)) return fail(*failure);
    settings_["seed"] = outcome.seed;
    Json last = {{"index", index_},
                 {"content", text_},
                 {"tokens", return_tokens_ && !shared_->events ? Json(tokens_) : Json::array()},
                 {"id_slot", outcome.slot},
                 {"stop", true},
                 {"model", served_->name},
                 {"tokens_predicted", outcome.figures.generated_tokens},
                 {"tokens_evaluated", outcome.figures.prompt_tokens},
                 {"generation_settings", settings_},
                 {"prompt", prompt_},
                 {"has_new_line", has_new_line_},
                 {"truncated", false},
                 {"stop_type", stop_type(outcome.finish)},
                 {"stopping_word", outcome.stop},
                 {"tokens_cached", outcome.figures.prompt_tokens + outcome.figures.generated_tokens},
                 {"timings", timings(outcome.figures)}};
    if (kept_) last["completion_probabilities"] = kept_probabilities();
    last = chosen_fields(last, shared_->fields);
    --shared_->left;
    if (shared_->events) {
      shared_->events->event(last);
      if (shared_->left == 0) shared_->events->end();
      return;
    }
    shared_->whole[index_] = std::move(last);
    if (shared_->left > 0) return;
    Json all = Json::array();
    for (Json& one : shared_->whole) all.push_back(std::move(one));
    shared_->lists.send(*shared_->reply, "application/json", shared_->is_array ? all : all[0]);
  }

 private:
  static Json told(const Served& served, const TokenReport& report, bool after_steps) {
    Json out = probabilities_json(served, report, true);
    return after_steps ? as_probabilities(std::move(out)) : out;
  }
  Json kept_probabilities() {
    kept_->end();
    const std::shared_ptr<const TokenReports> kept = std::exchange(kept_, nullptr);
    return shared_->lists.list(kept->size(), [served = served_, kept, after = after_steps_](std::size_t index) {
      return told(*served, kept->at(index), after);
    });
  }
  [[nodiscard]] Json partial(const std::string& text) const {
    return {{"index", index_}, {"content", text}, {"tokens", Json::array()}, {"stop", false}, {"id_slot", 0}};
  }
  void fail(const Refusal& refusal) {
    shared_->failed = true;
    if (!shared_->events || !shared_->events->begun()) return refuse(*shared_->reply, ErrorForm::OpenAi, refusal);
    shared_->events->event(error_object(ErrorForm::OpenAi, refusal));
    shared_->events->end();
  }

  std::shared_ptr<const Served> served_;
  std::shared_ptr<Shared> shared_;
  std::size_t index_;
  std::shared_ptr<TokenReports> kept_;
  Json settings_;
  bool return_tokens_, progress_, tells_probabilities_ = false, has_new_line_ = false, after_steps_ = false;
  std::string prompt_, text_;
  std::vector<Token> tokens_;
  std::size_t pieces_ = 0;
};

void answer(const Call& call, Generation base, std::vector<std::vector<Token>> prompts, bool is_array) {
  const auto n_probs =
      get_integer(call.body, "n_probs", 0, 1000).value_or(get_integer(call.body, "logprobs", 0, 1000).value_or(0));
  if (n_probs > 0) base.log_probabilities = {static_cast<std::uint32_t>(n_probs), after_steps(call.body)};
  base.tell_tokens = get_bool(call.body, "return_tokens").value_or(false);
  const std::size_t each = static_cast<std::size_t>(
      get_integer(call.body, "n_cmpl", 1, 1024).value_or(get_integer(call.body, "n", 1, 1024).value_or(1)));
  const std::size_t most = std::max<std::size_t>(call.served->service->places(), prompts.size());
  if (each * prompts.size() > most) {
    throw bad_input(fmt::format("\"n\": {} answers were asked for, but this server gives at most {} at a time",
                                each * prompts.size(), most));
  }
  const auto shared = std::make_shared<Shared>();
  shared->reply = call.reply;
  shared->fields = get_strings(call.body, "response_fields");
  // What is asked for but nothing that could be there: [""] of llama.vim's warm-up.
  if (find(call.body, "response_fields") != nullptr && shared->fields.empty() &&
      !call.body["response_fields"].empty()) {
    shared->fields.emplace_back("");
  }
  shared->left = prompts.size() * each;
  shared->whole.resize(shared->left);
  shared->is_array = is_array || each > 1;
  if (get_bool(call.body, "stream").value_or(false)) {
    shared->events = std::make_shared<EventStream>(call.reply, std::string(kEventStream), ":\n\n");
    shared->events->break_silence(get_number(call.body, "sse_ping_interval", -1, 86400).value_or(kPingSeconds));
  }
  std::vector<Generation> generations = generations_of(base, prompts, each);
  const auto kept = keep_reports(*call.served, generations, shared->events != nullptr);
  std::vector<Job> jobs;
  for (std::size_t i = 0; i < generations.size(); ++i) {
    auto listener = std::make_shared<CompletionAnswer>(call, generations[i], shared, i, kept[i]);
    jobs.push_back({std::move(generations[i]), std::move(listener)});
  }
  start(call, std::move(jobs));
}

}  // namespace

void native_completion(const Call& call) {
  Generation base = read_generation(*call.served, call.body, Dialect::Native);
  const Json* prompt = find(call.body, "prompt");
  std::vector<std::vector<Token>> prompts = read_prompts(*call.served, call.body);
  const bool is_array = prompts.size() > 1 ||
                        (prompt != nullptr && prompt->is_array() && prompt->size() == 1 && !(*prompt)[0].is_number());
  answer(call, std::move(base), std::move(prompts), is_array);
}

// Repository and files first, then what stands before and behind the gap; the oldest of the files are left out where
// they would not fit.
void native_infill(const Call& call) {
  const Served& served = *call.served;
  if (!served.can_fill_in()) throw NotOffered("this model has no tokens for filling in the middle");
  const Json& body = call.body;
  const auto before = get_string(body, "input_prefix");
  const auto behind = get_string(body, "input_suffix");
  if (!before) throw bad_input("\"input_prefix\" is required");
  if (!behind) throw bad_input("\"input_suffix\" is required");
  Generation base = read_generation(served, body, Dialect::Native);
  const tokenizer::SpecialTokens& special = served.tokenizer().special();
  const auto encode = [&](const std::string& text) {
    return served.encode(text, {.add_special = false, .parse_special = false, .goes_on = true});
  };
  std::vector<Token> gap;
  const auto put = [](std::vector<Token>& out, const std::vector<Token>& more) {
    out.insert(out.end(), more.begin(), more.end());
  };
  const std::size_t context = served.context();
  const std::int64_t wanted = base.most_tokens < 0 ? 256 : base.most_tokens;
  const std::size_t room = context - std::min<std::size_t>(context / 2, static_cast<std::size_t>(wanted));
  std::vector<Token> prefix = encode(*before);
  put(prefix, encode(get_string(body, "prompt").value_or("")));
  std::vector<Token> suffix = encode(*behind);
  const std::size_t most_prefix = room * 3 / 4;
  if (prefix.size() > most_prefix)
    prefix.erase(prefix.begin(), prefix.end() - static_cast<std::ptrdiff_t>(most_prefix));
  suffix.resize(std::min(suffix.size(), room / 8));
  gap.push_back(special.fim_prefix);
  put(gap, prefix);
  gap.push_back(special.fim_suffix);
  put(gap, suffix);
  gap.push_back(special.fim_middle);

  std::vector<Token> tokens;
  if (special.add_bos && special.bos >= 0) tokens.push_back(special.bos);
  const Json* extra = find(body, "input_extra");
  if (extra != nullptr && extra->is_array() && special.fim_separator >= 0) {
    std::vector<Token> files;
    if (special.fim_repository >= 0) {
      files.push_back(special.fim_repository);
      put(files, encode("myproject\n"));
    }
    std::vector<std::vector<Token>> chunks;
    std::size_t left = room > gap.size() + files.size() + 1 ? room - gap.size() - files.size() - 1 : 0;
    for (auto at = extra->rbegin(); at != extra->rend(); ++at) {
      std::vector<Token> chunk = {special.fim_separator};
      put(chunk, encode(get_string(*at, "filename").value_or("tmp") + "\n"));
      put(chunk, encode(get_string(*at, "text").value_or("")));
      if (chunk.size() > left) break;
      left -= chunk.size();
      chunks.push_back(std::move(chunk));
    }
    put(tokens, files);
    for (auto at = chunks.rbegin(); at != chunks.rend(); ++at) put(tokens, *at);
    if (!chunks.empty()) {
      tokens.push_back(special.fim_separator);
      put(tokens, encode("filename\n"));
    }
  }
  put(tokens, gap);
  answer(call, std::move(base), {std::move(tokens)}, false);
}

// A piece takes up to a few hundred bytes, as JSON and as text.
void require_tellable(std::size_t tokens) {
  constexpr std::size_t kMost = std::size_t{1} << 17;
  if (tokens > kMost)
    throw TooLarge(fmt::format("{} tokens are more than the {} that are told in pieces", tokens, kMost));
}

Json pieces_json(const tokenizer::Tokenizer& tokenizer, std::span<const Token> tokens) {
  require_tellable(tokens.size());
  Json pieces = Json::array();
  for (const Token token : tokens) {
    const std::string piece = tokenizer.piece(token, true);
    Json shown = piece;
    std::size_t at = 0;
    while (at < piece.size()) {
      const std::size_t length = utf8_length(std::string_view(piece).substr(at));
      if (length == 0) break;
      at += length;
    }
    if (at < piece.size()) {  // part of a character: its bytes
      shown = Json::array();
      for (const char c : piece) shown.push_back(static_cast<unsigned char>(c));
    }
    pieces.push_back({{"id", token}, {"piece", std::move(shown)}});
  }
  return pieces;
}

void native_tokenize(const Call& call) {
  const tokenizer::Tokenizer& tokenizer = call.served->tokenizer();
  const Json* content = find(call.body, "content");
  if (content == nullptr) content = find(call.body, "text");
  if (content == nullptr) content = find(call.body, "prompt");
  if (content != nullptr && !content->is_string()) throw bad_input("\"content\" must be a string");
  const std::vector<Token> tokens =
      call.served->encode(content == nullptr ? std::string() : content->get<std::string>(),
                          {.add_special = get_bool(call.body, "add_special").value_or(false),
                           .parse_special = get_bool(call.body, "parse_special").value_or(true)});
  if (!get_bool(call.body, "with_pieces").value_or(false)) return call.send({{"tokens", tokens}});
  call.send({{"tokens", pieces_json(tokenizer, tokens)}});
}

void native_detokenize(const Call& call) {
  std::vector<Token> tokens;
  const char* field = find(call.body, "tokens") != nullptr ? "tokens" : "ids";
  if (const Json* ids = find(call.body, field)) tokens = tokens_of(call.served->tokenizer(), *ids, field);
  require_tellable(tokens.size());
  call.send({{"content", call.served->tokenizer().decode(tokens, true)}});
}

void native_rerank(const Call& /*call*/) { throw NotOffered("this model does not rank documents"); }

void native_template(const Call& call) { call.send({{"prompt", render_chat(*call.served, call.body)}}); }

}  // namespace loadline::serve

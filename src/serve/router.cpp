#include "serve/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <functional>

#include "base/error.h"
#include "base/text.h"
#include "serve/page.h"

namespace loadline::serve {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kKoboldCheck = "/api/extra/generate/check";  // tells what is being answered

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// Browsers need these on every reply, refusals too.
void allow_origins(const Request& request, Reply& reply) {
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return;
  reply.set_header("Access-Control-Allow-Origin", "*");
  if (request.method != "OPTIONS") return;
  reply.set_header("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS");
  // What is asked for, where it is made of names alone; and those that clients send without asking.
  std::string headers =
      "Authorization, Content-Type, X-Api-Key, anthropic-version, anthropic-beta, "
      "anthropic-dangerous-direct-browser-access, x-stainless-lang, x-stainless-package-version, x-stainless-os, "
      "x-stainless-arch, x-stainless-runtime, x-stainless-runtime-version, x-stainless-retry-count, "
      "x-stainless-timeout, x-stainless-helper-method, x-stainless-async, x-session-id, x-conversation-id, "
      "session-id, openai-beta, *";
  const std::string_view asked = request.header("access-control-request-headers");
  const bool names = std::ranges::all_of(
      asked, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == ',' || c == ' '; });
  if (!asked.empty() && asked.size() < 2048 && names) headers = fmt::format("{}, {}", asked, headers);
  reply.set_header("Access-Control-Allow-Headers", headers);
  reply.set_header("Access-Control-Max-Age", "86400");
  if (request.header("access-control-request-private-network") == "true") {
    reply.set_header("Access-Control-Allow-Private-Network", "true");
  }
}

void refuse_changes(const Call& /*call*/) { throw NotOffered("this server does not change the models that there are"); }

// POST, by plain path.
struct Post {
  std::string_view path;
  void (*function)(const Call&);
};
constexpr std::array kPosts = {
    Post{"/chat/completions", openai_chat},
    Post{"/v1/completions", openai_completion},
    Post{"/responses", openai_responses},
    Post{"/responses/input_tokens", openai_count},
    Post{"/chat/completions/input_tokens", openai_count},
    Post{"/embeddings", openai_embeddings},
    Post{"/embedding", native_embedding},
    Post{"/messages", anthropic_messages},
    Post{"/messages/count_tokens", anthropic_count},
    Post{"/completion", native_completion},
    Post{"/completions", native_completion},
    Post{"/infill", native_infill},
    Post{"/tokenize", native_tokenize},
    Post{"/detokenize", native_detokenize},
    Post{"/apply-template", native_template},
    Post{"/rerank", native_rerank},
    Post{"/reranking", native_rerank},
    Post{"/api/chat", ollama_chat},
    Post{"/api/generate", ollama_generate},
    Post{"/api/show", ollama_show},
    Post{"/api/pull", ollama_pull},
    Post{"/api/embed", ollama_embed},
    Post{"/api/embeddings", ollama_embedding},
    Post{"/api/push", refuse_changes},
    Post{"/api/create", refuse_changes},
    Post{"/api/copy", refuse_changes},
    Post{"/api/v1/generate", kobold_generate},
    Post{"/api/latest/generate", kobold_generate},
    Post{"/api/extra/generate/stream", kobold_stream},
    Post{"/api/extra/generate/check", kobold_check},
    Post{"/api/extra/abort", kobold_abort},
    Post{"/api/extra/embeddings", openai_embeddings},
    Post{"/api/extra/last_logprobs", kobold_probabilities},
    Post{"/api/extra/tokencount", kobold_count},
    Post{"/api/extra/tokenize", kobold_count},
    Post{"/api/extra/detokenize", kobold_detokenize},
    Post{"/api/extra/json_to_grammar", kobold_grammar},
};
constexpr std::array kGets = std::to_array<std::string_view>(
    {"/", "/health", "/models", "/props", "/slots", "/metrics", "/api/version", "/api/tags", "/api/ps",
     "/api/loadline/state", "/api/loadline/events", "/api/loadline/models", "/api/loadline/about",
     "/api/loadline/cache", "/api/loadline/plan"});
constexpr std::array kOtherPosts =
    std::to_array<std::string_view>({"/api/loadline/budget", "/api/loadline/cancel", "/api/loadline/pin",
                                     "/api/loadline/plan", "/api/loadline/prompt"});

void send_page(const PageFile& file, Reply& reply) {
  reply.set_header("Content-Security-Policy", std::string(page_policy()));
  reply.set_header("X-Content-Type-Options", "nosniff");
  reply.set_header("Referrer-Policy", "no-referrer");
  reply.set_header("Cache-Control", "no-cache");
  if (file.gzip) reply.set_header("Content-Encoding", "gzip");
  reply.send(200, file.type, std::string(file.bytes));
}

// The page that asks, where one does, must be this server's.
bool is_own_origin(const Request& request) {
  const std::string_view site = request.header("sec-fetch-site");
  if (!site.empty() && site != "same-origin" && site != "none") return false;
  std::string_view origin = request.header("origin");
  if (origin.empty()) return true;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (origin.starts_with(scheme)) return origin.substr(scheme.size()) == request.header("host");
  }
  return false;
}

void require_own_origin(const Request& request) {
  if (!is_own_origin(request)) throw Forbidden("pages of other origins may not change what this server holds");
}

const Post* find_post(std::string_view path) {
  const auto found = std::ranges::find(kPosts, path, &Post::path);
  return found == kPosts.end() ? nullptr : &*found;
}

// As the header "Allow" has them. Empty: there is nothing at this path.
std::string methods_of(std::string_view path) {
  const bool gets = std::ranges::find(kGets, path) != kGets.end() || path == kKoboldCheck;
  const bool posts = find_post(path) != nullptr || path.starts_with("/slots/") ||
                     std::ranges::find(kOtherPosts, path) != kOtherPosts.end();
  if (gets && posts) return "GET, HEAD, POST";
  return gets ? "GET, HEAD" : posts ? "POST" : "";
}

}  // namespace

bool same_key(std::string_view given, std::string_view key) {
  std::size_t difference = given.size() ^ key.size();
  for (std::size_t i = 0; i < key.size(); ++i) {
    const char other = given.empty() ? '\0' : given[i % given.size()];
    difference |= static_cast<std::size_t>(static_cast<unsigned char>(key[i]) ^ static_cast<unsigned char>(other));
  }
  return difference == 0;
}

std::string_view plain_path(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  bool versioned = false;
  while (path == "/v1" || path.starts_with("/v1/")) {
    path.remove_prefix(3);
    versioned = true;
  }
  // The one path that means different things with and without: OpenAI's, and llama.cpp's own.
  if (versioned && path == "/completions") return "/v1/completions";
  // A base address with "/api" at its end, for clients that put "/v1" or "/api" behind it.
  for (const std::string_view known : {"/v1/chat/completions", "/v1/completions", "/v1/models"}) {
    if (path.starts_with("/api") && path.substr(4) == known) return plain_path(known);
  }
  while (path.starts_with("/api/api/")) path.remove_prefix(4);
  return path.empty() ? "/" : path;
}

ErrorForm error_form_of(std::string_view path) {
  if (path.starts_with("/api/v1") || path.starts_with("/api/extra") || path.starts_with("/api/latest")) {
    return ErrorForm::Kobold;
  }
  if (path.starts_with("/api/") && !path.starts_with("/api/loadline")) return ErrorForm::Ollama;
  if (plain_path(path).starts_with("/messages")) return ErrorForm::Anthropic;
  return ErrorForm::OpenAi;
}

std::string refusal_text(std::string_view path, int status, std::string_view why) {
  const std::string type = status == 413   ? "request_too_large"
                           : status == 503 ? "unavailable_error"
                                           : "invalid_request_error";
  return dump(error_object(error_form_of(path), {status, type, std::string(why), Json::object()}));
}

Router::Router(Models& models, RouterOptions options) : models_(models), options_(std::move(options)) {}

bool Router::find_key(const Request& request, std::string& key) const {
  std::string_view given = request.header("authorization");
  if (given.size() >= 7 && (given.starts_with("Bearer ") || given.starts_with("bearer "))) given.remove_prefix(7);
  if (given.empty()) given = request.header("x-api-key");
  if (given.empty()) given = request.header("api-key");
  key = std::string(given.substr(0, 256));
  if (options_.keys.empty()) return true;
  bool known = false;
  for (const std::string& one : options_.keys) known = same_key(given, one) || known;
  return known;
}

// A page that another site's name led to this machine must not speak for its user.
bool Router::is_known_host(const Request& request) const {
  if (!options_.loopback) return true;
  std::string_view host = request.header("host");
  if (host.empty()) return true;
  if (host.starts_with('[')) return true;  // an IPv6 address
  const std::string name = lower_case(host.substr(0, host.find(':')));
  const bool address = name.find_first_not_of("0123456789.") == std::string::npos;
  return address || name == "localhost" || name == options_.machine || name.ends_with(".localhost") ||
         name.ends_with(".local") || name.ends_with(".internal");
}

std::shared_ptr<const Served> Router::served_for(std::string_view name) const {
  auto served = models_.find(name);
  if (served == nullptr && name.empty() && models_.is_folder()) throw Busy("no model is loaded");
  if (served == nullptr) throw NotFound(fmt::format("model '{}' not found", printable(name)));
  return served;
}

// Changes of what is loaded: only for pages of this server's own, and for programs, which name no origin.
bool Router::answer_change(const Asked& asked) const {
  using Changer = void (*)(const Call&, Worker&);
  static constexpr std::array<std::pair<std::string_view, Changer>, 3> kChanges = {{
      {"/api/loadline/budget", change_budget},
      {"/api/loadline/cancel", cancel_change},
      {"/api/loadline/pin", pin_in_cache},
  }};
  const auto found = std::ranges::find(kChanges, asked.path, &std::pair<std::string_view, Changer>::first);
  if (found == kChanges.end() || asked.request.method != "POST" || options_.worker == nullptr) return false;
  require_own_origin(asked.request);
  if (asked.path == "/api/loadline/cancel") models_.cancel();
  found->second(call_of_loaded(asked), *options_.worker);
  return true;
}

void Router::handle(Request given, const std::shared_ptr<Reply>& reply) const {
  const auto kept = std::make_shared<const Request>(std::move(given));
  const Request& request = *kept;
  const ErrorForm form = error_form_of(request.path);
  try {
    allow_origins(request, *reply);
    if (!is_known_host(request)) {
      return refuse(*reply, form, {403, "permission_error", "this server answers to its own addresses only", {}});
    }
    if (request.method == "OPTIONS") return reply->send(204, "", "");
    Asked asked{kept, request, plain_path(request.path), reply, form, {}};
    const bool open = asked.path == "/health" || asked.path == "/models" || asked.path == "/" ||
                      (request.method != "POST" && form == ErrorForm::Kobold && asked.path != kKoboldCheck) ||
                      (request.method != "POST" && find_page_file(asked.path) != nullptr);
    if (!find_key(request, asked.key) && !open) {
      return refuse(*reply, form, {401, "authentication_error", "Invalid API Key", {}});
    }
    answer(asked);
  } catch (const std::exception& error) {
    refuse(*reply, form, refusal_of(error));
  }
}

void Router::answer(const Asked& asked) const {
  const std::string& method = asked.request.method;
  const bool reads = method == "GET" || method == "HEAD";
  if (reads && asked.path == "/") return answer_root(asked);
  if (const PageFile* file = reads ? find_page_file(asked.path) : nullptr) return send_page(*file, *asked.reply);
  if (const std::string why = models_.loading(); !why.empty()) {
    return refuse(*asked.reply, asked.form, {503, "unavailable_error", why, {}});
  }
  const Post* post = find_post(asked.path);
  if (answer_models(asked)) return;
  if (method == "POST" && post != nullptr) return answer_with_model(asked, post->function);
  if (method == "POST" && asked.path.starts_with("/slots/")) {
    const std::string id(asked.path.substr(std::string_view("/slots/").size()));
    return answer_with_model(asked, [id](const Call& call) { native_slot(call, id); });
  }
  if (asked.path == "/api/loadline/plan" && method == "POST" && options_.worker != nullptr) {
    return what_if(call_of_loaded(asked), *options_.worker);
  }
  if (asked.path == "/api/loadline/prompt" && method == "POST") return look_at_prompt(call_of_loaded(asked));
  if (answer_change(asked)) return;
  if (reads && answer_get(asked)) return;
  if (asked.path == "/api/delete" || asked.path.starts_with("/api/blobs/")) {
    throw NotOffered("this server does not change the models that there are");
  }
  if (const std::string methods = methods_of(asked.path); !methods.empty()) {
    asked.reply->set_header("Allow", methods);
    return refuse(*asked.reply, asked.form,
                  {405, "invalid_request_error", fmt::format("this path takes {}", methods), {}});
  }
  refuse(*asked.reply, asked.form, {404, "not_found_error", "File Not Found", {}});
}

void Router::answer_root(const Asked& asked) const {
  const bool html = asked.request.header("accept").find("text/html") != std::string_view::npos;
  const PageFile* page = find_page_file("/");
  if (html && page != nullptr) return send_page(*page, *asked.reply);
  asked.reply->send(200, "text/plain; charset=utf-8", "Ollama is running");  // what Ollama's clients look for
}

bool Router::answer_get(const Asked& asked) const {
  Reply& reply = *asked.reply;
  Json out;
  if (asked.path == "/metrics") {
    reply.send(200, "text/plain; version=0.0.4; charset=utf-8", native_metrics(model_for("")));
    return true;
  }
  if (asked.path == kKoboldCheck) {
    kobold_check(call_of_loaded(asked));
    return true;
  }
  if (answer_loadline(asked)) return true;
  if (!answer_probe(asked, out)) return false;
  if (asked.form == ErrorForm::Kobold) reply.set_header("Cache-Control", "no-store");
  reply.send(200, kJson, dump(out));
  return true;
}

bool Router::answer_loadline(const Asked& asked) const {
  if (asked.path == "/api/loadline/models") {
    asked.reply->send(200, kJson, dump(models_json(models_)));
  } else if (asked.path == "/api/loadline/about") {
    asked.reply->send(200, kJson, dump(about_json(models_)));
  } else if (asked.path == "/api/loadline/cache") {
    look_at_cache(call_of_loaded(asked));
  } else if (asked.path == "/api/loadline/plan") {
    asked.reply->send(200, kJson, plan_json(model_for("")));
  } else if (asked.path == "/api/loadline/state") {
    const auto served = models_.find("");
    asked.reply->send(200, kJson, dump(served != nullptr ? state_json(*served) : empty_state_json()));
  } else if (asked.path == "/api/loadline/events") {
    stream_state([this] { return models_.find(""); }, asked.reply, 0.25);
  } else {
    return false;
  }
  return true;
}

bool Router::answer_probe(const Asked& asked, Json& out) const {
  const std::string_view path = asked.path;
  // Those that know several models say which in the query.
  const std::string wanted = models_.is_folder() ? query_value(asked.request.query, "model") : std::string();
  if (path == "/health") {
    const auto served = models_.find("");
    out = served != nullptr ? health_json(*served) : Json{{"status", "ok"}};
  } else if (path == "/models" || path == "/api/v0/models") {
    out = list_of_models();
  } else if (path.starts_with("/models/")) {
    const std::string name(path.substr(8));
    const auto served = models_.find(name);
    const std::vector<Listed> all = models_.list();
    const auto listed = std::ranges::find_if(
        all, [&](const Listed& one) { return plain_name(one.name) == plain_name(name) && one.unusable.empty(); });
    out = served == nullptr && listed != all.end() ? model_entry(*listed) : model_entry(model_for(name));
  } else if (path == "/props") {
    out = native_props(model_for(wanted));
  } else if (path == "/slots") {
    out = native_slots(model_for(wanted));
    const bool all_busy = std::ranges::all_of(out, [](const Json& one) { return one["is_processing"] == true; });
    if (asked.request.query.find("fail_on_no_slot=1") != std::string::npos && all_busy) {
      throw Busy("every place is taken");
    }
  } else if (path == "/api/version") {
    out = {{"version", "0.21.0"}};  // of Ollama, whose clients look for features by it
  } else if (path == "/api/tags") {
    out = {{"models", list_of_models()["models"]}};
  } else if (path == "/api/ps") {
    Json list = Json::array();
    for (const auto& one : models_.loaded()) list.push_back(ollama_process(*one, models_.left(*one)));
    out = {{"models", std::move(list)}};
  } else if (path == "/internal/model/info") {
    out = {{"model_name", model_for("").name}, {"lora_names", Json::array()}};
  } else if (path == "/lora-adapters") {
    out = Json::array();
  } else {
    return kobold_probe(model_for(""), path, !options_.keys.empty(), out);
  }
  return true;
}

Call Router::make_call(const Asked& asked, std::string& wanted) const {
  Call call;
  call.body = parse_body(asked.request.body);
  auto name = get_string(call.body, "model");
  if (!name && asked.form == ErrorForm::Ollama) name = get_string(call.body, "name");
  wanted = name.value_or(query_value(asked.request.query, "model"));
  call.reply = asked.reply;
  call.form = asked.form;
  call.key = asked.key;
  call.client = asked.request.client;
  call.query = asked.request.query;
  return call;
}

// For what looks at a model and loads none.
Call Router::call_of_loaded(const Asked& asked) const {
  std::string wanted;
  Call call = make_call(asked, wanted);
  call.served = served_for(wanted);
  return call;
}

void Router::answer_with_model(const Asked& asked, const Function& function) const {
  std::string wanted;
  Call call = make_call(asked, wanted);
  give_model(asked, std::move(call), wanted, function, 0);
}

void Router::give_model(const Asked& asked, Call call, const std::string& wanted, const Function& function,
                        int tries) const {
  call.served = models_.find(wanted);
  if (call.served != nullptr) {
    // Ollama's clients depend on being told that there is no such model; others make names up.
    if (asked.form == ErrorForm::Ollama && !wanted.empty() && !call.served->is_called(wanted)) {
      throw NotFound(fmt::format("model '{}' not found", printable(wanted)));
    }
    models_.use(*call.served);
    if (asked.form == ErrorForm::Ollama) models_.keep(*call.served, ollama_keep_alive(call.body));
    return function(call);
  }
  if (!models_.is_folder()) throw NotFound(fmt::format("model '{}' not found", printable(wanted)));
  if (query_value(asked.request.query, "autoload") == "false") {
    throw bad_input(fmt::format("model '{}' is not loaded", printable(wanted)));
  }
  if (asked.form == ErrorForm::Ollama && ollama_unloads(call.body)) return ollama_is_unloaded(call);
  constexpr int kMostTries = 3;  // others may need its place before it has answered
  if (tries >= kMostTries) throw Busy("the model's place was needed for others");
  models_.load(wanted, [this, asked, call, wanted, function, tries](const std::exception* problem) {
    try {
      if (problem != nullptr) return refuse(*asked.reply, asked.form, refusal_of(*problem));
      give_model(asked, call, wanted, function, tries + 1);
    } catch (const std::exception& error) {
      refuse(*asked.reply, asked.form, refusal_of(error));
    }
  });
}

Json Router::list_of_models() const {
  Json data = Json::array();
  Json tags = Json::array();
  const auto all = models_.loaded();
  for (const auto& one : all) {
    data.push_back(model_entry(*one));
    tags.push_back(ollama_tag(*one));
  }
  for (const Listed& one : models_.list()) {
    const auto same = [&](const auto& served) { return served->is_called(one.name); };
    if (!one.unusable.empty() || std::ranges::any_of(all, same)) continue;
    data.push_back(model_entry(one));
    tags.push_back(ollama_tag(one));
  }
  const Json first = data.empty() ? Json() : data.front()["id"];
  const Json last = data.empty() ? Json() : data.back()["id"];
  return {{"object", "list"},  {"data", std::move(data)}, {"models", std::move(tags)},
          {"has_more", false}, {"first_id", first},       {"last_id", last}};
}

// llama.cpp's router: POST /models/load and /models/unload.
void Router::load_or_unload(const Asked& asked) const {
  const Json body = parse_body(asked.request.body);
  const auto name = get_string(body, "model");
  if (!name || name->empty()) throw wrong_field("model", "the name of a model");
  if (!models_.is_folder()) throw NotOffered("this server has one model, which stays");
  const auto then = [reply = asked.reply, form = asked.form](const std::exception* problem) {
    if (problem != nullptr) return refuse(*reply, form, refusal_of(*problem));
    reply->send(200, kJson, dump({{"success", true}}));
  };
  asked.path == "/models/load" ? models_.load(*name, then) : models_.unload(*name, then);
}

// What is about models and not about one that is loaded.
bool Router::answer_models(const Asked& asked) const {
  const std::string& method = asked.request.method;
  if (method == "POST" && (asked.path == "/models/load" || asked.path == "/models/unload")) {
    require_own_origin(asked.request);
    load_or_unload(asked);
    return true;
  }
  if (method == "DELETE" && asked.path == "/models") {
    throw NotOffered("this server does not change the models that there are");
  }
  if (!models_.is_folder()) return false;
  if (method == "POST" && (asked.path == "/api/show" || asked.path == "/api/pull")) {
    std::string wanted;
    const Call call = make_call(asked, wanted);
    if (models_.find(wanted) != nullptr) return false;
    for (const Listed& one : models_.list()) {
      const auto same = [&](const std::string& name) { return plain_name(name) == plain_name(wanted); };
      if (!same(one.name) && std::ranges::none_of(one.aliases, same)) continue;
      asked.path == "/api/show" ? ollama_show(call, one) : ollama_pull(call);
      return true;
    }
    throw NotFound(fmt::format("model '{}' not found", printable(wanted)));
  }
  return false;
}

}  // namespace loadline::serve

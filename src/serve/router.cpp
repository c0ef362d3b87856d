#include "serve/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>

#include "base/error.h"
#include "base/text.h"
#include "serve/page.h"

namespace loadline::serve {
namespace {

constexpr std::string_view kJson = "application/json";

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
    Post{"/embedding", openai_embeddings},
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
    Post{"/api/embeddings", ollama_embed},
    Post{"/api/push", refuse_changes},
    Post{"/api/create", refuse_changes},
    Post{"/api/copy", refuse_changes},
    Post{"/api/v1/generate", kobold_generate},
    Post{"/api/latest/generate", kobold_generate},
    Post{"/api/extra/generate/stream", kobold_stream},
    Post{"/api/extra/generate/check", kobold_check},
    Post{"/api/extra/abort", kobold_abort},
    Post{"/api/extra/last_logprobs", kobold_probabilities},
    Post{"/api/extra/tokencount", kobold_count},
    Post{"/api/extra/tokenize", kobold_count},
    Post{"/api/extra/detokenize", kobold_detokenize},
};
constexpr std::array kGets =
    std::to_array<std::string_view>({"/", "/health", "/models", "/props", "/slots", "/metrics", "/api/version",
                                     "/api/tags", "/api/ps", "/api/loadline/state", "/api/loadline/events"});

void send_page(const PageFile& file, Reply& reply) {
  reply.set_header("Content-Security-Policy", std::string(page_policy()));
  reply.set_header("X-Content-Type-Options", "nosniff");
  reply.set_header("Referrer-Policy", "no-referrer");
  reply.set_header("Cache-Control", "no-cache");
  if (file.gzip) reply.set_header("Content-Encoding", "gzip");
  reply.send(200, file.type, std::string(file.bytes));
}

const Post* find_post(std::string_view path) {
  const auto found = std::ranges::find(kPosts, path, &Post::path);
  return found == kPosts.end() ? nullptr : &*found;
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

Router::Router(const Models& models, RouterOptions options) : models_(models), options_(std::move(options)) {}

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
  host = host.substr(0, host.find(':'));
  const bool address = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return address || host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local") ||
         host.ends_with(".internal");
}

const Served& Router::model_for(std::string_view name) const {
  const Served* served = models_.find(name);
  if (served == nullptr) throw NotFound(fmt::format("model '{}' not found", printable(name)));
  return *served;
}

void Router::handle(const Request& request, const std::shared_ptr<Reply>& reply) const {
  const ErrorForm form = error_form_of(request.path);
  try {
    allow_origins(request, *reply);
    if (!is_known_host(request)) {
      return refuse(*reply, form, {403, "permission_error", "this server answers to its own addresses only", {}});
    }
    if (request.method == "OPTIONS") return reply->send(204, "", "");
    Asked asked{request, plain_path(request.path), reply, form, {}};
    const bool open = asked.path == "/health" || asked.path == "/models" || asked.path == "/" ||
                      (request.method != "POST" && form == ErrorForm::Kobold) ||
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
  if (method == "POST" && post != nullptr) return answer_post(asked, post->function);
  if (asked.path == "/api/loadline/plan" && method == "POST" && options_.worker != nullptr) {
    return what_if(make_call(asked), *options_.worker);
  }
  if (reads && answer_get(asked)) return;
  if (asked.path == "/api/delete" || asked.path.starts_with("/api/blobs/")) {
    throw NotOffered("this server does not change the models that there are");
  }
  const bool known = post != nullptr || std::ranges::find(kGets, asked.path) != kGets.end();
  if (known) {
    return refuse(*asked.reply, asked.form, {405, "invalid_request_error", "this path does not take this method", {}});
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
  if (asked.path == "/api/extra/generate/check") {
    kobold_check(make_call(asked));
    return true;
  }
  if (answer_loadline(asked)) return true;
  if (!answer_probe(asked, out)) return false;
  if (asked.form == ErrorForm::Kobold) reply.set_header("Cache-Control", "no-store");
  reply.send(200, kJson, dump(out));
  return true;
}

bool Router::answer_loadline(const Asked& asked) const {
  if (asked.path == "/api/loadline/plan") {
    asked.reply->send(200, kJson, plan_json(model_for("")));
  } else if (asked.path == "/api/loadline/state") {
    asked.reply->send(200, kJson, dump(state_json(model_for(""))));
  } else if (asked.path == "/api/loadline/events") {
    stream_state(model_for(""), asked.reply, 0.25);
  } else {
    return false;
  }
  return true;
}

bool Router::answer_probe(const Asked& asked, Json& out) const {
  const std::string_view path = asked.path;
  const auto of_all = [&](Json (*function)(const Served&)) {
    Json list = Json::array();
    for (const Served* one : models_.loaded()) list.push_back(function(*one));
    return list;
  };
  if (path == "/health") {
    out = health_json(model_for(""));
  } else if (path == "/models" || path == "/api/v0/models") {
    Json data = of_all(model_entry);
    const Json first = data.empty() ? Json() : data.front()["id"];
    const Json last = data.empty() ? Json() : data.back()["id"];
    out = {{"object", "list"}, {"data", std::move(data)}, {"models", of_all(ollama_tag)}, {"has_more", false}};
    out["first_id"] = first;
    out["last_id"] = last;
  } else if (path.starts_with("/models/")) {
    out = model_entry(model_for(path.substr(8)));
  } else if (path == "/props") {
    out = native_props(model_for(""));
  } else if (path == "/slots") {
    out = native_slots(model_for(""));
    const bool all_busy = std::ranges::all_of(out, [](const Json& one) { return one["is_processing"] == true; });
    if (asked.request.query.find("fail_on_no_slot=1") != std::string::npos && all_busy) {
      throw Busy("every place is taken");
    }
  } else if (path == "/api/version") {
    out = {{"version", "0.21.0"}};  // of Ollama, whose clients look for features by it
  } else if (path == "/api/tags") {
    out = {{"models", of_all(ollama_tag)}};
  } else if (path == "/api/ps") {
    out = {{"models", of_all(ollama_process)}};
  } else if (path == "/internal/model/info") {
    out = {{"model_name", model_for("").name}, {"lora_names", Json::array()}};
  } else if (path == "/lora-adapters") {
    out = Json::array();
  } else {
    return kobold_probe(model_for(""), path, !options_.keys.empty(), out);
  }
  return true;
}

Call Router::make_call(const Asked& asked) const {
  Call call;
  call.body = parse_body(asked.request.body);
  const Json* name = find(call.body, "model");
  if (name == nullptr && asked.form == ErrorForm::Ollama) name = find(call.body, "name");
  const std::string wanted = name != nullptr && name->is_string() ? name->get<std::string>() : std::string();
  call.served = &model_for(wanted);
  // Ollama's clients depend on being told that there is no such model; others make names up.
  if (asked.form == ErrorForm::Ollama && !wanted.empty() && !call.served->is_called(wanted)) {
    throw NotFound(fmt::format("model '{}' not found", printable(wanted)));
  }
  call.reply = asked.reply;
  call.form = asked.form;
  call.key = asked.key;
  call.query = asked.request.query;
  return call;
}

void Router::answer_post(const Asked& asked, void (*function)(const Call&)) const { function(make_call(asked)); }

}  // namespace loadline::serve

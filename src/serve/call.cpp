#include "serve/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <random>

namespace loadline::serve {
namespace {

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

std::string_view kobold_type(int status) {
  switch (status) {
    case 401: return "unauthorized";
    case 503: return "service_unavailable";
    default: return "bad_input";
  }
}

}  // namespace

TooLong::TooLong(std::size_t tokens_in, std::size_t context_in)
    : Error(ErrorCode::BadInput,
            fmt::format("request has {} tokens, which exceeds the maximum context length of {} tokens", tokens_in,
                        context_in)),
      tokens(tokens_in),
      context(context_in) {}

Json error_object(ErrorForm form, const Refusal& refusal) {
  switch (form) {
    case ErrorForm::Ollama: return {{"error", refusal.message}};
    case ErrorForm::Anthropic:
      return {{"type", "error"}, {"error", {{"type", anthropic_type(refusal.status)}, {"message", refusal.message}}}};
    case ErrorForm::Kobold: {
      Json detail = {{"msg", refusal.message}, {"type", kobold_type(refusal.status)}};
      if (refusal.status == 401) detail["error"] = "Unauthorized";
      return {{"detail", std::move(detail)}};
    }
    case ErrorForm::OpenAi: break;
  }
  Json error = {{"message", refusal.message}, {"type", refusal.type}, {"param", nullptr}, {"code", refusal.status}};
  for (const auto& [name, value] : refusal.more.items()) error[name] = value;
  return {{"error", std::move(error)}};
}

Refusal refusal_of(const std::exception& error) {
  if (const auto* too_long = dynamic_cast<const TooLong*>(&error)) {
    return {400,
            "exceed_context_size_error",
            too_long->what(),
            {{"param", "messages"}, {"n_prompt_tokens", too_long->tokens}, {"n_ctx", too_long->context}}};
  }
  if (dynamic_cast<const Busy*>(&error) != nullptr) return {503, "unavailable_error", error.what()};
  if (dynamic_cast<const NotFound*>(&error) != nullptr) return {404, "not_found_error", error.what()};
  if (dynamic_cast<const Forbidden*>(&error) != nullptr) return {403, "permission_error", error.what()};
  if (dynamic_cast<const NotOffered*>(&error) != nullptr) return {501, "not_supported_error", error.what()};
  if (const auto* ours = dynamic_cast<const Error*>(&error)) {
    const std::string text =
        ours->hint().empty() ? std::string(ours->what()) : fmt::format("{} ({})", ours->what(), ours->hint());
    if (ours->code() == ErrorCode::BadInput) return {400, "invalid_request_error", text};
    // A request that is too large, or a plan that is.
    if (dynamic_cast<const TooLarge*>(&error) != nullptr) return {413, "request_too_large", text};
    if (ours->code() == ErrorCode::DoesNotFit) {
      return {400, "does_not_fit", text, {{"hint", ours->hint()}}};
    }
    return {500, "server_error", text};
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return {503, "unavailable_error", "out of memory"};
  return {500, "server_error", error.what()};
}

void refuse(Reply& reply, ErrorForm form, const Refusal& refusal) {
  if (refusal.status == 503 || refusal.status == 429) reply.set_header("Retry-After", "1");
  if (refusal.status == 501 || refusal.status == 500) reply.set_header("x-should-retry", "false");
  reply.send(refusal.status, "application/json", dump(error_object(form, refusal)));
}

std::string query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view part = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = part.find('=');
    if (part.substr(0, equals) != name || equals == std::string_view::npos) continue;
    std::string out;
    for (std::size_t i = equals + 1; i < part.size(); ++i) {
      unsigned byte = 0;
      const char* hex = part.data() + i + 1;
      if (part[i] == '%' && i + 2 < part.size() && std::from_chars(hex, hex + 2, byte, 16).ptr == hex + 2) {
        out += static_cast<char>(byte);
        i += 2;
      } else {
        out += part[i] == '+' ? ' ' : part[i];
      }
    }
    return out;
  }
  return {};
}

void Call::send(const Json& json, int status) const { reply->send(status, "application/json", dump(json)); }

namespace {

std::optional<Service::Id> submitted(Service& service, Job job) {
  try {
    return service.submit(std::move(job.generation), std::move(job.listener));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::DoesNotFit) throw TooLarge(error.what());
    throw;
  }
}

}  // namespace

std::vector<Generation> generations_of(const Generation& base, const std::vector<std::vector<Token>>& prompts,
                                       std::size_t each) {
  std::vector<Generation> all(prompts.size() * each, base);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].prompt = prompts[i / each];
    if (base.sampling.seed) all[i].sampling.seed = *base.sampling.seed + i % each;
  }
  return all;
}

std::vector<Service::Id> start(const Call& call, std::vector<Job> jobs) {
  Service& service = *call.served->service;
  std::vector<Service::Id> ids;
  const auto take_back = [&] {
    for (const Service::Id id : ids) service.cancel(id);
  };
  try {
    for (Job& job : jobs) {
      if (job.generation.prompt.size() > service.context()) {
        throw TooLong(job.generation.prompt.size(), service.context());
      }
      job.generation.key = call.key;
      job.generation.keeps = call.served;
      const auto id = submitted(service, std::move(job));
      if (!id) throw Busy("the server is busy: its queue is full");
      ids.push_back(*id);
    }
  } catch (...) {
    take_back();
    throw;
  }
  call.reply->when_gone([served = call.served, ids] {
    for (const Service::Id id : ids) served->service->cancel(id);
  });
  return ids;
}

std::optional<Refusal> failure_of(const Outcome& outcome) {
  if (outcome.finish == Finish::Failed) return Refusal{500, "server_error", outcome.error};
  if (outcome.finish == Finish::Cancelled) return Refusal{503, "unavailable_error", "the generation was ended"};
  return std::nullopt;
}

EventStream::EventStream(std::shared_ptr<Reply> reply, std::string type, std::string ping)
    : reply_(std::move(reply)), type_(std::move(type)), ping_(std::move(ping)) {}

void EventStream::begin() {
  if (begun_) return;
  begun_ = true;
  reply_->begin(200, type_);
}

void EventStream::write(std::string text) {
  begin();
  silent_ = false;
  reply_->write(std::move(text));
}

void EventStream::event(const Json& json, std::string_view name) {
  if (name.empty()) return write(fmt::format("data: {}\n\n", dump(json)));
  write(fmt::format("event: {}\ndata: {}\n\n", name, dump(json)));
}

void EventStream::end() {
  begin();
  ended_ = true;
  reply_->end();
}

void EventStream::break_silence(double seconds) {
  if (ping_.empty() || !(seconds > 0)) return;
  reply_->after(seconds, [weak = weak_from_this(), seconds] {
    if (const auto self = weak.lock()) self->tick(seconds);
  });
}

void EventStream::tick(double seconds) {
  if (ended_) return;
  if (silent_) write(ping_);
  silent_ = true;
  break_silence(seconds);
}

Json timings(const exec::SessionResult& figures) {
  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  const auto each = [](std::size_t tokens, double seconds) {
    return tokens > 0 ? seconds * 1000 / static_cast<double>(tokens) : 0.0;
  };
  const std::size_t computed = figures.prompt_tokens - figures.shared_tokens;
  return {{"cache_n", figures.shared_tokens},
          {"prompt_n", computed},
          {"prompt_ms", figures.prompt_seconds * 1000},
          {"prompt_per_token_ms", each(computed, figures.prompt_seconds)},
          {"prompt_per_second", rate(computed, figures.prompt_seconds)},
          {"predicted_n", figures.generated_tokens},
          {"predicted_ms", figures.generation_seconds * 1000},
          {"predicted_per_token_ms", each(figures.generated_tokens, figures.generation_seconds)},
          {"predicted_per_second", rate(figures.generated_tokens, figures.generation_seconds)}};
}

std::string new_id(std::string_view prefix, std::size_t letters) {
  static constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  static std::mutex mutex;
  static std::mt19937_64 random{std::random_device{}()};
  const std::lock_guard lock(mutex);
  std::string id(prefix);
  for (std::size_t i = 0; i < letters; ++i) id += kLetters[random() % kLetters.size()];
  return id;
}

}  // namespace loadline::serve

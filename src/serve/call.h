// What every dialect does with a request: refuses it in its own words, starts generations and ends them when the client
// leaves, and streams events.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "serve/generation.h"
#include "serve/http.h"
#include "serve/json.h"
#include "serve/served.h"

namespace loadline::serve {

// In which form a client expects errors.
enum class ErrorForm : std::uint8_t { OpenAi, Kobold, Ollama, Anthropic };

// A request that is refused: status, and OpenAI's word for the kind of error.
struct Refusal {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string message;
  Json more = Json::object();  // members beside those, for clients that read them
};
// More than the context can ever hold.
class TooLong : public Error {
 public:
  TooLong(std::size_t tokens, std::size_t context);
  const std::size_t tokens, context;
};
// No room now.
class Busy : public Error {
 public:
  explicit Busy(const std::string& sentence) : Error(ErrorCode::DoesNotFit, sentence) {}
};
// More than is planned for one request.
class TooLarge : public Error {
 public:
  explicit TooLarge(const std::string& sentence) : Error(ErrorCode::DoesNotFit, sentence) {}
};
// A model that there is not.
class NotFound : public Error {
 public:
  explicit NotFound(const std::string& sentence) : Error(ErrorCode::BadInput, sentence) {}
};
// A page that is not this server's.
class Forbidden : public Error {
 public:
  explicit Forbidden(const std::string& sentence) : Error(ErrorCode::BadInput, sentence) {}
};
// Something that this server, or this model, does not have.
class NotOffered : public Error {
 public:
  explicit NotOffered(const std::string& sentence) : Error(ErrorCode::BadInput, sentence) {}
};

Json error_object(ErrorForm form, const Refusal& refusal);
Refusal refusal_of(const std::exception& error);
// With the headers that tell clients whether to try again.
void refuse(Reply& reply, ErrorForm form, const Refusal& refusal);

// A request on its way to an answer.
struct Call {
  std::shared_ptr<const Served> served;
  Json body;
  std::shared_ptr<Reply> reply;
  ErrorForm form = ErrorForm::OpenAi;
  std::string key;     // who asks
  std::string client;  // from which address
  std::string query;   // of the target

  void send(const Json& json, int status = 200) const;
};

// The value of `name` in "a=b&c=d", with %XX and + taken apart; empty where there is none.
std::string query_value(std::string_view query, std::string_view name);

// `each` generations for every prompt, of which those of one prompt have different seeds where there is one: several
// answers must not be one answer several times.
std::vector<Generation> generations_of(const Generation& base, const std::vector<std::vector<Token>>& prompts,
                                       std::size_t each);

struct Job {
  Generation generation;
  std::shared_ptr<Listener> listener;
};
// All of them or none; they end when the client leaves. Throws TooLong, Busy and Error(BadInput). Their ids.
std::vector<Service::Id> start(const Call& call, std::vector<Job> jobs);

// Why an answer did not end as it should; nullopt where it did.
std::optional<Refusal> failure_of(const Outcome& outcome);

// A reply that is sent piece by piece. The status waits for the first of them, so that what fails before is an ordinary
// error; silence is broken by pings.
class EventStream : public std::enable_shared_from_this<EventStream> {
 public:
  // `ping` may be empty.
  EventStream(std::shared_ptr<Reply> reply, std::string type, std::string ping);
  void break_silence(double seconds);
  void write(std::string text);
  // "data: {...}", with an event's name before it where there is one.
  void event(const Json& json, std::string_view name = {});
  void end();
  [[nodiscard]] bool begun() const { return begun_; }

 private:
  void tick(double seconds);
  void begin();

  std::shared_ptr<Reply> reply_;
  std::string type_, ping_;
  bool begun_ = false, ended_ = false, silent_ = true;
};
inline constexpr std::string_view kEventStream = "text/event-stream";
inline constexpr double kPingSeconds = 30;

// {"prompt_n", "prompt_ms", ...} as llama.cpp's server tells it.
Json timings(const exec::SessionResult& figures);
// A name of its own for each answer.
std::string new_id(std::string_view prefix, std::size_t letters = 24);

}  // namespace loadline::serve

// Running: one generation from its admission to its end. In the engine's thread it draws tokens and turns them into
// text; what came of it is kept until the network's thread takes it. It knows no dialect.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "chat/output_parser.h"
#include "chat/stop_strings.h"
#include "grammar/lazy_session.h"
#include "sample/sampler.h"
#include "serve/generation.h"
#include "serve/service.h"

namespace loadline::serve {

class Running final : public exec::SessionClient {
 public:
  // Takes all that it needs now. Throws Error(BadInput) for samplers and grammars that make no sense.
  Running(Service& service, Service::Id id, Generation generation, std::shared_ptr<Listener> listener);

  [[nodiscard]] Service::Id id() const { return id_; }
  [[nodiscard]] const std::string& key() const { return generation_.key; }
  [[nodiscard]] exec::SessionOptions options() const;

  // Guarded by the service's mutex.
  std::optional<exec::SessionId> session;
  bool announced = false;  // it is among the service's news

  // The engine's thread.
  Token draw(std::span<const float> logits) override;
  bool is_end(Token token) override;
  bool take(Token token) override;
  void prompt_read(std::size_t done, std::size_t all) override;
  void ended(const exec::SessionResult& result) noexcept override;

  // From any thread: ends it without its having run.
  void end_unstarted(Finish finish, const std::string& sentence);
  // The network's thread: tells the listener what has come.
  void deliver();
  [[nodiscard]] Service::Place place() const;

 private:
  [[nodiscard]] bool reasons() const { return reasoning_ && reasoning_->reasoning(); }
  [[nodiscard]] bool constrained() const { return constraint_ && !reasons(); }
  void report(Token token, std::span<const float> logits);
  void show(const std::string& text);
  void follow_reasoning(const std::string& text);
  [[nodiscard]] Outcome outcome_of(const exec::SessionResult& result);

  Service& service_;
  const Service::Id id_;
  const Generation generation_;
  std::shared_ptr<Listener> listener_;
  sample::Sampler sampler_;
  tokenizer::StreamDecoder decoder_;
  chat::StopStrings stops_;
  std::unique_ptr<grammar::LazySession> constraint_;
  chat::Tools no_tools_;
  std::unique_ptr<chat::OutputParser> reasoning_;  // where it matters whether the text reasons
  std::vector<chat::OutputEvent> reasoning_events_;
  std::int64_t reasoned_ = 0;
  bool budget_spent_ = false;
  std::vector<Token> forced_;  // to be drawn next, the first at the end

  // What came and was not delivered.
  mutable std::mutex mutex_;
  Piece piece_;
  std::size_t prompt_done_ = 0, prompt_shared_ = 0;
  bool prompt_news_ = false;
  std::size_t generated_ = 0;
  std::optional<Outcome> outcome_;
};

}  // namespace loadline::serve

// Running: one generation from its admission to its end. In the engine's thread a talk::Generation draws tokens and
// turns them into text; what came of it is kept until the network's thread takes it. It knows no dialect.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "serve/generation.h"
#include "serve/pooled.h"
#include "serve/service.h"

namespace loadline::serve {

class Running final : public exec::SessionClient {
 public:
  Running(Service& service, Service::Id id, Generation generation, std::shared_ptr<Listener> listener);
  ~Running() override;
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  // What it takes while it runs, and while it waits.
  static Bytes memory_bytes(const Generation& generation, const model::ModelConfig& config, std::uint32_t context);
  static Bytes queued_bytes(const Generation& generation);
  [[nodiscard]] Bytes queued() const { return queued_; }

  [[nodiscard]] Service::Id id() const { return id_; }
  [[nodiscard]] const std::string& key() const { return asked_.key; }
  [[nodiscard]] const std::optional<std::uint32_t>& slot() const { return asked_.slot; }

  // Guarded by the service's mutex.
  std::optional<exec::SessionId> session;
  bool announced = false;  // it is among the service's news
  bool cancelled = false;

  // Takes all that it needs while it runs; the engine's thread. Throws Error(BadInput) for samplers and grammars that
  // make no sense.
  void begin();
  // Of the session that is to begin: the first, or one more where a phrase was taken back.
  [[nodiscard]] exec::SessionOptions options();

  // The engine's thread.
  Token draw(std::span<const float> logits) override;
  bool is_end(Token token) override;
  bool take(Token token) override;
  void prompt_begun(std::size_t shared) noexcept override;
  void prompt_read(std::size_t done, std::size_t all) override;
  void prompt_state(std::size_t index, std::span<const float> state) override;
  void ended(const exec::SessionResult& result) noexcept override;

  // From any thread: ends it without its having run.
  void end_unstarted(Finish finish, const std::string& sentence);
  // The network's thread: tells the listener what has come.
  void deliver();
  [[nodiscard]] Service::Place place() const;
  // The prompt and what was generated; the engine's thread.
  [[nodiscard]] std::vector<Token> text() const { return {generation_->tokens().begin(), generation_->tokens().end()}; }

 private:
  // What is not talk::Generation's.
  struct Asked {
    bool reuse = true;
    std::optional<std::uint32_t> slot;
    std::optional<Pooling> pooling;
    std::string key;
    std::shared_ptr<const void> keeps;
    std::int64_t most_tokens = -1;
    std::size_t prompt_tokens = 0;
    bool taken_apart = false;  // its text
    bool tells_reports = false;
  };
  [[nodiscard]] talk::Listener ears();
  void hear(const chat::OutputEvent& event);
  void report(const talk::TokenReport& report);
  void count(Bytes bytes);
  [[nodiscard]] Outcome outcome() const;

  Service& service_;
  const Service::Id id_;
  const Asked asked_;
  const Bytes queued_;
  std::optional<talk::GenerationOptions> wanted_;  // until it begins
  std::optional<talk::Generation> generation_;     // from then on; the engine's thread's
  std::shared_ptr<Listener> listener_;
  std::optional<Pooled> pooled_;
  bool first_ = true;   // of its sessions, the one that is to begin
  bool begun_ = false;  // the first of them

  // What came and was not delivered.
  mutable std::mutex mutex_;
  Piece piece_;
  Bytes piece_bytes_;  // of it, about; counted in the service's Undelivered
  std::size_t prompt_done_ = 0, prompt_shared_ = 0;
  bool prompt_news_ = false;
  std::size_t generated_ = 0;
  std::optional<Outcome> outcome_;
};

}  // namespace loadline::serve

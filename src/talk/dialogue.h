// Dialogue: one conversation with a loaded model, turn after turn: from the transcript to a prompt, to an answer, which
// joins the transcript. It makes room where the context is full, if it may.
// It writes nothing; who listens gets what becomes certain.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "chat/transcript.h"
#include "engine/engine.h"
#include "talk/chat_model.h"
#include "talk/generation.h"

namespace loadline::talk {

struct DialogueSettings {
  sample::Options sampling;
  std::int64_t most_tokens = -1;
  std::int64_t reasoning_budget = -1;  // tokens; -1: none
  std::vector<std::string> stops;
  std::vector<std::string> banned;
  std::string tools;                 // a JSON array; empty: none
  std::string tool_choice = "auto";  // see tool_grammar
  bool tools_on = true;
  std::string kwargs;     // a JSON object for the template; may be empty
  bool shift = false;     // drop the oldest turns where the context is full
  std::int64_t keep = 0;  // but not what lies within the first so many tokens; -1: all of it
  std::optional<LogProbabilityOptions> log_probabilities;
  std::shared_ptr<const grammar::Grammar> grammar;  // that every answer keeps to; null: none
};

struct Answer {
  Outcome outcome;
  std::size_t prompt_tokens = 0;
  std::vector<TokenReport> tokens;  // with log_probabilities
  // What was changed for the template, said once each; turns that were dropped.
  std::vector<std::string> notes;
};

// One thread at a time; engine and model outlive it.
class Dialogue {
 public:
  Dialogue(engine::Engine& engine, const ChatModel& model) : engine_(engine), model_(model) {}

  chat::Transcript transcript;
  DialogueSettings settings;

  // What the model would see now. `open`: it continues its last answer.
  [[nodiscard]] Prompt prompt(bool open) const;
  // Generates, tells `listen` what becomes certain, and adds the answer to the transcript. Throws Error where the
  // context is full, or the template refuses; the transcript is then as it was.
  Answer answer(bool open, const std::function<void(const chat::OutputEvent&)>& listen, const std::atomic<bool>& stop,
                speculate::Drafter* drafter = nullptr);

  [[nodiscard]] std::size_t context() const { return engine_.plan().shape.context; }
  [[nodiscard]] std::size_t used() const { return used_; }  // cells, after the last answer
  [[nodiscard]] const ChatModel& model() const { return model_; }
  [[nodiscard]] engine::Engine& engine() const { return engine_; }
  // In the place of Engine::run, where there is one.
  std::function<void(const std::atomic<bool>& stop)> run_with;
  // What an answer with these settings holds that no plan knows.
  [[nodiscard]] static Bytes memory_bytes(const DialogueSettings& settings, const ChatModel& model,
                                          std::uint32_t vocabulary, std::uint32_t context);

 private:
  Prompt fitting_prompt(bool open, std::vector<std::string>& notes);
  [[nodiscard]] static std::optional<Constraint> constraint(const DialogueSettings& settings, const ChatModel& model);

  engine::Engine& engine_;
  const ChatModel& model_;
  std::size_t used_ = 0;
  std::vector<std::string> said_;
};

}  // namespace loadline::talk

// One conversation with a loaded model: from the transcript to a prompt, from tokens to an answer.
// It writes nothing; who listens gets what becomes certain.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/conversation.h"
#include "chat/model_template.h"
#include "chat/output_parser.h"
#include "chat/transcript.h"
#include "cli/chat_engine.h"
#include "sample/sampler.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {

struct ChatSettings {
  sample::Options sampling;
  std::int64_t most_tokens = -1;
  std::int64_t reasoning_budget = -1;  // tokens; -1: none
  std::vector<std::string> stops;
  std::string tools;   // a JSON array; empty: none
  std::string kwargs;  // a JSON object for the template; may be empty
  bool shift = false;  // drop the oldest turns where the context is full
  bool tools_on = true;
};

struct ChatAnswer {
  chat::Answer answer;
  TurnFigures figures;
  std::vector<std::string> notes;  // what was changed for the template, said once each; turns that were dropped
};

class ChatSession {
 public:
  // `title` names the model in errors. Throws TemplateError.
  ChatSession(ChatEngine& engine, const tokenizer::Tokenizer& tokenizer, chat::ModelTemplate chosen, std::string title);

  chat::Transcript transcript;
  ChatSettings settings;

  // The tokens that the model would see now. `open`: it continues its last answer.
  std::vector<std::int32_t> prompt(bool open, std::vector<std::string>& notes);
  // Generates, tells `listen` what becomes certain, and adds the answer to the transcript. Throws Error where the
  // context is full, or the template refuses.
  ChatAnswer answer(bool open, const std::function<void(const chat::OutputEvent&)>& listen,
                    const std::atomic<bool>& stop);

  [[nodiscard]] std::size_t context() const { return engine_.engine().plan().shape.context; }
  [[nodiscard]] std::size_t used() const { return used_; }  // cells, after the last answer
  [[nodiscard]] const chat::Capabilities& can() const { return can_; }
  [[nodiscard]] const chat::ModelTemplate& chosen() const { return chosen_; }

 private:
  struct Draws;
  std::string prompt_text(bool open, std::vector<std::string>& notes);
  std::vector<std::int32_t> fitting_prompt(bool open, std::vector<std::string>& notes);

  ChatEngine& engine_;
  const tokenizer::Tokenizer& tokenizer_;
  chat::ModelTemplate chosen_;
  std::string title_;
  chat::Template template_;
  chat::Capabilities can_;
  std::string bos_, eos_;
  std::string prompt_end_;
  std::size_t used_ = 0;
  std::vector<std::string> said_;
};

}  // namespace loadline::cli

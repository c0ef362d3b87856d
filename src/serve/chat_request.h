// The one form that all dialects' conversations are brought into: a body as OpenAI's chat/completions has it. From it
// to a prompt, to what the answer must match, and to how its text is taken apart.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat/output_parser.h"
#include "serve/generation.h"
#include "serve/json.h"
#include "serve/sampling.h"
#include "serve/served.h"

namespace loadline::serve {

// How the text of an answer is to be read.
struct Reading {
  chat::OutputFormat format = chat::OutputFormat::ReasoningOnly;
  std::shared_ptr<const chat::Tools> tools;  // never null
  std::string prompt_end;
  bool plain = false;  // not at all: the text is the answer
};

struct ChatRequest {
  std::string prompt;
  Generation generation;
  Reading reading;
};

// "messages", "tools", "tool_choice", "response_format", "chat_template_kwargs", the samplers' fields and the others of
// section 1.2. Throws Error(BadInput) naming the field.
ChatRequest read_chat(const Served& served, const Json& body, Dialect dialect);

// The prompt alone.
std::string render_chat(const Served& served, const Json& body);

// Everything of a generation that is no conversation: samplers, stops, grammar, log-probabilities.
Generation read_generation(const Served& served, const Json& body, Dialect dialect);

// Listens to a generation and takes its text apart.
class ChatListener : public Listener {
 public:
  explicit ChatListener(Reading reading);

  void piece(const Piece& piece) final;
  void finished(const Outcome& outcome) final;

 protected:
  virtual void content(const std::string& text) = 0;
  virtual void reasoning(const std::string& text) = 0;
  // A call that is complete; `index` counts from 0.
  virtual void call(std::size_t index, const chat::ToolCall& call) = 0;
  // Tokens as they come, before their text; where they were asked for.
  virtual void tokens(const std::vector<TokenReport>& /*tokens*/) {}
  virtual void ended(const Outcome& outcome) = 0;

  [[nodiscard]] std::size_t calls() const { return calls_; }

 private:
  void pass_on();

  Reading reading_;
  chat::OutputParser parser_;
  std::vector<chat::OutputEvent> events_;
  std::size_t calls_ = 0;
};

}  // namespace loadline::serve

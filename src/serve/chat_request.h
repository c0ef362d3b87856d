// The one form that all dialects' conversations are brought into: a body as OpenAI's chat/completions has it. From it
// to a prompt, to what the answer must match, and to how its text is taken apart.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chat/output_parser.h"
#include "serve/call.h"
#include "serve/generation.h"
#include "serve/json.h"
#include "serve/sampling.h"
#include "serve/served.h"

namespace loadline::serve {

struct ChatRequest {
  std::string prompt;
  Generation generation;
  // What of the conversation was changed, as the template would have refused it or lost something: a sentence each.
  std::vector<std::string> changes;
};

// "messages", "tools", "tool_choice", "response_format", "chat_template_kwargs", the samplers' fields and the others of
// section 1.2. Throws Error(BadInput) naming the field.
ChatRequest read_chat(const Served& served, const Json& body, Dialect dialect);

// The prompt alone.
std::string render_chat(const Served& served, const Json& body);

// Everything of a generation that is no conversation: samplers, stops, grammar, log-probabilities.
Generation read_generation(const Served& served, const Json& body, Dialect dialect);

// Says the changes in a header of the reply.
void tell_changes(const Call& call, const ChatRequest& request);

// Listens to a generation whose text is taken apart, or is all content.
class ChatListener : public Listener {
 public:
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
  // A call that has begun may prove to be none until something follows it.
  struct Begun {
    std::size_t number = 0;
    bool complete = false;
    chat::ToolCall call;
  };
  void hear_call(const chat::OutputEvent& event);
  void tell_calls();

  std::vector<Begun> begun_;
  std::size_t calls_ = 0;
};

}  // namespace loadline::serve

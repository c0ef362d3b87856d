// What a template is given: the variables of one conversation, built from JSON or bit by bit, fitted to what a template
// can take where that is wanted, and rendered.
// It does not know where templates come from (model_template.h), nor tokens.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/template.h"

namespace loadline::chat {

// What a template can do, found by rendering small conversations with it.
struct Capabilities {
  bool system = false;         // a system message at the beginning
  bool late_system = false;    // and later on
  bool developer = false;      // the role developer
  bool neighbours = false;     // two messages of one role in a row
  bool typed_content = false;  // content as a list of parts
  bool tools = false;
  bool calls = false;            // calls of tools in the history
  bool parallel_calls = false;   // several in one message
  bool thinking_switch = false;  // `enable_thinking` or `thinking` changes the prompt
};
Capabilities capabilities_of(const Template& chat_template);

// Bytes of a text.
struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool whole = true;  // false: only the beginning of something that must stay letters
};

// A prompt, and what of it somebody typed that must stay letters.
struct Rendering {
  std::string text;
  std::vector<TextSpan> typed;  // ascending and apart
};

// Finds in what one string of a message says the places that must stay letters. `role`: whose it is; empty for all
// other variables.
using FindTyped = std::function<std::vector<TextSpan>(std::string_view text, std::string_view role)>;

// Owns its values. One thread at a time.
class Conversation {
 public:
  explicit Conversation(const RenderLimits& limits = {});
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  // The members of a JSON object become the variables, in their order. Throws Error(BadInput).
  void set_all(std::string_view json);
  // One variable from JSON. Throws Error(BadInput) naming it.
  void set(std::string_view name, std::string_view json);
  void set_text(std::string_view name, std::string_view text);
  [[nodiscard]] bool has(std::string_view name) const;

  // Changes the messages where this template would refuse or lose something of them; a sentence for each change. Throws
  // Error(BadInput) where the messages are none.
  std::vector<std::string> fit(const Capabilities& can);

  // The prompt. `continue_last`: the last message, the assistant's, is left open. Throws TemplateError, and
  // Error(BadInput) where there is nothing to continue.
  [[nodiscard]] std::string render(const Template& chat_template, const RenderOptions& options,
                                   bool continue_last = false);

  // The same text, and where in it the places are that `find` names in the variables, but for bos_token and eos_token.
  // Where there are any, it is rendered twice.
  [[nodiscard]] Rendering render_apart(const Template& chat_template, const RenderOptions& options, bool continue_last,
                                       const FindTyped& find);

  // "messages" as JSON; empty where there are none.
  [[nodiscard]] std::string messages_json();

 private:
  [[nodiscard]] jinja::Value messages() const;
  void join_parts(jinja::Value& message, bool& changed);

  jinja::Heap heap_;
  jinja::Value variables_;
};

}  // namespace loadline::chat

// A model's text, as it comes, taken apart: reasoning, the answer, and calls of tools. What looks like a call and is
// none stays text. The result does not depend on how the text was cut into pieces.
// It runs nothing, and knows neither tokens nor the server's dialects.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/call_openers.h"
#include "chat/call_readers.h"
#include "chat/output_format.h"
#include "chat/tools.h"

namespace loadline::chat {

struct ToolCall {
  std::string name;
  std::string arguments;  // a JSON object
  std::string id;         // as the model gave it; empty: it gave none
};

struct Answer {
  std::string content;
  std::string reasoning;
  std::vector<ToolCall> calls;
};

struct OutputEvent {
  enum class Kind : std::uint8_t {
    Content,
    Reasoning,
    CallBegins,     // text: the name
    CallArguments,  // text: more of the JSON
    CallEnds,       // text: the id that the model gave
    CallDropped,    // what had begun is no call after all; its text follows as content
  } kind = Kind::Content;
  std::string text;
  std::size_t call = 0;  // which, from 0
};

// One answer. One thread at a time; `tools` must outlive it.
class OutputParser {
 public:
  // `prompt_end`: what the prompt ended with, which may have opened the reasoning already.
  OutputParser(OutputFormat format, const Tools& tools, std::string_view prompt_end = {});

  // Whole characters. Appends what became certain to `events`.
  void push(std::string_view text, std::vector<OutputEvent>& events);
  // No more comes.
  void finish(std::vector<OutputEvent>& events);

  // What is certain so far, complete calls only.
  [[nodiscard]] Answer answer() const;
  // Whether the text is inside reasoning.
  [[nodiscard]] bool reasoning() const { return state_ == State::Reasoning; }
  // Whether the text is in a message's header, or in a message that is no content (Harmony).
  [[nodiscard]] bool is_before_content() const {
    return state_ == State::Header || (state_ == State::Body && (channel_ == "analysis" || !recipient_.empty()));
  }
  // What ends the reasoning the text is in; empty where it is in none that a mark ends.
  [[nodiscard]] std::string_view reasoning_close() const { return reasoning() ? close_ : std::string_view(); }

 private:
  enum class State : std::uint8_t { Content, Reasoning, Header, Body, Recipient, RecipientBody };
  enum class Step : std::uint8_t { Again, Wait };
  void run(bool final);
  Step content_step(bool final);
  Step read_call(const CallOpener& opener, std::size_t at, bool final);
  Step read_bare(bool final, bool& none);
  Step reasoning_step(bool final);
  Step header_step(bool final);
  Step body_step(bool final);
  Step recipient_step(bool final);
  Step recipient_body_step(bool final);
  bool open_reasoning(bool final, bool& wait);
  void end_body(std::string_view body, std::string_view raw);
  [[nodiscard]] std::size_t held_back(std::string_view text) const;
  void consume(std::size_t count);
  void add_content(std::string_view text);
  void add_reasoning(std::string_view text);
  void begin_reasoning(std::string_view close);
  void show_calls(const std::vector<CallDraft>& calls);
  void keep_calls(const std::vector<CallDraft>& calls);
  void drop_calls();
  void emit(OutputEvent::Kind kind, std::string_view text, std::size_t call = 0);

  OutputFormat format_;
  const Tools& tools_;
  CallOpeners openers_;
  State state_ = State::Content;
  std::string_view close_;    // of the reasoning
  std::string pending_;       // not yet understood
  std::size_t retry_at_ = 0;  // a call is looked at again when pending_ has this size
  bool at_start_ = true;      // nothing but white space has come of the content
  bool after_mark_ = false;   // white space that comes next is dropped
  std::string blanks_;        // white space that more content would be behind
  std::string reasoning_blanks_;
  std::string header_;  // of a message, as it was written
  std::string channel_;
  std::string recipient_;
  Answer answer_;
  std::vector<CallDraft> shown_;  // of the call that is being read
  std::vector<OutputEvent>* events_ = nullptr;
};

}  // namespace loadline::chat

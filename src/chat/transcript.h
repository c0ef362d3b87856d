// A conversation as it is kept between answers: messages in OpenAI's form, with whatever members they came with.
// It renders nothing; Conversation does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/output_parser.h"

namespace loadline::chat {

class Transcript {
 public:
  Transcript() = default;
  // A JSON array of messages, or an object with one in "messages". Throws Error(BadInput).
  static Transcript from_json(std::string_view json);

  // Sets or replaces the system message at the beginning; empty: removes it.
  void set_system(std::string_view text);
  // Begins anew, with the same system message.
  void clear();
  void add(std::string_view role, std::string_view content);
  void add_answer(const Answer& answer);
  void add_tool_result(std::string_view text);
  // Puts more behind the content of the last message, which is the assistant's.
  void extend_answer(const Answer& more);

  // Takes back the last user's message and all behind it; its text, or empty where there is none.
  std::string undo();
  // Takes back what came behind the last user's message, to answer anew. False where nothing did.
  bool drop_answer();
  // Takes away the oldest messages that are not the system's, up to the next user's. False where only one turn is left.
  // `keep`: turns that begin within the first so many tokens of the messages stay (-1: all), counted by `tokens_of`.
  bool drop_oldest(std::int64_t keep = 0, const std::function<std::size_t(std::string_view)>& tokens_of = {});

  [[nodiscard]] bool empty() const { return messages_.empty(); }
  [[nodiscard]] std::size_t size() const { return messages_.size(); }
  [[nodiscard]] std::string last_role() const { return messages_.empty() ? std::string() : messages_.back().role; }
  // The JSON array.
  [[nodiscard]] std::string json() const;

 private:
  struct Message {
    std::string role;
    std::string content;  // where it is text
    std::string json;
  };
  static Message text_message(std::string_view role, std::string_view content);
  std::vector<Message> messages_;
  std::string last_call_id_, last_call_name_;
};

}  // namespace loadline::chat

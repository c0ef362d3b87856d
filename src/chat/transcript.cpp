#include "chat/transcript.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "chat/jinja/json.h"
#include "chat/json_scan.h"
#include "chat/template.h"

namespace loadline::chat {
namespace {

std::string calls_json(const std::vector<ToolCall>& calls) {
  std::string out;
  for (const ToolCall& call : calls) {
    out += fmt::format("{}{{\"id\": {}, \"type\": \"function\", \"function\": {{\"name\": {}, \"arguments\": {}}}}}",
                       out.empty() ? "" : ", ", json_quoted(call.id), json_quoted(call.name), call.arguments);
  }
  return out;
}

}  // namespace

Transcript::Message Transcript::text_message(std::string_view role, std::string_view content) {
  return {std::string(role), std::string(content),
          fmt::format("{{\"role\": {}, \"content\": {}}}", json_quoted(role), json_quoted(content))};
}

Transcript Transcript::from_json(std::string_view json) {
  Transcript out;
  jinja::Heap heap = make_heap({});
  try {
    jinja::Value list = jinja::parse_json(heap, json);
    if (list.is(jinja::Kind::Dict)) {
      const jinja::Value* messages = list.dict().find("messages");
      if (messages == nullptr) throw bad_input("the transcript has no \"messages\"");
      const jinja::Value found = *messages;
      list = found;
    }
    if (!list.is(jinja::Kind::List)) throw bad_input("the transcript is no list of messages");
    for (const jinja::Value& entry : list.items()) {
      const jinja::Value* role = entry.is(jinja::Kind::Dict) ? entry.dict().find("role") : nullptr;
      if (role == nullptr || !role->is_string()) throw bad_input("a message of the transcript has no role");
      const jinja::Value* content = entry.dict().find("content");
      out.messages_.push_back({role->text(), content != nullptr && content->is_string() ? content->text() : "",
                               jinja::json_of(heap, entry)});
    }
  } catch (const jinja::Failure& failure) {
    throw bad_input(fmt::format("the transcript is {}", failure.what()));
  }
  return out;
}

void Transcript::set_system(std::string_view text) {
  if (!messages_.empty() && messages_.front().role == "system") messages_.erase(messages_.begin());
  if (!text.empty()) messages_.insert(messages_.begin(), text_message("system", text));
}

void Transcript::clear() {
  const bool has_system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(has_system ? 1 : 0);
  last_call_id_.clear();
  last_call_name_.clear();
}

void Transcript::add(std::string_view role, std::string_view content) {
  messages_.push_back(text_message(role, content));
}

void Transcript::add_answer(const Answer& answer) {
  Message message{"assistant", answer.content,
                  fmt::format("{{\"role\": \"assistant\", \"content\": {}", json_quoted(answer.content))};
  if (!answer.reasoning.empty()) message.json += ", \"reasoning_content\": " + json_quoted(answer.reasoning);
  if (!answer.calls.empty()) {
    std::vector<ToolCall> calls = answer.calls;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      // Some templates want nine letters and digits.
      if (calls[i].id.empty()) calls[i].id = fmt::format("call{:05}", messages_.size() * 16 + i);
    }
    message.json += fmt::format(", \"tool_calls\": [{}]", calls_json(calls));
    last_call_id_ = calls.back().id;
    last_call_name_ = calls.back().name;
  }
  message.json += "}";
  messages_.push_back(std::move(message));
}

void Transcript::add_tool_result(std::string_view text) {
  messages_.push_back({"tool", std::string(text),
                       fmt::format("{{\"role\": \"tool\", \"tool_call_id\": {}, \"name\": {}, \"content\": {}}}",
                                   json_quoted(last_call_id_), json_quoted(last_call_name_), json_quoted(text))});
}

void Transcript::extend_answer(const Answer& more) {
  if (messages_.empty()) return;
  Answer whole = more;
  whole.content = messages_.back().content + more.content;
  messages_.pop_back();
  add_answer(whole);
}

std::string Transcript::undo() {
  for (std::size_t i = messages_.size(); i > 0; --i) {
    if (messages_[i - 1].role != "user") continue;
    std::string text = messages_[i - 1].content;
    messages_.resize(i - 1);
    return text;
  }
  return {};
}

bool Transcript::drop_answer() {
  std::size_t keep = messages_.size();
  while (keep > 0 && messages_[keep - 1].role != "user") --keep;
  if (keep == 0 || keep == messages_.size()) return false;
  messages_.resize(keep);
  return true;
}

bool Transcript::drop_oldest(std::int64_t keep, const std::function<std::size_t(std::string_view)>& tokens_of) {
  if (keep < 0) return false;
  std::size_t begin = !messages_.empty() && messages_.front().role == "system" ? 1 : 0;
  if (keep > 0 && tokens_of) {
    std::size_t tokens = 0;
    std::size_t at = 0;
    for (; at < messages_.size() && (tokens < static_cast<std::size_t>(keep) || messages_[at].role != "user"); ++at) {
      tokens += tokens_of(messages_[at].content);
    }
    begin = std::max(begin, at);
  }
  std::size_t end = begin + 1;
  while (end < messages_.size() && messages_[end].role != "user") ++end;
  if (end >= messages_.size()) return false;
  messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(begin),
                  messages_.begin() + static_cast<std::ptrdiff_t>(end));
  return true;
}

std::string Transcript::json() const {
  std::string out = "[";
  for (const Message& message : messages_) {
    if (out.size() > 1) out += ", ";
    out += message.json;
  }
  return out + "]";
}

}  // namespace loadline::chat

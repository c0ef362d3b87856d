#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "base/text.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"

namespace loadline::serve {
namespace {

std::string text_of_parts(const Json& content) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) throw bad_input("\"input\": \"content\" must be a string or an array of parts");
  std::string out;
  for (const Json& part : content) {
    const std::string type = get_string(part, "type").value_or("");
    if (type.find("image") != std::string::npos) throw bad_input("this model takes no images");
    if (type.find("file") != std::string::npos) throw bad_input("this model takes no files");
    const auto text = get_string(part, "text");
    if (!text) continue;
    if (!out.empty()) out += '\n';
    out += *text;
  }
  return out;
}

// Items become messages; the calls of one turn are one message's, with the reasoning before them.
class Items {
 public:
  void add(const Json& item) {
    const std::string type = get_string(item, "type").value_or(item.contains("role") ? "message" : "");
    if (type == "message") {
      flush();
      const std::string role = get_string(item, "role").value_or("user");
      Json message = {{"role", role}, {"content", text_of_parts(item.contains("content") ? item["content"] : Json())}};
      if (role == "assistant" && !reasoning_.empty()) message["reasoning_content"] = std::exchange(reasoning_, {});
      out_.push_back(std::move(message));
    } else if (type == "function_call") {
      calls_.push_back({{"id", get_string(item, "call_id").value_or("")},
                        {"type", "function"},
                        {"function",
                         {{"name", get_string(item, "name").value_or("")},
                          {"arguments", get_string(item, "arguments").value_or("{}")}}}});
    } else if (type == "function_call_output") {
      flush();
      out_.push_back({{"role", "tool"},
                      {"tool_call_id", get_string(item, "call_id").value_or("")},
                      {"content", text_of_parts(item.contains("output") ? item["output"] : Json())}});
    } else if (type == "reasoning") {
      flush();
      if (const Json* content = find(item, "content")) reasoning_ = text_of_parts(*content);
    } else if (type == "item_reference") {
      throw bad_input("\"input\": nothing is stored here that an item_reference could name");
    }  // calls of services that this server does not have
  }
  Json take() {
    flush();
    return std::move(out_);
  }

 private:
  void flush() {
    if (calls_.empty()) return;
    Json message = {{"role", "assistant"}, {"content", ""}, {"tool_calls", std::exchange(calls_, Json::array())}};
    // What was said just before the calls is of the same turn.
    if (!out_.empty() && out_.back()["role"] == "assistant" && !out_.back().contains("tool_calls")) {
      message["content"] = out_.back()["content"];
      if (out_.back().contains("reasoning_content")) message["reasoning_content"] = out_.back()["reasoning_content"];
      out_.erase(out_.size() - 1);
    }
    if (!reasoning_.empty()) message["reasoning_content"] = std::exchange(reasoning_, {});
    out_.push_back(std::move(message));
  }

  Json out_ = Json::array(), calls_ = Json::array();
  std::string reasoning_;
};

// Several system and developer messages at the beginning are one, as templates want it.
Json with_one_system(Json messages, const std::string& instructions) {
  std::string system = instructions;
  std::size_t first = 0;
  for (; first < messages.size(); ++first) {
    const Json& role = messages[first]["role"];
    if (role != "system" && role != "developer") break;
    if (!system.empty()) system += "\n\n";
    system += messages[first]["content"].get<std::string>();
  }
  Json out = Json::array();
  if (!system.empty()) out.push_back({{"role", "system"}, {"content", system}});
  for (; first < messages.size(); ++first) out.push_back(std::move(messages[first]));
  return out;
}

}  // namespace

Json responses_body(const Json& body) {
  if (find(body, "conversation") != nullptr) {
    throw bad_input("\"conversation\": conversations are not stored here; send the whole of it");
  }
  if (get_bool(body, "background").value_or(false)) {
    throw bad_input("\"background\" must be false: responses are not stored here");
  }
  if (find(body, "previous_response_id") != nullptr) {
    throw bad_input("\"previous_response_id\": responses are not stored here; send the whole conversation");
  }
  const Json* input = find(body, "input");
  if (input == nullptr) throw bad_input("\"input\" is required");
  Items items;
  if (input->is_string()) {
    items.add({{"role", "user"}, {"content", *input}});
  } else if (input->is_array()) {
    if (input->empty()) throw bad_input("\"input\" is empty");
    for (const Json& item : *input) {
      if (!item.is_object()) throw bad_input("\"input\" must be a string or an array of items");
      items.add(item);
    }
  } else {
    throw bad_input("\"input\" must be a string or an array of items");
  }
  Json out = Json::object();
  static constexpr std::array kTaken = {"input",      "instructions", "tools",       "text",   "reasoning",
                                        "truncation", "include",      "metadata",    "stream", "store",
                                        "model",      "tool_choice",  "service_tier"};
  for (const auto& [name, value] : body.items()) {
    if (std::ranges::find(kTaken, name) == kTaken.end()) out[name] = value;
  }
  out["messages"] = with_one_system(items.take(), get_string(body, "instructions").value_or(""));
  if (const Json* tools = find_array(body, "tools")) {
    Json list = Json::array();
    for (const Json& tool : *tools) {
      if (!tool.is_object()) throw wrong_field("tools", "an array of objects");
      if (get_string(tool, "type") == "function") list.push_back(tool);  // others are services of somebody else's
    }
    if (!list.empty()) {
      out["tools"] = std::move(list);
      if (const Json* choice = find(body, "tool_choice")) out["tool_choice"] = *choice;
    }
  }
  const Json* text = find_object(body, "text");
  if (const Json* format = text == nullptr ? nullptr : find_object(*text, "format")) {
    const std::string type = get_string(*format, "type").value_or("text");
    if (type == "json_schema") {
      out["response_format"] = {{"type", type}, {"json_schema", *format}};
    } else {
      out["response_format"] = {{"type", type}};
    }
  }
  (void)find_object(body, "reasoning");
  if (const auto effort = find(body, "reasoning", "effort")) out["reasoning_effort"] = *effort;
  return out;
}

namespace {

// A response as an object that grows, and the events of its growing.
class ResponsesAnswer final : public ChatListener {
 public:
  explicit ResponsesAnswer(const Call& call) : reply_(call.reply) {
    const Json& body = call.body;
    const auto echo = [&](const char* name, Json usual) {
      const Json* given = find(body, name);
      return given == nullptr ? std::move(usual) : *given;
    };
    response_ = {{"id", new_id("resp_")},
                 {"object", "response"},
                 {"created_at", std::time(nullptr)},
                 {"completed_at", nullptr},
                 {"status", "in_progress"},
                 {"model", get_string(body, "model").value_or(call.served->name)},
                 {"output", Json::array()},
                 {"error", nullptr},
                 {"incomplete_details", nullptr},
                 {"instructions", echo("instructions", nullptr)},
                 {"max_output_tokens", echo("max_output_tokens", nullptr)},
                 {"metadata", echo("metadata", Json::object())},
                 {"parallel_tool_calls", echo("parallel_tool_calls", true)},
                 {"previous_response_id", nullptr},
                 {"reasoning", echo("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
                 {"store", false},
                 {"temperature", echo("temperature", 1)},
                 {"text", echo("text", {{"format", {{"type", "text"}}}})},
                 {"tool_choice", echo("tool_choice", "auto")},
                 {"tools", echo("tools", Json::array())},
                 {"top_p", echo("top_p", 1)},
                 {"truncation", echo("truncation", "disabled")}};
    if (!get_bool(body, "stream").value_or(false)) return;
    events_ = std::make_shared<EventStream>(reply_, std::string(kEventStream), ":\n\n");
    events_->break_silence(kPingSeconds);
  }

  void prompt_read(std::size_t /*done*/, std::size_t /*shared*/, std::size_t /*all*/) override { begin(); }

 protected:
  void content(const std::string& text) override { add("message", text); }
  void reasoning(const std::string& text) override { add("reasoning", text); }
  void call(std::size_t /*index*/, const chat::ToolCall& call) override {
    close();
    begin();
    Json item = {{"id", new_id("fc_")}, {"type", "function_call"}, {"call_id", new_id("call_")},
                 {"name", call.name},   {"arguments", ""},         {"status", "in_progress"}};
    send("response.output_item.added", {{"output_index", index()}, {"item", item}});
    const Json where = {{"item_id", item["id"]}, {"output_index", index()}};
    Json delta = where;
    delta["delta"] = call.arguments;
    send("response.function_call_arguments.delta", std::move(delta));
    Json done = where;
    done["arguments"] = call.arguments;
    send("response.function_call_arguments.done", std::move(done));
    item["arguments"] = call.arguments;
    finish_item(std::move(item));
  }
  void ended(const Outcome& outcome) override {
    if (const auto failure = failure_of(outcome)) return fail(*failure);
    close();
    begin();
    const exec::SessionResult& figures = outcome.figures;
    const bool length = outcome.finish == Finish::Length || outcome.finish == Finish::ContextFull;
    response_["status"] = length ? "incomplete" : "completed";
    response_["completed_at"] = std::time(nullptr);
    if (length) response_["incomplete_details"] = {{"reason", "max_output_tokens"}};
    response_["usage"] = {{"input_tokens", figures.prompt_tokens},
                          {"input_tokens_details", {{"cached_tokens", figures.shared_tokens}}},
                          {"output_tokens", figures.generated_tokens},
                          {"output_tokens_details", {{"reasoning_tokens", 0}}},
                          {"total_tokens", figures.prompt_tokens + figures.generated_tokens}};
    if (!events_) return reply_->send(200, "application/json", dump(response_));
    send(length ? "response.incomplete" : "response.completed", {{"response", response_}});
    events_->end();
  }

 private:
  [[nodiscard]] std::size_t index() const { return response_["output"].size(); }
  void send(std::string_view type, Json more) {
    if (!events_) return;
    Json event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(more);
    events_->event(event, type);
  }
  void begin() {
    if (std::exchange(begun_, true)) return;
    send("response.created", {{"response", response_}});
    send("response.in_progress", {{"response", response_}});
  }
  [[nodiscard]] Json where() const {
    return {{"item_id", item_["id"]}, {"output_index", index()}, {"content_index", 0}};
  }
  [[nodiscard]] static Json part_of(bool message, const std::string& text) {
    if (!message) return {{"type", "reasoning_text"}, {"text", text}};
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
  }
  void add(const std::string& kind, const std::string& text) {
    const bool message = kind == "message";
    if (item_.is_null() || item_["type"] != kind) {
      close();
      begin();
      if (message) {
        item_ = {{"id", new_id("msg_")},
                 {"type", kind},
                 {"role", "assistant"},
                 {"status", "in_progress"},
                 {"content", Json::array()}};
      } else {
        item_ = {{"id", new_id("rs_")},          {"type", kind},
                 {"summary", Json::array()},     {"content", Json::array()},
                 {"encrypted_content", nullptr}, {"status", "in_progress"}};
      }
      send("response.output_item.added", {{"output_index", index()}, {"item", item_}});
      Json event = where();
      event["part"] = part_of(message, "");
      send("response.content_part.added", std::move(event));
    }
    text_ += text;
    Json event = where();
    event["delta"] = text;
    if (message) event["logprobs"] = Json::array();
    send(message ? "response.output_text.delta" : "response.reasoning_text.delta", std::move(event));
  }
  void close() {
    if (item_.is_null()) return;
    const bool message = item_["type"] == "message";
    const std::string text = std::exchange(text_, {});
    Json event = where();
    event["text"] = text;
    if (message) event["logprobs"] = Json::array();
    send(message ? "response.output_text.done" : "response.reasoning_text.done", std::move(event));
    Json part = where();
    part["part"] = part_of(message, text);
    send("response.content_part.done", std::move(part));
    Json item = std::exchange(item_, nullptr);
    item["content"] = Json::array({part_of(message, text)});
    finish_item(std::move(item));
  }
  void finish_item(Json item) {
    item["status"] = "completed";
    send("response.output_item.done", {{"output_index", index()}, {"item", item}});
    response_["output"].push_back(std::move(item));
  }
  void fail(const Refusal& refusal) {
    if (!events_ || !events_->begun()) return refuse(*reply_, ErrorForm::OpenAi, refusal);
    send("error", {{"code", refusal.type}, {"message", refusal.message}, {"param", nullptr}});
    response_["status"] = "failed";
    response_["error"] = {{"code", "server_error"}, {"message", refusal.message}};
    send("response.failed", {{"response", response_}});
    events_->end();
  }

  std::shared_ptr<Reply> reply_;
  std::shared_ptr<EventStream> events_;
  Json response_, item_;  // the whole, and the item that is being written
  std::string text_;
  std::uint64_t sequence_ = 0;
  bool begun_ = false;
};

}  // namespace

void openai_responses(const Call& call) {
  ChatRequest request = read_chat(*call.served, responses_body(call.body), Dialect::OpenAi);
  auto answer = std::make_shared<ResponsesAnswer>(call);
  tell_changes(call, request);
  std::vector<Job> jobs;
  jobs.push_back({std::move(request.generation), std::move(answer)});
  start(call, std::move(jobs));
}

void openai_count(const Call& call) {
  const bool responses = call.body.contains("input");
  const Json body = responses ? responses_body(call.body) : call.body;
  const ChatRequest request = read_chat(*call.served, body, Dialect::OpenAi);
  call.send({{"object", "response.input_tokens"}, {"input_tokens", request.generation.prompt.size()}});
}

}  // namespace loadline::serve

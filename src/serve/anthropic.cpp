#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"

namespace loadline::serve {
namespace {

constexpr std::int64_t kUsualMost = 4096;

// Claude Code begins its system text with a line that differs in every request, which would have all of a long prompt
// read anew each time: the value in it is made the same.
std::string without_billing(std::string text) {
  constexpr std::string_view kHeader = "x-anthropic-billing-header";
  constexpr std::string_view kField = "cch=";
  if (!text.starts_with(kHeader)) return text;
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::size_t at = text.find(kField);
  if (at == std::string::npos || at > end) return text;
  for (std::size_t i = at + kField.size(); i < end && text[i] != ';' && text[i] != ' '; ++i) text[i] = '0';
  return text;
}

std::string text_of(const Json& content, std::string_view field) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) throw bad_input(fmt::format("\"{}\" must be a string or an array of blocks", field));
  std::string out;
  for (const Json& block : content) {
    if (!block.is_object()) throw bad_input(fmt::format("\"{}\" must be a string or an array of blocks", field));
    const std::string type = get_string(block, "type").value_or("text");
    if (type != "text") {
      throw bad_input(fmt::format("\"{}\": blocks of type \"{}\" are not supported here", field, printable(type)));
    }
    if (!out.empty()) out += "\n\n";
    out += without_billing(get_string(block, "text").value_or(""));
  }
  return out;
}

// The blocks of one message become one or several of OpenAI's.
void add_message(const Json& message, Json& out) {
  const std::string role = get_string(message, "role").value_or("");
  if (role != "user" && role != "assistant" && role != "system") {
    throw bad_input("\"messages\": \"role\" must be user or assistant");
  }
  const Json* content = find(message, "content");
  if (content == nullptr || content->is_string()) {
    out.push_back({{"role", role}, {"content", content == nullptr ? Json("") : *content}});
    return;
  }
  if (!content->is_array()) throw bad_input("\"content\" must be a string or an array of blocks");
  std::string text, thinking;
  Json calls = Json::array();
  for (const Json& block : *content) {
    const std::string type = get_string(block, "type").value_or("");
    if (type == "text") {
      if (!text.empty()) text += "\n\n";
      text += get_string(block, "text").value_or("");
    } else if (type == "thinking") {
      thinking += get_string(block, "thinking").value_or("");
    } else if (type == "redacted_thinking") {
      continue;
    } else if (type == "tool_use") {
      const Json* input = find(block, "input");
      calls.push_back({{"id", get_string(block, "id").value_or("")},
                       {"type", "function"},
                       {"function",
                        {{"name", get_string(block, "name").value_or("")},
                         {"arguments", input == nullptr ? Json::object() : *input}}}});
    } else if (type == "tool_result") {  // before the text of its message
      const Json* result = find(block, "content");
      std::string told = result == nullptr ? std::string() : text_of(*result, "tool_result");
      if (get_bool(block, "is_error").value_or(false)) told = "Error: " + told;
      out.push_back({{"role", "tool"},
                     {"tool_call_id", get_string(block, "tool_use_id").value_or("")},
                     {"content", std::move(told)}});
    } else if (type == "image") {
      throw bad_input("\"messages\": this model takes no images");
    } else {
      throw bad_input(fmt::format("\"content\": blocks of type \"{}\" are not supported", printable(type)));
    }
  }
  if (role == "user" && text.empty()) return;
  Json one = {{"role", role}, {"content", std::move(text)}};
  if (!thinking.empty()) one["reasoning_content"] = std::move(thinking);
  if (!calls.empty()) one["tool_calls"] = std::move(calls);
  out.push_back(std::move(one));
}

}  // namespace

Json anthropic_body(const Json& body) {
  Json out = Json::object();
  for (const char* name : {"temperature", "top_p", "top_k", "min_p", "seed", "cache_prompt", "chat_template_kwargs"}) {
    if (const Json* value = find(body, name)) out[name] = *value;
  }
  out["messages"] = Json::array();
  if (const Json* system = find(body, "system")) {
    const std::string text = without_billing(text_of(*system, "system"));
    if (!text.empty()) out["messages"].push_back({{"role", "system"}, {"content", text}});
  }
  const Json* messages = find(body, "messages");
  if (messages == nullptr || !messages->is_array()) throw bad_input("\"messages\" must be an array");
  for (const Json& message : *messages) add_message(message, out["messages"]);
  if (const Json* tools = find(body, "tools")) {
    if (!tools->is_array()) throw bad_input("\"tools\" must be an array");
    Json list = Json::array();
    for (const Json& tool : *tools) {
      if (!tool.is_object()) throw wrong_field("tools", "an array of objects");
      if (get_string(tool, "type").value_or("custom") != "custom") continue;  // a service of Anthropic's
      const auto name = get_string(tool, "name");
      if (!name || name->empty()) throw bad_input("\"tools\": a tool has no \"name\"");
      const Json* schema = find_object(tool, "input_schema");
      list.push_back({{"type", "function"},
                      {"function",
                       {{"name", *name},
                        {"description", get_string(tool, "description").value_or("")},
                        {"parameters", schema == nullptr ? Json{{"type", "object"}} : *schema}}}});
    }
    if (!list.empty()) out["tools"] = std::move(list);
  }
  if (const Json* choice = find_object(body, "tool_choice")) {
    const std::string type = get_string(*choice, "type").value_or("auto");
    if (type != "auto" && type != "any" && type != "none" && type != "tool") {
      throw wrong_field("tool_choice", "of type auto, any, tool or none");
    }
    if (type == "any") out["tool_choice"] = "required";
    if (type == "none") out["tool_choice"] = "none";
    if (type == "tool") {
      out["tool_choice"] = {{"type", "function"}, {"function", {{"name", get_string(*choice, "name").value_or("")}}}};
    }
    if (get_bool(*choice, "disable_parallel_tool_use").value_or(false)) out["parallel_tool_calls"] = false;
  }
  if (const Json* thinking = find_object(body, "thinking")) {
    const std::string type = get_string(*thinking, "type").value_or("");
    if (type == "enabled" || type == "disabled") out["enable_thinking"] = type == "enabled";
    if (type == "enabled") {
      if (const auto budget = get_integer(*thinking, "budget_tokens", 0, INT32_MAX)) {
        out["reasoning_budget_tokens"] = *budget;
      }
    }
  }
  if (const Json* schema = find(body, "output_config", "format"); schema != nullptr && find(*schema, "schema")) {
    out["response_format"] = {{"type", "json_schema"}, {"json_schema", {{"schema", (*schema)["schema"]}}}};
  }
  if (const Json* stops = find(body, "stop_sequences")) out["stop_sequences"] = *stops;
  out["max_tokens"] = get_integer(body, "max_tokens", 0, INT32_MAX).value_or(kUsualMost);
  return out;
}

namespace {

// One answer: blocks of thinking, text and tool use, as events or as one object.
class AnthropicAnswer final : public ChatListener {
 public:
  AnthropicAnswer(const Call& call, std::size_t prompt)
      : reply_(call.reply),
        id_(new_id("msg_")),
        model_(get_string(call.body, "model").value_or(call.served->name)),
        prompt_(prompt) {
    if (!get_bool(call.body, "stream").value_or(false)) return;
    events_ =
        std::make_shared<EventStream>(reply_, std::string(kEventStream), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    events_->break_silence(kPingSeconds);
  }

 protected:
  void content(const std::string& text) override { add("text", text); }
  void reasoning(const std::string& text) override { add("thinking", text); }
  void call(std::size_t /*index*/, const chat::ToolCall& call) override {
    close();
    Json input = Json::parse(call.arguments, nullptr, false);
    if (!input.is_object()) input = Json::object();
    Json block = {{"type", "tool_use"}, {"id", new_id("toolu_")}, {"name", call.name}, {"input", Json::object()}};
    if (events_) {
      begin();
      send("content_block_start", {{"index", blocks_.size()}, {"content_block", block}});
      delta({{"type", "input_json_delta"}, {"partial_json", dump(input)}});
      send("content_block_stop", {{"index", blocks_.size()}});
    }
    block["input"] = std::move(input);
    blocks_.push_back(std::move(block));
  }
  void ended(const Outcome& outcome) override {
    if (const auto failure = failure_of(outcome)) {
      if (!events_ || !events_->begun()) return refuse(*reply_, ErrorForm::Anthropic, *failure);
      events_->event(error_object(ErrorForm::Anthropic, *failure), "error");
      return events_->end();
    }
    close();
    const Json stop = outcome.finish == Finish::StopString ? Json(outcome.stop) : Json();
    const bool length = outcome.finish == Finish::Length || outcome.finish == Finish::ContextFull;
    const char* reason = length                                 ? "max_tokens"
                         : calls() > 0                          ? "tool_use"
                         : outcome.finish == Finish::StopString ? "stop_sequence"
                                                                : "end_turn";
    const exec::SessionResult& figures = outcome.figures;
    Json usage = {{"input_tokens", figures.prompt_tokens - figures.shared_tokens},
                  {"cache_read_input_tokens", figures.shared_tokens},
                  {"cache_creation_input_tokens", 0},
                  {"output_tokens", figures.generated_tokens}};
    if (!events_) {
      Json whole = message(std::move(usage));
      whole["content"] = blocks_;
      whole["stop_reason"] = reason;
      whole["stop_sequence"] = stop;
      return reply_->send(200, "application/json", dump(whole));
    }
    begin();
    send("message_delta", {{"delta", {{"stop_reason", reason}, {"stop_sequence", stop}}}, {"usage", std::move(usage)}});
    send("message_stop", Json::object());
    events_->end();
  }

 private:
  [[nodiscard]] Json message(Json usage) const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", Json::array()},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr},
            {"usage", std::move(usage)}};
  }
  void send(std::string_view type, Json more) {
    Json event = {{"type", type}};
    event.update(more);
    events_->event(event, type);
  }
  void delta(Json delta) { send("content_block_delta", {{"index", blocks_.size()}, {"delta", std::move(delta)}}); }
  void begin() {
    if (std::exchange(begun_, true)) return;
    send("message_start", {{"message", message({{"input_tokens", prompt_},
                                                {"cache_read_input_tokens", 0},
                                                {"cache_creation_input_tokens", 0},
                                                {"output_tokens", 0}})}});
  }
  void add(const std::string& kind, const std::string& text) {
    if (open_ != kind) {
      close();
      open_ = kind;
      if (events_) {
        begin();
        Json block = {{"type", kind}, {kind, ""}};
        if (kind == "thinking") block["signature"] = "";
        send("content_block_start", {{"index", blocks_.size()}, {"content_block", std::move(block)}});
      }
    }
    text_ += text;
    if (events_) delta({{"type", kind + "_delta"}, {kind, text}});
  }
  void close() {
    if (open_.empty()) return;
    if (events_) {
      if (open_ == "thinking") delta({{"type", "signature_delta"}, {"signature", ""}});
      send("content_block_stop", {{"index", blocks_.size()}});
    }
    Json block = {{"type", open_}, {open_, std::exchange(text_, {})}};
    if (open_ == "thinking") block["signature"] = "";
    blocks_.push_back(std::move(block));
    open_.clear();
  }

  std::shared_ptr<Reply> reply_;
  std::shared_ptr<EventStream> events_;
  std::string id_, model_;
  std::size_t prompt_;
  bool begun_ = false;
  std::string open_, text_;  // the block that is being written: its type, and its text so far
  std::vector<Json> blocks_;
};

}  // namespace

void anthropic_messages(const Call& call) {
  ChatRequest request = read_chat(*call.served, anthropic_body(call.body), Dialect::Anthropic);
  auto answer = std::make_shared<AnthropicAnswer>(call, request.generation.prompt.size());
  tell_changes(call, request);
  std::vector<Job> jobs;
  jobs.push_back({std::move(request.generation), std::move(answer)});
  start(call, std::move(jobs));
}

void anthropic_count(const Call& call) {
  const ChatRequest request = read_chat(*call.served, anthropic_body(call.body), Dialect::Anthropic);
  call.send({{"input_tokens", request.generation.prompt.size()}});
}

}  // namespace loadline::serve

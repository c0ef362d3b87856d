#include "chat/conversation.h"

#include <fmt/format.h>

#include "base/text.h"
#include "chat/jinja/json.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat {
namespace {

using jinja::Kind;
using jinja::Value;

// Behind the last content while rendering, so that the place is found again. The blank shows whether the template
// trims, as in transformers.
constexpr std::string_view kOpenMark = "\uE000LOADLINE_CONTINUES\uE000 ";

std::string member_text(const Value& message, std::string_view name) {
  const Value* found = message.is(Kind::Dict) ? message.dict().find(name) : nullptr;
  return found != nullptr && found->is_string() ? found->text() : std::string();
}

// Whether a probe renders and all of `needles` are in it.
bool shows(const Template& chat_template, std::string_view variables, std::initializer_list<std::string_view> needles,
           std::string_view never = {}) {
  RenderOptions options;
  options.limits.output = Bytes(std::uint64_t{1} << 20);
  options.limits.memory = Bytes(std::uint64_t{32} << 20);
  options.limits.steps = 2'000'000;
  try {
    const std::string out = chat_template.render(variables, options);
    for (const std::string_view needle : needles) {
      if (out.find(needle) == std::string::npos) return false;
    }
    return never.empty() || out.find(never) == std::string::npos;
  } catch (const Error&) {
    return false;
  }
}

std::string probe(std::string_view messages, std::string_view more = "\"tools\": null") {
  return fmt::format(R"({{"messages": [{}], "add_generation_prompt": true, "bos_token": "", "eos_token": "", {}}})",
                     messages, more);
}

std::string rendered(const Template& chat_template, const std::string& variables) {
  try {
    return chat_template.render(variables);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

Capabilities capabilities_of(const Template& chat_template) {
  const auto can = [&](std::string_view messages, std::initializer_list<std::string_view> needles,
                       std::string_view never = {}) { return shows(chat_template, probe(messages), needles, never); };
  Capabilities out;
  constexpr std::string_view kUser = R"({"role": "user", "content": "<user needle>"})";
  out.system = can(fmt::format(R"({{"role": "system", "content": "<system needle>"}}, {})", kUser),
                   {"<system needle>", "<user needle>"});
  out.developer = can(fmt::format(R"({{"role": "developer", "content": "<developer needle>"}}, {})", kUser),
                      {"<developer needle>", "<user needle>"}) &&
                  chat_template.mentions("developer");
  out.late_system =
      can(fmt::format(R"({0}, {{"role": "assistant", "content": "<answer>"}}, {{"role": "system", "content":
                                    "<system needle>"}}, {0})",
                      kUser),
          {"<system needle>", "<answer>"});
  out.neighbours = can(fmt::format(R"({}, {{"role": "user", "content": "<second needle>"}})", kUser),
                       {"<user needle>", "<second needle>"});
  out.typed_content =
      can(R"({"role": "user", "content": [{"type": "text", "text": "<part needle>"}]})", {"<part needle>"}, "'type'");
  constexpr std::string_view kTools =
      R"("tools": [{"type": "function", "function": {"name": "needle_tool", "description": "d", "parameters":
      {"type": "object", "properties": {"x": {"type": "string", "description": "y"}}, "required": ["x"]}}}])";
  out.tools = shows(chat_template, probe(kUser, kTools), {"needle_tool"});
  const auto calls = [&](std::string_view arguments, bool two) {
    const auto call = [&](std::string_view name, std::string_view id) {
      return fmt::format(R"({{"id": "{}", "type": "function", "function": {{"name": "{}", "arguments": {}}}}})", id,
                         name, arguments);
    };
    const std::string list = call("needle_tool", "abcdefghi") + (two ? ", " + call("other_tool", "abcdefghj") : "");
    const std::string message = fmt::format(R"({{"role": "assistant", "content": "", "tool_calls": [{}]}})", list);
    return fmt::format(
        R"({}, {}, {{"role": "tool", "tool_call_id": "abcdefghi", "name": "needle_tool", "content":
                       "<result>"}}{})",
        kUser, message,
        two ? R"(, {"role": "tool", "tool_call_id": "abcdefghj", "name": "other_tool", "content": "r2"})" : "");
  };
  for (const std::string_view arguments : {R"({"x": "1"})", R"("{\"x\": \"1\"}")"}) {
    out.calls = out.calls || can(calls(arguments, false), {"needle_tool"});
    out.parallel_calls = out.parallel_calls || can(calls(arguments, true), {"needle_tool", "other_tool"});
  }
  for (const std::string_view name : {"enable_thinking", "thinking"}) {
    if (!chat_template.mentions(name)) continue;
    const std::string on = rendered(chat_template, probe(kUser, fmt::format("\"{}\": true", name)));
    const std::string off = rendered(chat_template, probe(kUser, fmt::format("\"{}\": false", name)));
    out.thinking_switch = out.thinking_switch || on != off;
  }
  return out;
}

Conversation::Conversation(const RenderLimits& limits)
    : heap_(limits.memory.value, limits.steps), variables_(heap_.dict()) {}

void Conversation::set_all(std::string_view json) {
  Value all;
  try {
    all = jinja::parse_json(heap_, json);
  } catch (const jinja::Failure& failure) {
    throw bad_input(fmt::format("the conversation is {}", failure.what()));
  }
  if (!all.is(Kind::Dict)) throw bad_input("the conversation is no JSON object");
  for (const auto& [key, value] : all.dict().entries) variables_.dict().set(key, value);
}

void Conversation::set(std::string_view name, std::string_view json) {
  try {
    variables_.dict().set(name, jinja::parse_json(heap_, json));
  } catch (const jinja::Failure& failure) {
    throw bad_input(fmt::format("{} is {}", name, failure.what()));
  }
}

void Conversation::set_text(std::string_view name, std::string_view text) {
  variables_.dict().set(name, heap_.string(std::string(text)));
}

bool Conversation::has(std::string_view name) const { return variables_.dict().find(name) != nullptr; }

Value Conversation::messages() const {
  const Value* found = variables_.dict().find("messages");
  if (found == nullptr || !found->is(Kind::List)) throw bad_input("the conversation has no list \"messages\"");
  for (const Value& message : found->items()) {
    if (!message.is(Kind::Dict)) throw bad_input("a message is no JSON object");
  }
  return *found;
}

std::string Conversation::messages_json() {
  return has("messages") ? jinja::json_of(heap_, messages()) : std::string();
}

// Text parts become one text; a list with anything else in it stays.
void Conversation::join_parts(Value& message, bool& changed) {
  const Value* content = message.dict().find("content");
  if (content == nullptr || !content->is(Kind::List)) return;
  std::string text;
  bool begun = false;
  for (const Value& part : content->items()) {
    const bool is_text = part.is_string() || (part.is(Kind::Dict) && part.dict().find("text") != nullptr);
    if (!is_text) return;
    if (begun) text += '\n';
    begun = true;
    text += part.is_string() ? part.text() : member_text(part, "text");
  }
  message.dict().set("content", heap_.string(std::move(text)));
  changed = true;
}

std::vector<std::string> Conversation::fit(const Capabilities& can) {
  std::vector<Value> fitted;
  bool parts_joined = false;
  bool developer_changed = false;
  bool system_moved = false;
  bool neighbours_joined = false;
  std::string system;  // that goes before the next user's text
  for (const Value& original : messages().items()) {
    Value message = heap_.dict();
    for (const auto& [key, value] : original.dict().entries) message.dict().set(key, value);
    std::string role = member_text(message, "role");
    if (!can.typed_content) join_parts(message, parts_joined);
    if (role == "developer" && !can.developer) {
      role = "system";
      message.dict().set("role", heap_.string(role));
      developer_changed = true;
    }
    const bool plain = message.dict().find("content") != nullptr && message.dict().find("content")->is_string();
    if (role == "system" && plain && !(fitted.empty() ? can.system : can.late_system)) {
      if (!system.empty()) system += "\n\n";
      system += member_text(message, "content");
      system_moved = true;
      continue;
    }
    if (role == "user" && plain && !system.empty()) {
      message.dict().set("content", heap_.string(system + "\n\n" + member_text(message, "content")));
      system.clear();
    }
    const bool joinable = plain && (role == "user" || role == "assistant" || role == "system") &&
                          message.dict().find("tool_calls") == nullptr;
    if (joinable && !can.neighbours && !fitted.empty() && member_text(fitted.back(), "role") == role &&
        fitted.back().dict().find("tool_calls") == nullptr && fitted.back().dict().find("content")->is_string()) {
      const std::string joined = member_text(fitted.back(), "content") + "\n\n" + member_text(message, "content");
      fitted.back().dict().set("content", heap_.string(joined));
      neighbours_joined = true;
      continue;
    }
    fitted.push_back(std::move(message));
  }
  if (!system.empty()) {  // nobody spoke after it
    Value message = heap_.dict();
    message.dict().set("role", heap_.string("user"));
    message.dict().set("content", heap_.string(system));
    fitted.push_back(std::move(message));
  }
  variables_.dict().set("messages", heap_.list(std::move(fitted)));
  std::vector<std::string> said;
  if (developer_changed) said.emplace_back("the template knows no role developer: it is system");
  if (system_moved) {
    said.emplace_back("the template takes no system message there: its text stands before the next user's");
  }
  if (neighbours_joined) said.emplace_back("the template wants turns to alternate: neighbours of one role are joined");
  if (parts_joined) said.emplace_back("the template takes text only: the parts of a message are joined");
  return said;
}

std::string Conversation::render(const Template& chat_template, const RenderOptions& options, bool continue_last) {
  if (!continue_last) return chat_template.render(heap_, variables_, options);
  const Value list = messages();
  if (list.items().empty() || member_text(list.items().back(), "role") != "assistant") {
    throw bad_input("the last message is not the assistant's, so that there is nothing to continue");
  }
  const Value last = list.items().back();
  Value open = heap_.dict();
  for (const auto& [key, value] : last.dict().entries) open.dict().set(key, value);
  const Value* content = last.dict().find("content");
  std::string text;
  if (content != nullptr && content->is(Kind::List)) {
    std::vector<Value> parts = content->items();
    for (std::size_t i = parts.size(); i > 0; --i) {
      if (!parts[i - 1].is(Kind::Dict) || parts[i - 1].dict().find("text") == nullptr) continue;
      text = member_text(parts[i - 1], "text");
      Value part = heap_.dict();
      for (const auto& [key, value] : parts[i - 1].dict().entries) part.dict().set(key, value);
      part.dict().set("text", heap_.string(text + std::string(kOpenMark)));
      parts[i - 1] = std::move(part);
      break;
    }
    open.dict().set("content", heap_.list(std::move(parts)));
  } else {
    text = member_text(last, "content");
    open.dict().set("content", heap_.string(text + std::string(kOpenMark)));
  }
  std::vector<Value> opened = list.items();
  opened.back() = std::move(open);
  Value variables = heap_.dict();
  for (const auto& [key, value] : variables_.dict().entries) variables.dict().set(key, value);
  variables.dict().set("messages", heap_.list(std::move(opened)));
  variables.dict().set("add_generation_prompt", Value::boolean(false));
  std::string prompt = chat_template.render(heap_, variables, options);
  const std::string_view mark = kOpenMark.substr(0, kOpenMark.size() - 1);
  const std::size_t at = prompt.rfind(mark);
  if (at == std::string::npos)
    throw bad_input("the template does not show the last message, which was to be continued");
  const bool kept = std::string_view(prompt).substr(at).starts_with(kOpenMark);
  prompt.resize(at);
  if (!kept) prompt = std::string(jinja::trimmed_right(prompt));
  return prompt;
}

}  // namespace loadline::chat

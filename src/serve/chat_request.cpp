#include "serve/chat_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "grammar/languages.h"
#include "serve/request_memory.h"
#include "talk/call_forms.h"

namespace loadline::serve {
namespace {

constexpr std::size_t kMostTools = 512;

// ---- messages ----

// Text of all parts that are text; what is none is refused by name.
void check_part(const Json& part) {
  if (part.is_string()) return;
  if (!part.is_object() || (find(part, "type") == nullptr && find(part, "text") == nullptr)) {
    throw bad_input("\"messages\": parts of \"content\" must be objects with a \"type\"");
  }
  const std::string type = get_string(part, "type").value_or("text");
  if (type == "text" || type == "input_text" || type == "output_text" || type == "refusal") return;
  if (type.find("image") != std::string::npos) throw bad_input("\"messages\": this model takes no images");
  if (type.find("audio") != std::string::npos) throw bad_input("\"messages\": this model takes no audio");
  throw bad_input(fmt::format("\"messages\": parts of type \"{}\" are not supported", printable(type)));
}

Json fitted_content(const Json& content) {
  if (content.is_null()) return "";
  if (content.is_string()) return content;
  if (!content.is_array()) throw wrong_field("content", "a string or an array of parts");
  Json parts = Json::array();
  for (const Json& part : content) {
    check_part(part);
    const std::string text = part.is_string()
                                 ? part.get<std::string>()
                                 : get_string(part, "text").value_or(get_string(part, "refusal").value_or(""));
    parts.push_back({{"type", "text"}, {"text", text}});
  }
  return parts;
}

// Arguments are JSON written as a string; templates want the object itself. What is no JSON stays a string.
Json fitted_calls(const Json& calls) {
  if (!calls.is_array()) throw wrong_field("tool_calls", "an array");
  Json out = Json::array();
  for (Json call : calls) {
    if (!call.is_object()) throw wrong_field("tool_calls", "an array of objects");
    if (!call.contains("type")) call["type"] = "function";
    Json* function = call.contains("function") && call["function"].is_object() ? &call["function"] : nullptr;
    if (function == nullptr) throw wrong_field("tool_calls", "an array of objects with a \"function\"");
    if (!get_string(*function, "name")) throw bad_input("\"tool_calls\": a function has no \"name\"");
    if (!function->contains("arguments") || (*function)["arguments"].is_null()) {
      (*function)["arguments"] = Json::object();
    }
    Json& arguments = (*function)["arguments"];
    if (arguments.is_string()) {
      const std::string text = arguments.get<std::string>();
      Json parsed = text.empty() ? Json::object() : Json::parse(text, nullptr, false);
      if (!parsed.is_discarded() && parsed.is_object()) arguments = std::move(parsed);
    }
    out.push_back(std::move(call));
  }
  return out;
}

Json fitted_messages(const Json& body) {
  const Json* messages = find(body, "messages");
  if (messages == nullptr || !messages->is_array()) throw wrong_field("messages", "an array of messages");
  if (messages->empty()) throw bad_input("\"messages\" is empty");
  Json out = Json::array();
  for (Json message : *messages) {
    if (!message.is_object()) throw wrong_field("messages", "an array of objects");
    const auto role = get_string(message, "role");
    if (!role || role->empty()) throw bad_input("\"messages\": a message has no \"role\"");
    message["content"] = fitted_content(message.contains("content") ? message["content"] : Json());
    if (*role == "function") message["role"] = "tool";
    if (const Json* calls = find(message, "tool_calls"); calls != nullptr && !calls->empty()) {
      message["tool_calls"] = fitted_calls(*calls);
    } else {
      message.erase("tool_calls");
    }
    // What the model thought, by the names that clients have for it.
    for (const char* name : {"reasoning", "thinking"}) {
      if (!message.contains("reasoning_content") && find(message, name) != nullptr && message[name].is_string()) {
        message["reasoning_content"] = message[name];
      }
    }
    out.push_back(std::move(message));
  }
  return out;
}

// Whether the last message is an answer that is to be continued.
bool goes_on(const Json& body, const Json& messages) {
  const Json& last = messages.back();
  const auto wanted = get_bool(body, "continue_final_message");
  const auto lite = get_bool(body, "continue_assistant_turn");
  if (wanted == true && get_bool(body, "add_generation_prompt").value_or(true)) {
    throw bad_input("\"continue_final_message\" needs \"add_generation_prompt\" to be false");
  }
  if (last["role"] != "assistant" || last.contains("tool_calls")) return false;
  return wanted.value_or(lite.value_or(true));
}

// ---- tools ----

struct Offer {
  Json tools = Json::array();   // functions, in OpenAI's nested form
  std::string choice = "none";  // as talk::tool_grammar has it
  bool parallel = true;

  [[nodiscard]] bool any() const { return choice != "none"; }
  [[nodiscard]] bool must() const { return any() && choice != "auto"; }
};

Offer read_offer(const Json& body) {
  Offer offer;
  const Json* tools = find(body, "tools");
  const Json* functions = find(body, "functions");  // the older form
  if (tools == nullptr && functions == nullptr) return offer;
  const Json& list = tools != nullptr ? *tools : *functions;
  if (!list.is_array()) throw wrong_field("tools", "an array");
  if (list.size() > kMostTools) throw wrong_field("tools", fmt::format("at most {} tools", kMostTools));
  for (const Json& tool : list) {
    if (!tool.is_object()) throw wrong_field("tools", "an array of objects");
    const std::string type = get_string(tool, "type").value_or("function");
    if (type != "function") continue;  // a service of somebody else's
    Json function = find(tool, "function") != nullptr ? tool["function"] : tool;
    function.erase("type");
    const Json* name = find(function, "name");
    if (name == nullptr || !name->is_string()) throw bad_input("\"tools\": a function has no \"name\"");
    if (const Json* schema = find(function, "parameters"); schema != nullptr && !schema->is_object()) {
      throw bad_input("\"tools\": the \"parameters\" of a function must be an object, a JSON schema");
    }
    if (find(function, "parameters") == nullptr) {
      function["parameters"] = {{"type", "object"}, {"properties", Json::object()}};
    }
    offer.tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  if (offer.tools.empty()) return offer;
  offer.choice = "auto";
  offer.parallel = get_bool(body, "parallel_tool_calls").value_or(true);
  const Json* choice = find(body, tools != nullptr ? "tool_choice" : "function_call");
  if (choice == nullptr || *choice == "auto") return offer;
  if (*choice == "none") {
    offer.choice = "none";
  } else if (*choice == "required" || *choice == "any") {
    offer.choice = "required";
  } else if (choice->is_object()) {
    const Json* name =
        find(*choice, "function", "name") != nullptr ? find(*choice, "function", "name") : find(*choice, "name");
    if (name == nullptr || !name->is_string()) return offer;  // a set of allowed tools: all of them are
    offer.choice = name->get<std::string>();
    const bool there =
        std::ranges::any_of(offer.tools, [&](const Json& tool) { return tool["function"]["name"] == offer.choice; });
    if (!there) throw bad_input(fmt::format("\"tool_choice\": no tool \"{}\" is offered", printable(offer.choice)));
  } else {
    throw wrong_field("tool_choice", "\"auto\", \"none\", \"required\" or an object that names a function");
  }
  return offer;
}

// Templates that know no tools: the model is told in words.
std::string told_tools(const Json& tools) {
  return fmt::format(
      "You can call these functions:\n{}\nTo call one, answer with nothing but one JSON object of the form "
      "{{\"name\": \"NAME\", \"arguments\": {{...}}}}.",
      dump(tools));
}

// ---- what the template is told besides ----

void set_thinking(const Json& body, Json& kwargs) {
  const auto set = [&](bool on) {
    if (!kwargs.contains("enable_thinking")) kwargs["enable_thinking"] = on;
    if (!kwargs.contains("thinking")) kwargs["thinking"] = on;
  };
  auto effort = get_string(body, "reasoning_effort");
  if (const Json* reasoning = find(body, "reasoning"); !effort && reasoning != nullptr && reasoning->is_object()) {
    effort = get_string(*reasoning, "effort");
  }
  if (effort == "none") {
    set(false);
  } else if (effort && !kwargs.contains("reasoning_effort")) {
    kwargs["reasoning_effort"] = *effort;
  }
  if (const Json* on = find(body, "enable_thinking"); on != nullptr && on->is_boolean()) set(on->get<bool>());
}

std::int64_t reasoning_budget(const Json& body) {
  for (const char* name : {"reasoning_budget_tokens", "thinking_budget_tokens", "reasoning_budget"}) {
    if (const auto budget = get_integer(body, name, -1, INT32_MAX)) return *budget;
  }
  return -1;
}

// What the template is told besides messages and tools.
Json read_kwargs(const Json& body) {
  Json kwargs = Json::object();
  if (const Json* given = find(body, "chat_template_kwargs")) {
    if (!given->is_object()) throw wrong_field("chat_template_kwargs", "an object");
    kwargs = *given;
    // What the request has fields for, and what only the model's file may say.
    for (const char* name : {"messages", "tools", "documents", "bos_token", "eos_token", "add_generation_prompt"}) {
      if (kwargs.contains(name)) throw bad_input(fmt::format("\"chat_template_kwargs\" must not have \"{}\"", name));
    }
    for (const char* name : {"enable_thinking", "thinking"}) {  // some write "false"
      if (kwargs.contains(name)) kwargs[name] = get_bool(kwargs, name).value_or(true);
    }
  }
  set_thinking(body, kwargs);
  if (reasoning_budget(body) == 0) {
    kwargs["enable_thinking"] = false;
    kwargs["thinking"] = false;
  }
  return kwargs;
}

talk::Prompt render(const Served& served, const Json& body, const Offer& offer) {
  Json messages = fitted_messages(body);
  talk::Request request;
  request.open = goes_on(body, messages);
  const bool template_offers = offer.any() && served.can().tools;
  if (offer.any() && !template_offers) {
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", told_tools(offer.tools)}});
  }
  Json kwargs = read_kwargs(body);
  if (!request.open) kwargs["add_generation_prompt"] = get_bool(body, "add_generation_prompt").value_or(true);
  request.messages = dump(messages);
  if (template_offers) request.tools = dump(offer.tools);
  request.kwargs = dump(kwargs);
  request.memory = kMostRendering;
  request.most_text = most_text(served.context());
  try {
    return served.chat->prompt(request);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::DoesNotFit) throw TooLarge(error.what());
    throw;
  }
}

// ---- what the answer must match ----

void constrain(const Served& served, const GrammarCache::Compiled& compiled, Generation& generation) {
  if (compiled == nullptr) return;
  if (compiled->grammar.resident_bytes() > kMostGrammar) throw TooLarge("the grammar of this request is too large");
  generation.constraint = talk::Constraint{{compiled, &compiled->grammar}, &served.chat->index(), compiled->triggers};
}

void set_grammar(const Served& served, const Json& body, Generation& generation) {
  const Json* gbnf = find(body, "grammar");
  if (gbnf == nullptr) gbnf = find(body, "grammar_string");
  if (gbnf != nullptr && *gbnf == "") gbnf = nullptr;
  const Json* schema = find(body, "json_schema");
  if (schema == nullptr) schema = find(body, "guided_json");
  if (schema != nullptr && *schema == "") {
    schema = nullptr;
  }
  bool any_object = false;
  if (const Json* format = find_object(body, "response_format")) {
    const std::string type = get_string(*format, "type").value_or("text");
    if (type == "json_object") {
      if (const Json* inner = find(*format, "schema")) {
        schema = inner;
      } else {
        any_object = true;
      }
    } else if (type == "json_schema") {
      schema = find(*format, "json_schema", "schema");
      if (schema == nullptr) schema = find(*format, "schema");
      if (schema == nullptr) throw bad_input("\"response_format\" has no \"json_schema\" with a \"schema\"");
    } else if (type != "text") {
      throw wrong_field("response_format", "of type text, json_object or json_schema");
    }
  }
  if (gbnf != nullptr && schema != nullptr) throw bad_input("\"grammar\" and \"json_schema\" exclude each other");
  using Whole = grammar::ToolGrammar;  // which nothing sets off
  GrammarCache::Compiled compiled;
  if (gbnf != nullptr) {
    if (!gbnf->is_string()) throw wrong_field("grammar", "a string");
    const std::string text = gbnf->get<std::string>();
    const bool is_schema = text.find("::=") == std::string::npos && text.find('{') != std::string::npos;
    compiled = served.grammars.get((is_schema ? "schema " : "gbnf ") + text, [&] {
      return Whole{is_schema ? grammar::compile_json_schema(text) : grammar::compile_gbnf(text, &served.tokenizer()),
                   {}};
    });
  } else if (schema != nullptr) {
    const std::string text = schema->is_string() ? schema->get<std::string>() : dump(*schema);
    compiled = served.grammars.get("schema " + text, [&] { return Whole{grammar::compile_json_schema(text), {}}; });
  } else if (any_object) {
    compiled = served.grammars.get("object", [] { return Whole{grammar::compile_json(true), {}}; });
  }
  constrain(served, compiled, generation);
}

void set_tool_grammar(const Served& served, const Offer& offer, chat::OutputFormat format, Generation& generation) {
  const std::string tools = dump(offer.tools);
  const std::string key = fmt::format("tools {} {} {} {}", offer.parallel, chat::name_of(format), offer.choice, tools);
  try {
    constrain(served,
              served.grammars.get(key,
                                  [&] {
                                    return talk::tool_grammar(tools, offer.choice, offer.parallel, format,
                                                              served.chat->chosen().source);
                                  }),
              generation);
    if (generation.constraint) generation.constraint->of_calls = true;
  } catch (const Error& error) {
    // A schema that no grammar can be made of leaves the model free, unless a call is required.
    if (offer.must()) throw bad_input(fmt::format("\"tools\": {}", error.what()));
  }
}

}  // namespace

Generation read_generation(const Served& served, const Json& body, Dialect dialect) {
  Generation generation;
  generation.most_tokens = get_most_tokens(body, dialect).value_or(-1);
  generation.sampling =
      get_sampling(body, defaults_of(dialect, served.sampling), dialect, served.tokenizer(), served.context());
  generation.stops = get_stops(body);
  generation.banned = get_banned(body);
  generation.ignore_end = get_ignore_end(body);
  generation.special = false;
  const auto slot = get_integer(body, "id_slot", -1, INT32_MAX);
  if (slot && *slot >= 0) generation.slot = static_cast<std::uint32_t>(*slot);
  generation.reuse = get_bool(body, "cache_prompt").value_or(true);
  // An answer that looks at none of them would be taken for one that did.
  if (const Json* images = find(body, "image_data"); images != nullptr && !images->empty()) {
    throw bad_input("\"image_data\": this model takes no images");
  }
  set_grammar(served, body, generation);
  return generation;
}

std::string render_chat(const Served& served, const Json& body) { return render(served, body, read_offer(body)).text; }

ChatRequest read_chat(const Served& served, const Json& body, Dialect dialect) {
  const Offer offer = read_offer(body);
  ChatRequest request;
  Generation& generation = request.generation;
  generation = read_generation(served, body, dialect);
  if (offer.any() && generation.constraint) throw bad_input("\"tools\" and a grammar exclude each other");
  talk::Prompt prompt = render(served, body, offer);
  request.prompt = std::move(prompt.text);
  request.changes = std::move(prompt.changes);
  generation.prompt = std::move(prompt.tokens);
  generation.prompt_end = std::move(prompt.end);
  generation.special = true;  // marks of reasoning and calls may be control tokens
  generation.reasoning_budget = reasoning_budget(body);
  generation.tools = std::make_shared<const chat::Tools>(offer.any() ? chat::Tools(dump(offer.tools)) : chat::Tools());
  generation.whole = get_string(body, "reasoning_format") == "none" && !offer.any();
  // Harmony's channels are there with and without tools.
  const bool harmony = served.chat->format() == chat::OutputFormat::Harmony;
  generation.format = chat::OutputFormat::ReasoningOnly;
  if (harmony) generation.format = served.chat->format();
  if (offer.any()) generation.format = served.can().tools ? served.chat->format() : chat::OutputFormat::GenericJson;
  if (offer.any()) set_tool_grammar(served, offer, *generation.format, generation);
  return request;
}

void tell_changes(const Call& call, const ChatRequest& request) {
  if (request.changes.empty()) return;
  constexpr std::size_t kMost = 1024;
  std::string all;
  for (const std::string& change : request.changes) all += (all.empty() ? "" : "; ") + change;
  std::erase_if(all, [](unsigned char c) { return c < 0x20 || c > 0x7E; });  // what a header may have
  call.reply->set_header("Loadline-Changes", all.substr(0, kMost));
}

void ChatListener::piece(const Piece& piece) {
  if (!piece.tokens.empty()) tokens(piece.tokens);
  if (!piece.text.empty()) content(piece.text);
  for (const chat::OutputEvent& event : piece.events) {
    const bool said = event.kind == chat::OutputEvent::Kind::Content;
    if (!said && event.kind != chat::OutputEvent::Kind::Reasoning) {
      hear_call(event);
      continue;
    }
    tell_calls();
    said ? content(event.text) : reasoning(event.text);
  }
}

void ChatListener::hear_call(const chat::OutputEvent& event) {
  using Kind = chat::OutputEvent::Kind;
  if (event.kind == Kind::CallBegins) begun_.push_back({event.call, false, {event.text, "", ""}});
  const auto found = std::ranges::find(begun_, event.call, &Begun::number);
  if (found == begun_.end()) return;
  if (event.kind == Kind::CallArguments) found->call.arguments += event.text;
  if (event.kind == Kind::CallDropped) begun_.erase(found);
  if (event.kind == Kind::CallEnds) {
    found->call.id = event.text;
    found->complete = true;
  }
}

void ChatListener::tell_calls() {
  for (Begun& one : std::exchange(begun_, {})) {
    if (one.complete) call(calls_++, one.call);
  }
}

void ChatListener::finished(const Outcome& outcome) {
  tell_calls();
  ended(outcome);
}

}  // namespace loadline::serve

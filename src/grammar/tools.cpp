#include "grammar/tools.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace loadline::grammar {
namespace {

// Any text up to and with the first `end`. State i: so many of its characters were just seen.
CharDfa text_until(std::u32string_view end) {
  CharDfa dfa;
  dfa.states.resize(end.size() + 1);
  dfa.states.back().accepting = true;
  for (std::size_t i = 0; i < end.size(); ++i) {
    // Characters of `end` lead on, or back to the longest beginning of it that the text now ends with.
    std::u32string used(end);
    std::ranges::sort(used);
    used.erase(std::unique(used.begin(), used.end()), used.end());
    char32_t next = 0;
    for (const char32_t c : used) {
      std::u32string seen(end.substr(0, i));
      seen.push_back(c);
      std::size_t length = seen.size();
      while (!std::u32string_view(seen).ends_with(end.substr(0, length))) --length;
      if (c > next) dfa.states[i].edges.push_back({{next, c - 1}, 0});
      dfa.states[i].edges.push_back({{c, c}, static_cast<std::uint32_t>(length)});
      next = c + 1;
    }
    if (next <= kLastCodePoint) dfa.states[i].edges.push_back({{next, kLastCodePoint}, 0});
  }
  return dfa;
}

class CallWriter {
 public:
  CallWriter(const ToolCallForm& form, Source& source) : form_(form), source_(source), out_(source.expressions) {}

  NodeId call(const Tool& tool) {
    try {
      return out_.sequence({out_.literal(form_.before_name + tool.name + form_.after_name), arguments(tool),
                            out_.literal(form_.after_arguments)});
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("tool \"{}\": {}", printable(tool.name), error.what()), error.hint());
    }
  }

 private:
  NodeId arguments(const Tool& tool) {
    const Json schema = tool.parameters.is_null() ? Json{{"type", "object"}} : tool.parameters;
    if (!form_.tagged) {
      Json object = schema;
      if (object.is_object() && !object.contains("type")) object["type"] = "object";  // arguments have names
      return out_.call(add_json_schema(out_, object));
    }
    return tagged(schema);
  }

  NodeId tagged(const Json& schema) {
    if (!schema.is_object()) return out_.literal("");
    std::vector<NodeId> items;
    const Json properties = schema.value("properties", Json::object());
    const Json required = schema.value("required", Json::array());
    if (!properties.is_object()) throw bad_input("properties must be an object of schemas");
    for (const auto& [name, value] : properties.items()) {
      const NodeId item =
          out_.sequence({out_.literal(form_.before_key + name + form_.after_key), this->value(schema, value)});
      const bool needed = std::ranges::find(required, Json(name)) != required.end();
      items.push_back(needed ? item : out_.optional(item));
    }
    return out_.sequence(items);
  }

  // Text as it is for strings; JSON for all else. With what stands behind a value.
  NodeId value(const Json& document, const Json& schema) {
    const NodeId after = out_.literal(form_.after_value);
    const Json values = schema.is_object() ? schema.value("enum", Json()) : Json();
    if (values.is_array() && std::ranges::all_of(values, [](const Json& one) { return one.is_string(); })) {
      std::vector<NodeId> choices;
      for (const Json& one : values) choices.push_back(out_.literal(one.get_ref<const std::string&>()));
      return out_.sequence({out_.choice(choices), after});
    }
    if (!schema.is_object() || !schema.contains("type") || schema["type"] == "string") {
      return out_.plain_text(text_until(decode_utf8(form_.after_value)));
    }
    // References of a property go to the document that it stands in.
    Json alone = schema;
    for (const char* name : {"$defs", "definitions"}) {
      if (document.contains(name) && !alone.contains(name)) alone[name] = document[name];
    }
    return out_.sequence({out_.call(add_json_schema(out_, alone)), after});
  }

  const ToolCallForm& form_;
  Source& source_;
  Expressions& out_;
};

}  // namespace

std::optional<ToolGrammar> tool_grammar(const ToolRequest& request, const ToolCallForm& form) {
  const bool named = request.choice == ToolChoice::Named;
  if (named && std::ranges::none_of(request.tools, [&](const Tool& tool) { return tool.name == request.name; })) {
    throw bad_input(fmt::format("there is no tool \"{}\" among those offered", printable(request.name)));
  }
  if (request.tools.empty() || request.choice == ToolChoice::None) return std::nullopt;
  if (form.tagged && form.after_value.empty()) {
    throw Error(ErrorCode::Internal, "a form of tool calls with tags has nothing behind its values");
  }
  Source source;
  Expressions& out = source.expressions;
  source.root = out.add_rule("tool calls");
  CallWriter writer(form, source);
  std::vector<NodeId> calls;
  for (const Tool& tool : request.tools) {
    if (!named || tool.name == request.name) calls.push_back(writer.call(tool));
  }
  const RuleId call = out.add_rule("tool call");
  out.set_body(call, out.choice(calls));
  std::vector<NodeId> parts{out.literal(form.begin), out.call(call)};
  if (request.parallel && !named && !form.between.empty()) {
    parts.push_back(out.repeat(out.sequence({out.literal(form.between), out.call(call)}), 0, kUnbounded));
  }
  parts.push_back(out.literal(form.end));
  out.set_body(source.root, out.sequence(parts));
  ToolGrammar result{Grammar::compile(out, source.root), {}};
  if (request.choice == ToolChoice::Auto) result.triggers.push_back(form.begin + form.before_name);
  if (!form.begin.empty() && request.choice == ToolChoice::Auto) result.triggers[0] = form.begin;
  return result;
}

}  // namespace loadline::grammar

#include "grammar/tools.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace loadline::grammar {
namespace {

// Names that every reader of calls takes for one.
void check_name(std::string_view name, bool is_word_needed) {
  const bool good = !name.empty() && name.size() <= 256 && std::ranges::all_of(name, [&](char c) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    return plain || (!is_word_needed && (c == ':' || c == '/' || static_cast<unsigned char>(c) >= 0x80));
  });
  if (good && !(is_word_needed && name.front() >= '0' && name.front() <= '9')) return;
  throw bad_input("the name cannot be written in the form of calls that the model has",
                  "Use letters, digits, _ and - alone.");
}

class CallWriter {
 public:
  CallWriter(const ToolCallForm& form, Source& source) : form_(form), out_(source.expressions) {}

  NodeId call(const Tool& tool) {
    try {
      check_name(tool.name, form_.members && form_.members->commas);
      return out_.sequence({name(tool.name), arguments(tool), out_.literal(form_.after_arguments)});
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("tool \"{}\": {}", printable(tool.name), error.what()), error.hint());
    }
  }

 private:
  NodeId name(const std::string& name) {
    constexpr std::uint32_t kLetters = 10;
    constexpr std::uint32_t kMostDigits = 4;
    switch (form_.id) {
      case ToolCallForm::Id::Letters:
        return out_.sequence({out_.literal(form_.before_name),
                              out_.repeat(out_.characters({{'0', '9'}, {'a', 'z'}}), kLetters, kLetters),
                              out_.literal(form_.id_mark + name + form_.after_name)});
      case ToolCallForm::Id::Number:
        return out_.sequence({out_.literal(form_.before_name + name + form_.id_mark),
                              out_.repeat(out_.characters({{'0', '9'}}), 1, kMostDigits),
                              out_.literal(form_.after_name)});
      case ToolCallForm::Id::None: break;
    }
    return out_.literal(form_.before_name + name + form_.after_name);
  }

  NodeId arguments(const Tool& tool) {
    Json schema =
        tool.parameters.is_null() ? Json{{"type", "object"}, {"additionalProperties", false}} : tool.parameters;
    if (schema.is_object() && !schema.contains("type")) schema["type"] = "object";  // arguments have names
    if (!form_.members) return out_.call(add_json_schema(out_, schema, form_.values));
    MemberStyle members = *form_.members;
    members.read_as = tool.read_as;
    return out_.call(add_json_schema(out_, schema, form_.values, &members));
  }

  const ToolCallForm& form_;
  Expressions& out_;
};

}  // namespace

std::optional<ToolGrammar> tool_grammar(const ToolRequest& request, const ToolCallForm& form) {
  const bool named = request.choice == ToolChoice::Named;
  if (named && std::ranges::none_of(request.tools, [&](const Tool& tool) { return tool.name == request.name; })) {
    throw bad_input(fmt::format("there is no tool \"{}\" among those offered", printable(request.name)));
  }
  if (request.tools.empty() || request.choice == ToolChoice::None) return std::nullopt;
  if (form.members && !form.members->commas && form.members->value_end.empty()) {
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
  std::vector<NodeId> parts;
  if (request.choice != ToolChoice::Auto && !form.thought_open.empty()) {
    // Its end is its first mark alone, as for whoever reads it.
    std::vector<std::string_view> never(form.values.never.begin(), form.values.never.end());
    never.push_back(std::string_view(form.thought_close).substr(0, form.thought_close.find('>') + 1));
    parts.push_back(out.optional(out.sequence(
        {out.literal(form.thought_open), out.plain_text(texts_without(never)), out.literal(form.thought_close)})));
  }
  parts.push_back(out.literal(form.begin));
  parts.push_back(out.call(call));
  if (request.parallel && !named && form.between) {
    parts.push_back(out.repeat(out.sequence({out.literal(*form.between), out.call(call)}), 0, kUnbounded));
  }
  parts.push_back(out.literal(form.end));
  out.set_body(source.root, out.sequence(parts));
  ToolGrammar result{Grammar::compile(out, source.root), {}};
  if (request.choice == ToolChoice::Auto) {
    result.triggers.push_back(form.begin.empty() ? form.before_name : form.begin);
  }
  return result;
}

}  // namespace loadline::grammar

// Calls whose arguments stand in tags, a tag each.
#include "chat/call_readers.h"
#include "chat/json_scan.h"
#include "chat/python_literal.h"
#include "chat/reading_tools.h"

namespace loadline::chat {

std::string typed_value(std::string_view text, TypeSet types) {
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  const std::string_view bare = trimmed(text);
  const std::uint8_t without_string = types.types & static_cast<std::uint8_t>(~TypeSet::kString);
  if (types.known && without_string == 0) return json_quoted(text);
  const auto allows = [&](std::uint8_t type) { return (types.types & type) != 0; };
  if (allows(TypeSet::kBoolean) && (bare == "true" || bare == "True")) return "true";
  if (allows(TypeSet::kBoolean) && (bare == "false" || bare == "False")) return "false";
  if (allows(TypeSet::kNull) && (bare == "null" || bare == "None")) return "null";
  if (!bare.empty()) {
    const std::string terminated = std::string(bare) + " ";  // so that a number ends
    const ScanResult scan = scan_json(terminated);
    if (scan.status == Scan::Complete && scan.end == bare.size()) {
      const char first = bare.front();
      const std::uint8_t type = first == '{'   ? TypeSet::kObject
                                : first == '[' ? TypeSet::kArray
                                : first == '"' ? TypeSet::kString
                                               : TypeSet::kNumber;
      // Text that may be text stays as it is: quotes are its own.
      if (type == TypeSet::kString ? !allows(TypeSet::kString) : allows(type)) return std::string(bare);
    }
    if ((first_is_bracket(bare) || bare.front() == '(') && !(types.known && allows(TypeSet::kString))) {
      std::string json;
      std::size_t at = 0;
      if (python_value(bare, at, true, json) == Scan::Complete && at == bare.size()) return json;
    }
  }
  return json_quoted(text);
}

Reading read_tagged_calls(std::string_view text, const TagStyle& style, const ReadContext& context) {
  std::vector<CallDraft> calls;
  std::size_t done = 0;  // behind the last complete call
  const auto give_up = [&](bool more) -> Reading {
    if (more && !context.final) return {Reading::Status::More, 0, std::move(calls)};
    if (!calls.empty() && !calls.back().complete) calls.pop_back();
    if (calls.empty()) return rejected();
    return {Reading::Status::Done, done, std::move(calls)};
  };
  std::size_t at = text.starts_with(style.section_open) ? style.section_open.size() : 0;
  while (true) {
    at = skip_json_blanks(text, at);
    if (!calls.empty()) {
      const Match close = match_at(text, at, style.section_close, context.final);
      if (close == Match::Yes) {
        done = at + style.section_close.size();
        return {Reading::Status::Done, done, std::move(calls)};
      }
      const Match next = match_at(text, at, style.call_open, context.final);
      if (next == Match::No) return give_up(close == Match::Maybe);
      if (next == Match::Maybe) return give_up(true);
    } else if (const Match first = match_at(text, at, style.call_open, context.final); first != Match::Yes) {
      return give_up(first == Match::Maybe);
    }
    at += style.call_open.size();
    const std::size_t name_end = text.find(style.call_name_end, at);
    if (name_end == std::string_view::npos) return give_up(true);
    CallDraft& call = calls.emplace_back();
    call.name = trimmed(text.substr(at, name_end - at));
    if (!is_name(call.name)) return give_up(false);
    call.arguments = "{";
    at = name_end + style.call_name_end.size();
    while (true) {
      at = skip_json_blanks(text, at);
      const Match close = match_at(text, at, style.call_close, context.final);
      if (close == Match::Yes) break;
      const Match open = match_at(text, at, style.parameter_open, context.final);
      if (open != Match::Yes) return give_up(close == Match::Maybe || open == Match::Maybe);
      at += style.parameter_open.size();
      const std::size_t tag_end = text.find(style.says_string ? ">" : style.parameter_name_end, at);
      if (tag_end == std::string_view::npos) return give_up(true);
      std::string_view name = text.substr(at, tag_end - at);
      bool is_string = false;
      bool is_json = false;
      if (style.says_string) {
        is_string = name.find("string=\"true\"") != std::string_view::npos;
        is_json = name.find("string=\"false\"") != std::string_view::npos;
        name = name.substr(0, name.find('"'));
      }
      at = tag_end + (style.says_string ? 1 : style.parameter_name_end.size());
      const std::size_t value_end = text.find(style.parameter_close, at);
      if (value_end == std::string_view::npos) return give_up(true);
      TypeSet types = context.tools.type_of(call.name, trimmed(name));
      if (is_string) types = {TypeSet::kString, true};
      if (is_json) types = {static_cast<std::uint8_t>(TypeSet::kAll & ~TypeSet::kString), true};
      if (call.arguments.size() > 1) call.arguments += ", ";
      call.arguments += json_quoted(trimmed(name)) + ": " + typed_value(text.substr(at, value_end - at), types);
      at = value_end + style.parameter_close.size();
    }
    at += style.call_close.size();
    call.arguments += '}';
    call.complete = true;
    done = at;
  }
}

Reading read_glm_call(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "<tool_call>";
  constexpr std::string_view kClose = "</tool_call>";
  constexpr std::string_view kKey = "<arg_key>";
  constexpr std::string_view kKeyEnd = "</arg_key>";
  constexpr std::string_view kValue = "<arg_value>";
  constexpr std::string_view kValueEnd = "</arg_value>";
  CallDraft call;
  std::size_t at = skip_json_blanks(text, kOpen.size());
  const std::size_t name_end = text.find_first_of("<\n", at);
  const std::string_view name = trimmed(text.substr(at, name_end == std::string_view::npos ? name_end : name_end - at));
  if (!name.empty() && !is_name(name)) return rejected();
  if (name_end == std::string_view::npos) return unfinished({}, context);
  if (name.empty()) return rejected();
  call.name = name;
  call.arguments = "{";
  at = name_end;
  while (true) {
    at = skip_json_blanks(text, at);
    const Match close = match_at(text, at, kClose, context.final);
    if (close == Match::Yes) break;
    // Stopped right before it.
    if (context.final && at >= text.size() && call.arguments.size() > 1) {
      call.arguments += '}';
      call.complete = true;
      return {Reading::Status::Done, at, {call}};
    }
    const Match key = match_at(text, at, kKey, context.final);
    if (close == Match::No && key == Match::No) return rejected();
    if (key != Match::Yes) return unfinished({call}, context);
    at += kKey.size();
    const std::size_t key_end = text.find(kKeyEnd, at);
    if (key_end == std::string_view::npos) return unfinished({call}, context);
    const std::string_view argument = trimmed(text.substr(at, key_end - at));
    at = skip_json_blanks(text, key_end + kKeyEnd.size());
    const Match value = match_at(text, at, kValue, context.final);
    if (value == Match::No) return rejected();
    if (value == Match::Maybe) return unfinished({call}, context);
    at += kValue.size();
    const std::size_t value_end = text.find(kValueEnd, at);
    if (value_end == std::string_view::npos) return unfinished({call}, context);
    if (call.arguments.size() > 1) call.arguments += ", ";
    call.arguments += json_quoted(argument) + ": " +
                      typed_value(text.substr(at, value_end - at), context.tools.type_of(call.name, argument));
    at = value_end + kValueEnd.size();
  }
  call.arguments += '}';
  call.complete = true;
  return {Reading::Status::Done, at + kClose.size(), {call}};
}

}  // namespace loadline::chat

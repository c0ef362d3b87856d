#include "chat/call_readers.h"

#include <algorithm>

#include "chat/json_scan.h"
#include "chat/python_literal.h"
#include "chat/reading_tools.h"

namespace loadline::chat {
namespace {

bool is_one_of(std::string_view key, std::initializer_list<std::string_view> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

enum class Draft : std::uint8_t { Good, Bad, Unknown };

// A call from the members of an object, as far as they have come. `bare`: nothing marks it as a call.
Draft draft_from(const std::vector<JsonMember>& members, bool object_complete, bool bare, const ReadContext& context,
                 CallDraft& draft) {
  bool has_arguments = false;
  bool name_known = false;
  for (const JsonMember& member : members) {
    if (is_one_of(member.key, {"name", "tool_name"})) {
      if (!member.value.empty() && member.value.front() != '"') return Draft::Bad;
      if (!member.complete) continue;
      draft.name = json_string_content(member.value);
      if (bare ? !context.tools.has(draft.name) : draft.name.empty()) return Draft::Bad;
      name_known = true;
    } else if (is_one_of(member.key, {"arguments", "parameters", "args"})) {
      has_arguments = true;
      if (member.complete) {
        if (!clean_arguments(member.value, draft.arguments)) return Draft::Bad;
      } else if (member.value.starts_with('{')) {
        draft.arguments = member.value;
      } else if (!member.value.empty() && member.value.front() != '"' &&
                 !std::string_view("null").starts_with(member.value)) {
        return Draft::Bad;
      }
    } else if (is_one_of(member.key, {"id", "tool_call_id", "call_id"})) {
      if (member.complete) draft.id = json_string_content(member.value);
    } else if (member.key == "function") {
      if (member.value.starts_with('{')) {
        std::vector<JsonMember> inner;
        const bool inner_complete = scan_members(member.value, 0, inner).status == Scan::Complete;
        const Draft result = draft_from(inner, inner_complete, bare, context, draft);
        if (result == Draft::Bad) return result;
        name_known = has_arguments = has_arguments || result == Draft::Good;
      } else if (member.complete && member.value.starts_with('"')) {
        draft.name = json_string_content(member.value);
        name_known = true;
        if (bare && !context.tools.has(draft.name)) return Draft::Bad;
      }
    } else if (bare && member.key != "type") {
      return Draft::Bad;
    }
  }
  // {"name of the tool": {arguments}}
  if (!name_known && !has_arguments && !bare && members.size() == 1 && context.tools.has(members[0].key) &&
      (members[0].value.empty() || members[0].value.front() == '{')) {
    draft.name = members[0].key;
    draft.arguments = members[0].value;
    draft.complete = object_complete;
    return object_complete ? Draft::Good : Draft::Unknown;
  }
  if (!object_complete) return Draft::Unknown;
  if (!name_known || (!has_arguments && bare)) return Draft::Bad;
  if (!has_arguments) draft.arguments = "{}";
  draft.complete = true;
  return Draft::Good;
}

bool read_call_array(std::string_view text, std::size_t begin, bool bare, const ReadContext& context,
                     std::vector<CallDraft>& calls, std::size_t& end, bool& complete);

// The object at `begin`. False: it is no call. `end` is behind it where it is complete.
bool read_call_object(std::string_view text, std::size_t begin, bool bare, const ReadContext& context,
                      std::vector<CallDraft>& calls, std::size_t& end, bool& complete) {
  std::vector<JsonMember> members;
  const ScanResult scan = scan_members(text, begin, members);
  if (scan.status == Scan::Invalid) return false;
  complete = scan.status == Scan::Complete;
  end = scan.end;
  // {"tool_call": {...}}, {"tool_calls": [...]}: what models write that were told of calls in so many words.
  if (bare && members.size() == 1 && is_one_of(members[0].key, {"tool_call", "tool_calls", "function_call"})) {
    const std::string_view inner = members[0].value;
    std::size_t inner_end = 0;
    bool inner_complete = false;
    if (inner.empty()) return !complete;
    if (inner.starts_with('{')) return read_call_object(inner, 0, bare, context, calls, inner_end, inner_complete);
    return inner.starts_with('[') && read_call_array(inner, 0, bare, context, calls, inner_end, inner_complete);
  }
  CallDraft draft;
  const Draft result = draft_from(members, complete, bare, context, draft);
  if (result == Draft::Bad) return false;
  if (result == Draft::Good || !draft.name.empty()) calls.push_back(std::move(draft));
  return true;
}

// An array of calls at `begin`.
bool read_call_array(std::string_view text, std::size_t begin, bool bare, const ReadContext& context,
                     std::vector<CallDraft>& calls, std::size_t& end, bool& complete) {
  std::vector<JsonElement> elements;
  const ScanResult scan = scan_elements(text, begin, elements);
  if (scan.status == Scan::Invalid) return false;
  complete = scan.status == Scan::Complete;
  end = scan.end;
  if (complete && elements.empty()) return false;
  for (const JsonElement& element : elements) {
    std::size_t element_end = 0;
    bool element_complete = false;
    if (element.text.empty()) continue;
    if (!read_call_object(element.text, 0, bare, context, calls, element_end, element_complete)) return false;
  }
  return true;
}

// Behind calls: a closing mark is taken where it stands, and waited for where it may.
bool take_close(std::string_view text, std::span<const std::string_view> closers, const ReadContext& context,
                std::size_t& end) {
  const std::size_t at = skip_json_blanks(text, end);
  for (const std::string_view closer : closers) {
    const Match match = match_at(text, at, closer, context.final);
    if (match == Match::Maybe) return false;
    if (match == Match::Yes) {
      end = at + closer.size();
      return true;
    }
  }
  return true;
}

}  // namespace

Match match_at(std::string_view text, std::size_t at, std::string_view mark, bool final) {
  const std::string_view rest = text.substr(std::min(at, text.size()));
  if (rest.starts_with(mark)) return Match::Yes;
  return !final && mark.starts_with(rest) ? Match::Maybe : Match::No;
}

bool clean_arguments(std::string_view json, std::string& out) {
  if (json == "null") {
    out = "{}";
    return true;
  }
  if (json.starts_with('"')) {
    const std::string inner = json_string_content(json);
    if (trimmed(inner).empty()) {
      out = "{}";
      return true;
    }
    if (trimmed(inner).starts_with('{')) {
      const ScanResult scan = scan_json(inner);
      if (scan.status == Scan::Complete && trimmed(std::string_view(inner).substr(scan.end)).empty()) {
        out = trimmed(inner);
        return true;
      }
    }
    return false;
  }
  if (!json.starts_with('{')) return false;
  out = json;
  return true;
}

Reading read_json_calls(std::string_view text, std::string_view open, std::span<const std::string_view> closers,
                        const ReadContext& context) {
  const bool bare = open.empty();
  std::vector<CallDraft> calls;
  std::size_t end = open.size();
  while (true) {
    const std::size_t begin = skip_json_blanks(text, end);
    if (begin >= text.size()) {
      if (!calls.empty() && context.final) break;
      return unfinished(std::move(calls), context);
    }
    if (text[begin] != '{' && text[begin] != '[') {
      if (calls.empty()) return rejected();
      break;
    }
    if (!calls.empty() && text[begin] == '[') break;
    bool complete = false;
    std::size_t value_end = 0;
    const bool is_array = text[begin] == '[';
    const bool good = is_array ? read_call_array(text, begin, bare, context, calls, value_end, complete)
                               : read_call_object(text, begin, bare, context, calls, value_end, complete);
    if (!good) {
      if (calls.empty() || is_array || !calls.back().complete) return rejected();
      break;
    }
    if (!complete) {
      if (!calls.empty() && !calls.back().complete && context.final) calls.pop_back();
      if (!context.final || is_array || calls.empty()) return unfinished(std::move(calls), context);
      break;  // what came before it is whole
    }
    end = value_end;
    if (is_array) break;
    if (!bare) {  // another object may stand between the same marks
      const std::size_t next = skip_json_blanks(text, end);
      if (closers.empty() || next >= text.size() || text[next] != '{') break;
      continue;
    }
    // Another object may follow, with ; or , between them.
    const std::size_t next = skip_json_blanks(text, end);
    if (next >= text.size() && !context.final) return unfinished(std::move(calls), context);
    if (next < text.size() && (text[next] == ';' || text[next] == ',')) {
      const std::size_t after = skip_json_blanks(text, next + 1);
      if (after >= text.size() && !context.final) return unfinished(std::move(calls), context);
      if (after < text.size() && text[after] == '{') end = after;
    }
  }
  if (calls.empty()) return rejected();
  if (!take_close(text, closers, context, end)) return unfinished(std::move(calls), context);
  return {Reading::Status::Done, end, std::move(calls)};
}

Reading read_python_calls(std::string_view text, std::string_view open, std::string_view close,
                          const ReadContext& context) {
  std::size_t at = skip_json_blanks(text, open.size());
  std::vector<CallDraft> calls;
  if (at >= text.size()) return unfinished({}, context);
  const bool bracket = text[at] == '[';
  if (!bracket && open.empty()) return rejected();
  if (bracket) ++at;
  while (true) {
    at = skip_json_blanks(text, at);
    // Code may print what a call gives.
    const bool is_code = close == "```" && !context.tools.has("print");
    const Match prints = is_code ? match_at(text, at, "print(", context.final) : Match::No;
    if (prints == Match::Maybe) return unfinished(std::move(calls), context);
    if (prints == Match::Yes) at = skip_json_blanks(text, at + 6);
    CallDraft call;
    const std::size_t call_begin = at;
    const Scan scan = python_call(text, at, context.final, call.name, call.arguments);
    if (open.empty() && !call.name.empty() && !context.tools.empty() && !context.tools.has(call.name) &&
        !(scan == Scan::Unfinished && text.find('(', call_begin) == std::string_view::npos)) {
      return rejected();
    }
    if (scan == Scan::Invalid) return rejected();
    if (scan == Scan::Unfinished) {
      if (text.find('(', call_begin) != std::string_view::npos && !call.name.empty()) calls.push_back(std::move(call));
      return unfinished(std::move(calls), context);
    }
    if (prints == Match::Yes) {
      at = skip_json_blanks(text, at);
      if (at >= text.size()) return unfinished(std::move(calls), context);
      if (text[at++] != ')') return rejected();
    }
    call.complete = true;
    calls.push_back(std::move(call));
    const std::size_t next = skip_json_blanks(text, at);
    if (bracket) {
      if (next >= text.size()) return unfinished(std::move(calls), context);
      if (text[next] == ',') {
        at = next + 1;
        continue;
      }
      if (text[next] != ']') return rejected();
      at = next + 1;
      break;
    }
    const Match closes = close.empty() ? Match::No : match_at(text, next, close, context.final);
    if (next >= text.size() && context.final) break;
    if (closes == Match::Maybe) return unfinished(std::move(calls), context);
    if (closes == Match::Yes) break;
    at = text[next] == ',' || text[next] == ';' ? next + 1 : next;
  }
  const std::string_view closers[] = {close};
  if (!close.empty() && !take_close(text, closers, context, at)) return unfinished(std::move(calls), context);
  return {Reading::Status::Done, at, std::move(calls)};
}

Reading read_mistral_calls(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "[TOOL_CALLS]";
  constexpr std::string_view kArguments = "[ARGS]";
  constexpr std::string_view kId = "[CALL_ID]";
  std::size_t at = skip_json_blanks(text, kOpen.size());
  if (at >= text.size()) return unfinished({}, context);
  if (text[at] == '[' || text[at] == '{') return read_json_calls(text, kOpen, {}, context);
  CallDraft call;
  const std::size_t name_end = text.find_first_of("[{", at);
  const std::string_view name = trimmed(text.substr(at, name_end == std::string_view::npos ? name_end : name_end - at));
  if (!is_name(name)) return rejected();
  if (name_end == std::string_view::npos) return unfinished({}, context);
  call.name = name;
  at = name_end;
  if (const Match id = match_at(text, at, kId, context.final); id == Match::Yes) {
    const std::size_t id_end = text.find('[', at + kId.size());
    if (id_end == std::string_view::npos) return unfinished({}, context);
    call.id = trimmed(text.substr(at + kId.size(), id_end - at - kId.size()));
    at = id_end;
  } else if (id == Match::Maybe) {
    return unfinished({}, context);
  }
  // Who leaves control tokens out of the text leaves nothing between name and arguments.
  const bool bare = text[at] == '{';
  const Match arguments = bare ? Match::Yes : match_at(text, at, kArguments, context.final);
  if (arguments == Match::No) return rejected();
  if (arguments == Match::Maybe) return unfinished({}, context);
  const std::size_t begin = bare ? at : skip_json_blanks(text, at + kArguments.size());
  if (begin >= text.size()) return unfinished({call}, context);
  if (text[begin] != '{') return rejected();
  const ScanResult scan = scan_json(text, begin);
  if (scan.status == Scan::Invalid) return rejected();
  call.arguments = text.substr(begin, scan.status == Scan::Complete ? scan.end - begin : std::string_view::npos);
  if (scan.status == Scan::Unfinished) return unfinished({call}, context);
  call.complete = true;
  return {Reading::Status::Done, scan.end, {call}};
}

Reading read_python_tag(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "<|python_tag|>";
  const std::size_t begin = skip_json_blanks(text, kOpen.size());
  if (begin >= text.size()) return unfinished({}, context);
  if (text[begin] == '{' || text[begin] == '[') {
    Reading json = read_json_calls(text, kOpen, {}, context);
    if (json.status != Reading::Status::Reject || text[begin] == '{') return json;
  }
  // name.call(...)
  const std::size_t dot = text.find(".call(", begin);
  const std::string_view name = text.substr(begin, dot == std::string_view::npos ? dot : dot - begin);
  if (dot != std::string_view::npos && is_name(name)) {
    std::string call_text = std::string(name) + std::string(text.substr(dot + 5));
    CallDraft call;
    std::size_t at = 0;
    const Scan scan = python_call(call_text, at, context.final, call.name, call.arguments);
    if (scan == Scan::Complete) {
      call.complete = true;
      return {Reading::Status::Done, begin + at + 5, {call}};
    }
    if (scan == Scan::Unfinished && !context.final) return unfinished({call}, context);
  }
  // Code, to the end: there is no mark behind it.
  if (!context.final) return unfinished({}, context);
  CallDraft call;
  call.name = context.tools.has("python")             ? "python"
              : context.tools.has("code_interpreter") ? "code_interpreter"
                                                      : "python";
  call.arguments = "{\"code\": " + json_quoted(trimmed(text.substr(begin))) + "}";
  call.complete = true;
  return {Reading::Status::Done, text.size(), {call}};
}

Reading read_function_tag(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "<function=";
  constexpr std::string_view kClose = "</function>";
  CallDraft call;
  const std::size_t name_end = text.find('>', kOpen.size());
  const std::string_view name =
      text.substr(kOpen.size(), name_end == std::string_view::npos ? name_end : name_end - kOpen.size());
  if (!name.empty() && !is_name(name)) return rejected();
  if (name_end == std::string_view::npos) return unfinished({}, context);
  call.name = name;
  const std::size_t begin = skip_json_blanks(text, name_end + 1);
  if (begin >= text.size()) return unfinished({call}, context);
  if (text[begin] != '{') return rejected();
  const ScanResult scan = scan_json(text, begin);
  if (scan.status == Scan::Invalid) return rejected();
  call.arguments = text.substr(begin, scan.status == Scan::Complete ? scan.end - begin : std::string_view::npos);
  if (scan.status == Scan::Unfinished) return unfinished({call}, context);
  call.complete = true;
  std::size_t end = scan.end;
  const std::string_view closers[] = {kClose};
  if (!take_close(text, closers, context, end)) return unfinished({call}, context);
  return {Reading::Status::Done, end, {call}};
}

namespace {

// One call of a section at `at`, which moves behind it.
Scan read_section_call(std::string_view text, std::size_t& at, const SectionStyle& style, const ReadContext& context,
                       CallDraft& call) {
  at += style.call_open.size();
  const auto part = [&](std::string_view mark, std::string_view& out) {
    const std::size_t end = text.find(mark, at);
    if (end == std::string_view::npos) return false;
    out = trimmed(text.substr(at, end - at));
    at = end + mark.size();
    return true;
  };
  std::string_view before;
  std::string_view name;
  if (!style.before_name.empty()) {
    if (!part(style.before_name, before)) return Scan::Unfinished;
    call.id = before;
  }
  if (!part(style.before_arguments, name)) return Scan::Unfinished;
  if (style.id_is_name) {
    call.id = name;
    if (name.starts_with("functions.")) name.remove_prefix(10);
    name = name.substr(0, name.rfind(':'));
  }
  std::size_t begin = skip_json_blanks(text, at);
  if (begin >= text.size()) return Scan::Unfinished;
  bool fence = false;
  if (style.fenced && text[begin] != '{') {  // "function" stood before; the name and a fence follow
    const std::size_t line_end = text.find('\n', begin);
    if (line_end == std::string_view::npos) return Scan::Unfinished;
    name = trimmed(text.substr(begin, line_end - begin));
    begin = skip_json_blanks(text, line_end);
    const Match open = match_at(text, begin, "```json", context.final);
    if (open != Match::Yes) return open == Match::Maybe ? Scan::Unfinished : Scan::Invalid;
    fence = true;
    begin = skip_json_blanks(text, begin + 7);
    if (begin >= text.size()) return Scan::Unfinished;
  }
  if (!is_name(name)) return Scan::Invalid;
  call.name = name;
  if (text[begin] != '{') return Scan::Invalid;
  const ScanResult scan = scan_json(text, begin);
  if (scan.status == Scan::Invalid) return Scan::Invalid;
  call.arguments = text.substr(begin, scan.status == Scan::Complete ? scan.end - begin : std::string_view::npos);
  if (scan.status == Scan::Unfinished) return Scan::Unfinished;
  at = skip_json_blanks(text, scan.end);
  if (fence) {
    const Match close = match_at(text, at, "```", context.final);
    if (close == Match::Maybe) return Scan::Unfinished;
    if (close == Match::Yes) at = skip_json_blanks(text, at + 3);
  }
  const Match close = match_at(text, at, style.call_close, context.final);
  if (close == Match::Maybe) return Scan::Unfinished;
  if (close == Match::Yes) {
    at += style.call_close.size();
  } else if (at < text.size()) {
    return Scan::Invalid;
  }
  call.complete = true;
  return Scan::Complete;
}

}  // namespace

Reading read_section(std::string_view text, const SectionStyle& style, const ReadContext& context) {
  std::vector<CallDraft> calls;
  std::size_t at = !style.section_open.empty() && text.starts_with(style.section_open) ? style.section_open.size() : 0;
  std::size_t done = 0;
  while (true) {
    at = skip_json_blanks(text, at);
    if (!calls.empty() && !style.section_close.empty()) {
      const Match close = match_at(text, at, style.section_close, context.final);
      if (close == Match::Yes) return {Reading::Status::Done, at + style.section_close.size(), std::move(calls)};
      if (close == Match::Maybe) return unfinished(std::move(calls), context);
    }
    const Match open = match_at(text, at, style.call_open, context.final);
    if (open == Match::Maybe) return unfinished(std::move(calls), context);
    if (open == Match::No) break;
    CallDraft call;
    const Scan scan = read_section_call(text, at, style, context, call);
    if (scan == Scan::Unfinished && !context.final) {
      if (!call.name.empty()) calls.push_back(std::move(call));
      return unfinished(std::move(calls), context);
    }
    if (scan != Scan::Complete) break;
    calls.push_back(std::move(call));
    done = at;
  }
  if (calls.empty()) return rejected();
  return {Reading::Status::Done, done, std::move(calls)};
}

Reading read_action(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "Action:";
  std::size_t at = skip_json_blanks(text, kOpen.size());
  const Match fence = match_at(text, at, "```json", context.final);
  if (fence == Match::Maybe || at >= text.size()) return unfinished({}, context);
  if (fence == Match::No) return rejected();
  at += 7;
  const std::string_view closers[] = {"```"};
  Reading inner = read_json_calls(text, text.substr(0, at), closers, context);
  return inner;
}

Reading read_fenced_json(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "```json";
  Reading inner = read_json_calls(text.substr(kOpen.size()), "", {}, context);
  if (inner.status != Reading::Status::Done) return inner;
  std::size_t end = kOpen.size() + inner.end;
  const std::string_view closers[] = {"```"};
  if (!take_close(text, closers, context, end)) return {Reading::Status::More, 0, std::move(inner.calls)};
  inner.end = end;
  return inner;
}

Reading read_gemma_call(std::string_view text, const ReadContext& context) {
  constexpr std::string_view kOpen = "<|tool_call>";
  constexpr std::string_view kCall = "call:";
  std::size_t at = skip_json_blanks(text, kOpen.size());
  const Match is_call = match_at(text, at, kCall, context.final);
  if (is_call == Match::Maybe) return unfinished({}, context);
  if (is_call == Match::No) return rejected();
  at += kCall.size();
  const std::size_t name_end = text.find('{', at);
  const std::string_view name = text.substr(at, name_end == std::string_view::npos ? name_end : name_end - at);
  if (!name.empty() && !is_name(name)) return rejected();
  if (name_end == std::string_view::npos) return unfinished({}, context);
  CallDraft call;
  call.name = name;
  at = name_end;
  const Scan scan = gemma_value(text, at, context.final, call.arguments);
  if (scan == Scan::Invalid) return rejected();
  if (scan == Scan::Unfinished) return unfinished({call}, context);
  const std::string_view closers[] = {"<tool_call|>"};
  call.complete = true;
  if (!take_close(text, closers, context, at)) return unfinished({call}, context);
  return {Reading::Status::Done, at, {call}};
}

}  // namespace loadline::chat

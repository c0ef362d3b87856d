#include "chat/output_parser.h"

#include <algorithm>

#include "chat/json_scan.h"
#include "chat/output_marks.h"

namespace loadline::chat {

OutputParser::OutputParser(OutputFormat format, const Tools& tools, std::string_view prompt_end)
    : format_(format), tools_(tools), openers_(call_openers(format)) {
  while (!prompt_end.empty() && is_blank(prompt_end.back())) prompt_end.remove_suffix(1);
  if (format_ == OutputFormat::Harmony) {
    state_ = State::Header;
    // A header that the prompt began.
    constexpr std::string_view kTurn = "<|start|>assistant";
    constexpr std::string_view kMessage = "<|message|>";
    if (const std::size_t turn = prompt_end.rfind(kTurn); turn != std::string_view::npos) {
      pending_ = prompt_end.substr(turn + kTurn.size());
      if (const std::size_t message = pending_.find(kMessage); message != std::string::npos) {
        pending_.resize(message + kMessage.size());
      }
    }
    return;
  }
  if (format_ == OutputFormat::FunctionaryRecipients) {
    state_ = prompt_end.ends_with(">>>") ? State::Recipient : State::RecipientBody;
  }
  for (const ReasoningMarks& marks : reasoning_marks()) {
    if (!prompt_end.ends_with(marks.open)) continue;
    state_ = State::Reasoning;
    close_ = marks.close;
    break;
  }
}

void OutputParser::push(std::string_view text, std::vector<OutputEvent>& events) {
  pending_ += text;
  events_ = &events;
  run(false);
}

void OutputParser::finish(std::vector<OutputEvent>& events) {
  events_ = &events;
  retry_at_ = 0;
  run(true);
  if (answer_.calls.empty() && !blanks_.empty() && !answer_.content.empty()) {
    answer_.content += blanks_;
    emit(OutputEvent::Kind::Content, blanks_);
  }
  blanks_.clear();
}

Answer OutputParser::answer() const {
  Answer out = answer_;
  for (const CallDraft& call : shown_) {
    if (call.complete) out.calls.push_back({call.name, call.arguments, call.id});
  }
  return out;
}

void OutputParser::run(bool final) {
  while (true) {
    Step step = Step::Wait;
    switch (state_) {
      case State::Content: step = content_step(final); break;
      case State::Reasoning: step = reasoning_step(final); break;
      case State::Header: step = header_step(final); break;
      case State::Body: step = body_step(final); break;
      case State::Recipient: step = recipient_step(final); break;
      case State::RecipientBody: step = recipient_body_step(final); break;
    }
    if (step == Step::Wait) return;
  }
}

void OutputParser::emit(OutputEvent::Kind kind, std::string_view text, std::size_t call) {
  if (text.empty() && (kind == OutputEvent::Kind::Content || kind == OutputEvent::Kind::Reasoning)) return;
  const bool grows = !events_->empty() && events_->back().kind == kind && events_->back().call == call &&
                     (kind == OutputEvent::Kind::Content || kind == OutputEvent::Kind::Reasoning ||
                      kind == OutputEvent::Kind::CallArguments);
  if (grows) {
    events_->back().text += text;
  } else {
    events_->push_back({kind, std::string(text), call});
  }
}

void OutputParser::consume(std::size_t count) {
  pending_.erase(0, count);
  retry_at_ = 0;
}

// White space at the end waits for what comes behind it; at the beginning, behind a mark, it is dropped.
void OutputParser::add_content(std::string_view text) {
  if (text.empty()) return;
  if (after_mark_ && answer_.content.empty()) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    if (text.empty()) return;
  }
  const std::size_t last = text.find_last_not_of(kBlanks);
  if (last == std::string_view::npos) {
    blanks_ += text;
    return;
  }
  const std::string out = blanks_ + std::string(text.substr(0, last + 1));
  blanks_ = text.substr(last + 1);
  at_start_ = false;
  after_mark_ = false;
  answer_.content += out;
  emit(OutputEvent::Kind::Content, out);
}

void OutputParser::add_reasoning(std::string_view text) {
  if (answer_.reasoning.empty()) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  }
  const std::size_t last = text.find_last_not_of(kBlanks);
  if (last == std::string_view::npos) {
    reasoning_blanks_ += text;
    return;
  }
  const std::string out = reasoning_blanks_ + std::string(text.substr(0, last + 1));
  reasoning_blanks_ = text.substr(last + 1);
  answer_.reasoning += out;
  emit(OutputEvent::Kind::Reasoning, out);
}

void OutputParser::begin_reasoning(std::string_view close) {
  state_ = State::Reasoning;
  close_ = close;
  if (!answer_.reasoning.empty()) reasoning_blanks_ = "\n";
  blanks_.clear();
}

// How much at the end of `text` must wait, as it may become a mark.
std::size_t OutputParser::held_back(std::string_view text) const {
  std::size_t held = 0;
  for (const CallOpener& opener : openers_.openers) held = std::max(held, partial_length(text, opener.mark));
  for (const std::string_view mark : kEndMarks) {
    held = std::max(held, text.ends_with(mark) ? mark.size() : partial_length(text, mark));
  }
  return held;
}

// ---- calls ----

void OutputParser::show_calls(const std::vector<CallDraft>& calls) {
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const CallDraft& call = calls[i];
    const std::size_t number = answer_.calls.size() + i;
    if (i >= shown_.size()) {
      if (call.name.empty()) return;
      shown_.push_back({call.name, "", "", false});
      emit(OutputEvent::Kind::CallBegins, call.name, number);
    }
    CallDraft& shown = shown_[i];
    if (shown.complete) continue;
    if (call.arguments.size() > shown.arguments.size() && call.arguments.starts_with(shown.arguments)) {
      emit(OutputEvent::Kind::CallArguments, std::string_view(call.arguments).substr(shown.arguments.size()), number);
      shown.arguments = call.arguments;
    }
    if (call.complete) {
      shown = call;
      emit(OutputEvent::Kind::CallEnds, call.id, number);
    }
  }
}

void OutputParser::keep_calls(const std::vector<CallDraft>& calls) {
  show_calls(calls);
  for (const CallDraft& call : calls) answer_.calls.push_back({call.name, call.arguments, call.id});
  while (shown_.size() > calls.size()) {  // begun, and no call after all
    emit(OutputEvent::Kind::CallDropped, "", answer_.calls.size());
    shown_.pop_back();
  }
  shown_.clear();
  blanks_.clear();
  after_mark_ = true;
}

void OutputParser::drop_calls() {
  while (!shown_.empty()) {
    shown_.pop_back();
    emit(OutputEvent::Kind::CallDropped, "", answer_.calls.size() + shown_.size());
  }
}

OutputParser::Step OutputParser::read_call(const CallOpener& opener, std::size_t at, bool final) {
  if (!final && pending_.size() < retry_at_) return Step::Wait;
  const std::string_view text = std::string_view(pending_).substr(at);
  const Reading reading =
      text.size() > kLongestCall ? Reading{Reading::Status::Reject, 0, {}} : opener.read(text, {tools_, final});
  switch (reading.status) {
    case Reading::Status::More: {
      show_calls(reading.calls);
      retry_at_ = pending_.size() + (text.size() < kOftenBelow ? 1 : text.size() / 16);
      return Step::Wait;
    }
    case Reading::Status::Done:
      keep_calls(reading.calls);
      consume(at + reading.end);
      return Step::Again;
    case Reading::Status::Reject: break;
  }
  drop_calls();
  after_mark_ = after_mark_ && answer_.content.empty();
  const std::size_t mark = std::max<std::size_t>(1, opener.mark.size());
  add_content(text.substr(0, mark));
  consume(at + mark);
  return Step::Again;
}

// Calls that nothing marks stand at the beginning of the content, or behind another call.
OutputParser::Step OutputParser::read_bare(bool final, bool& none) {
  none = true;
  if (openers_.bare == nullptr || !at_start_ || tools_.empty()) return Step::Wait;
  const std::size_t begin = skip_json_blanks(pending_, 0);
  if (begin >= pending_.size() || (pending_[begin] != '{' && pending_[begin] != '[')) return Step::Wait;
  none = false;
  const CallOpener opener = {pending_[begin] == '{' ? "{" : "[", openers_.bare};
  return read_call(opener, begin, final);
}

bool OutputParser::open_reasoning(bool final, bool& wait) {
  wait = false;
  if (!at_start_ || !answer_.calls.empty()) return false;
  const std::size_t begin = skip_json_blanks(pending_, 0);
  for (const ReasoningMarks& marks : reasoning_marks()) {
    if (marks.open == "<|think|>" && format_ != OutputFormat::Solar) continue;
    const Match match = match_at(pending_, begin, marks.open, final);
    if (match == Match::Yes) {
      consume(begin + marks.open.size());
      begin_reasoning(marks.close);
      return true;
    }
    wait = wait || match == Match::Maybe;
  }
  return false;
}

OutputParser::Step OutputParser::content_step(bool final) {
  if (pending_.empty()) return Step::Wait;
  bool wait = false;
  if (open_reasoning(final, wait)) return Step::Again;
  if (wait) return Step::Wait;
  bool no_bare = false;
  const Step bare = read_bare(final, no_bare);
  if (!no_bare) return bare;
  std::size_t first = std::string::npos;
  const CallOpener* found = nullptr;
  for (const CallOpener& opener : openers_.openers) {
    const std::size_t at = pending_.find(opener.mark);
    if (at < first) {
      first = at;
      found = &opener;
    }
  }
  if (found == nullptr) {
    std::string_view text = pending_;
    if (final) {
      for (const std::string_view mark : kEndMarks) {
        if (text.ends_with(mark)) {
          text.remove_suffix(mark.size());
          break;
        }
      }
    }
    const std::size_t keep = final ? 0 : held_back(text);
    add_content(text.substr(0, text.size() - keep));
    consume(final ? pending_.size() : text.size() - keep);
    return Step::Wait;
  }
  if (first > 0) {
    add_content(std::string_view(pending_).substr(0, first));
    const std::size_t retry = retry_at_ > first ? retry_at_ - first : 0;
    consume(first);
    retry_at_ = retry;
  }
  if (found->read != nullptr) return read_call(*found, 0, final);
  consume(found->mark.size());
  blanks_.clear();
  after_mark_ = true;
  return Step::Again;
}

OutputParser::Step OutputParser::reasoning_step(bool final) {
  const std::size_t end = pending_.find(close_);
  if (end == std::string::npos) {
    std::size_t keep = final ? 0 : partial_length(pending_, close_);
    std::string_view text = pending_;
    if (final) {
      for (const std::string_view mark : kEndMarks) {
        if (text.ends_with(mark)) text.remove_suffix(mark.size());
      }
    } else {
      for (const std::string_view mark : kEndMarks) {
        keep = std::max(keep, text.ends_with(mark) ? mark.size() : partial_length(text, mark));
      }
    }
    add_reasoning(text.substr(0, text.size() - keep));
    consume(final ? pending_.size() : text.size() - keep);
    return Step::Wait;
  }
  add_reasoning(std::string_view(pending_).substr(0, end));
  reasoning_blanks_.clear();
  consume(end + close_.size());
  state_ = State::Content;
  at_start_ = true;
  after_mark_ = true;
  return Step::Again;
}

}  // namespace loadline::chat

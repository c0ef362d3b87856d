// OutputParser where a model writes messages, each with a header: channels and recipients (Harmony), or a recipient in
// a line of its own (functionary 3.2).
#include <algorithm>

#include "chat/json_scan.h"
#include "chat/output_marks.h"
#include "chat/output_parser.h"

namespace loadline::chat {

// ---- messages with a header (Harmony) ----

namespace {

constexpr std::string_view kMessage = "<|message|>";
constexpr std::string_view kChannel = "<|channel|>";
constexpr std::string_view kStart = "<|start|>";
constexpr std::string_view kBodyEnds[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>"};

std::string word_behind(std::string_view header, std::string_view mark) {
  const std::size_t at = header.find(mark);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = header.substr(at + mark.size());
  return std::string(rest.substr(0, rest.find_first_of(" \t\r\n<")));
}

// Whether `text` begins as a header may.
bool may_be_header(std::string_view text) {
  for (const std::string_view mark : {kStart, kChannel, kMessage, std::string_view(" to="), std::string_view("to="),
                                      std::string_view("assistant"), std::string_view("<|constrain|>")}) {
    if (text.starts_with(mark) || mark.starts_with(text)) return true;
  }
  return false;
}

}  // namespace

OutputParser::Step OutputParser::header_step(bool final) {
  const std::size_t begin = skip_json_blanks(pending_, 0);
  const std::string_view text = std::string_view(pending_).substr(begin);
  if (text.empty() && !final) return Step::Wait;
  const bool header = may_be_header(text) || may_be_header(pending_);
  const std::size_t message = pending_.find(kMessage);
  if (message == std::string::npos && header && !final) return Step::Wait;
  if (message == std::string::npos || !header) {  // text without a header
    if (!header) {
      header_.clear();
      channel_ = "final";
      recipient_.clear();
      state_ = State::Body;
      return Step::Again;
    }
    pending_.clear();
    return Step::Wait;
  }
  header_ = pending_.substr(0, message + kMessage.size());
  channel_ = word_behind(header_, kChannel);
  recipient_ = word_behind(header_, "to=");
  if (recipient_.starts_with("functions.")) {
    recipient_.erase(0, 10);
  } else if (recipient_ == "assistant" || recipient_ == "user" || recipient_ == "all") {
    recipient_.clear();
  }
  consume(message + kMessage.size());
  if (recipient_.empty() && channel_ == "analysis" && !answer_.reasoning.empty()) reasoning_blanks_ = "\n";
  if (recipient_.empty() && channel_ != "analysis" && !answer_.content.empty()) blanks_ = "\n";
  state_ = State::Body;
  return Step::Again;
}

// A whole message, `raw` with its marks.
void OutputParser::end_body(std::string_view body, std::string_view raw) {
  if (recipient_.empty()) {
    if (channel_ == "analysis") {
      add_reasoning(body);
      reasoning_blanks_.clear();
    } else {
      add_content(body);
      blanks_.clear();
    }
    return;
  }
  CallDraft call{recipient_, "", "", true};
  const ScanResult scan = scan_json(body);
  const bool is_json = scan.status == Scan::Complete && skip_json_blanks(body, scan.end) == body.size();
  const std::size_t begin = skip_json_blanks(body, 0);
  if (is_json && clean_arguments(body.substr(begin, scan.end - begin), call.arguments)) {
    keep_calls({call});
  } else if (body.empty() || begin == body.size()) {
    call.arguments = "{}";
    keep_calls({call});
  } else if (recipient_ == "python") {
    call.arguments = "{\"code\": " + json_quoted(body) + "}";
    keep_calls({call});
  } else {
    drop_calls();
    add_content(raw);
  }
}

OutputParser::Step OutputParser::body_step(bool final) {
  std::size_t first = std::string::npos;
  std::string_view mark;
  for (const std::string_view end : kBodyEnds) {
    const std::size_t at = pending_.find(end);
    if (at < first) {
      first = at;
      mark = end;
    }
  }
  if (first == std::string::npos && !final) {
    if (!recipient_.empty()) {
      if (pending_.size() < retry_at_) return Step::Wait;
      retry_at_ = pending_.size() + (pending_.size() < kOftenBelow ? 1 : pending_.size() / 16);
      const std::size_t begin = skip_json_blanks(pending_, 0);
      if (begin < pending_.size() && pending_[begin] == '{') {
        const ScanResult scan = scan_json(pending_, begin);
        if (scan.status != Scan::Invalid) {
          show_calls({{recipient_,
                       pending_.substr(begin, scan.status == Scan::Complete ? scan.end - begin : std::string::npos), "",
                       false}});
        }
      }
      return Step::Wait;
    }
    std::size_t keep = 0;
    for (const std::string_view end : kBodyEnds) keep = std::max(keep, partial_length(pending_, end));
    const std::string_view text = std::string_view(pending_).substr(0, pending_.size() - keep);
    if (channel_ == "analysis") {
      add_reasoning(text);
    } else {
      add_content(text);
    }
    consume(text.size());
    return Step::Wait;
  }
  const std::size_t body_size = std::min(first, pending_.size());
  const std::size_t taken = mark == kStart ? 0 : mark.size();
  end_body(std::string_view(pending_).substr(0, body_size), header_ + pending_.substr(0, body_size + taken));
  consume(body_size + taken);
  recipient_.clear();
  channel_ = "final";
  header_.clear();
  state_ = State::Header;
  return pending_.empty() ? Step::Wait : Step::Again;
}

// ---- >>>recipient (functionary 3.2) ----

OutputParser::Step OutputParser::recipient_step(bool final) {
  const std::size_t line_end = pending_.find('\n');
  if (line_end == std::string::npos && !final) {
    const bool possible =
        std::string_view("all").starts_with(pending_) || tools_.begins_name(pending_) || pending_.empty();
    if (possible) return Step::Wait;
  }
  const std::string name = pending_.substr(0, line_end);
  recipient_.clear();
  if (line_end != std::string::npos && (name == "all" || tools_.has(name))) {
    if (name != "all") recipient_ = name;
    header_ += name + "\n";
    consume(line_end + 1);
  }
  state_ = State::RecipientBody;
  return pending_.empty() && !final ? Step::Wait : Step::Again;
}

OutputParser::Step OutputParser::recipient_body_step(bool final) {
  // Where the next recipient begins: >>> and a name that there is.
  std::size_t end = pending_.find(">>>");
  bool maybe = false;
  for (; end != std::string::npos; end = pending_.find(">>>", end + 1)) {
    const std::size_t line_end = pending_.find('\n', end);
    const std::string name = pending_.substr(end + 3, line_end == std::string::npos ? line_end : line_end - end - 3);
    if (line_end == std::string::npos) {
      maybe = !final && (std::string_view("all").starts_with(name) || tools_.begins_name(name) || name.empty());
      if (maybe) break;
    } else if (name == "all" || tools_.has(name)) {
      break;
    }
  }
  const bool complete = end != std::string::npos && !maybe;
  if (!complete && !final) {
    if (recipient_.empty()) {
      const std::size_t limit = maybe ? end : pending_.size() - partial_length(pending_, ">>>");
      add_content(std::string_view(pending_).substr(0, limit));
      consume(limit);
    } else if (const std::size_t begin = skip_json_blanks(pending_, 0);
               begin < pending_.size() && pending_[begin] == '{') {
      if (scan_json(pending_, begin).status == Scan::Unfinished)
        show_calls({{recipient_, pending_.substr(begin), "", false}});
    }
    return Step::Wait;
  }
  const std::size_t size = complete ? end : pending_.size();
  std::string body = pending_.substr(0, size);
  if (!complete) {
    for (const std::string_view mark : kEndMarks) {
      if (body.ends_with(mark)) body.resize(body.size() - mark.size());
    }
  }
  channel_ = "final";
  const std::string raw = header_ + body;
  end_body(body, raw);
  consume(complete ? size + 3 : size);
  header_ = complete ? ">>>" : "";  // the first may be the prompt's
  state_ = State::Recipient;
  return complete ? Step::Again : Step::Wait;
}

}  // namespace loadline::chat

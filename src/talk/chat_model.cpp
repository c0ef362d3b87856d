#include "talk/chat_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "talk/call_forms.h"

namespace loadline::talk {
namespace {

constexpr std::size_t kPromptEnd = 64;  // bytes of the prompt that tell how the answer begins

// An assistant's reasoning may stand in its text, which templates look for.
bool is_reasoning_mark(std::string_view text) {
  return std::ranges::any_of(chat::reasoning_marks(), [&](const chat::ReasoningMarks& marks) {
    return text == marks.open || text == marks.close;
  });
}

chat::Template parsed(const std::string& source, const std::string& title) {
  try {
    return chat::Template(source);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", printable(title), error.what()), error.hint());
  }
}

}  // namespace

ChatModel::ChatModel(const gguf::Metadata& metadata, const tokenizer::Tokenizer& tokenizer, chat::ModelTemplate chosen,
                     std::string title)
    : tokenizer_(tokenizer),
      chosen_(std::move(chosen)),
      title_(std::move(title)),
      template_(parsed(chosen_.source, title_)),
      can_(chat::capabilities_of(template_)),
      format_(chat::output_format_of(chosen_.source)),
      bos_(chat::bos_text(metadata)),
      eos_(chat::eos_text(metadata)),
      adds_bos_(!tokenizer.encode("", {.add_special = true, .parse_special = true, .goes_on = true}).empty()) {
  for (Token token = 0; token < tokenizer.vocabulary_size(); ++token) {
    if (!tokenizer.piece(token, false).empty()) continue;
    std::string text = tokenizer.piece(token, true);
    if (!text.empty()) control_.push_back(std::move(text));
  }
  std::vector<tokenizer::SpecialMatcher::Pattern> patterns;
  for (const std::string& text : control_) {
    patterns.push_back({text, static_cast<Token>(patterns.size())});
    if (control_starts_.find(text.front()) == std::string::npos) control_starts_ += text.front();
  }
  control_matcher_ = std::make_unique<tokenizer::SpecialMatcher>(std::move(patterns));
}

std::vector<chat::TextSpan> ChatModel::typed_in(std::string_view text, std::string_view role) const {
  std::vector<chat::TextSpan> out;
  if (text.find_first_of(control_starts_) == std::string_view::npos) return out;
  for (const auto& match : control_matcher_->find(text)) {
    const std::string& found = control_[static_cast<std::size_t>(match.token)];
    if (role == "assistant" && is_reasoning_mark(found)) continue;
    out.push_back({match.begin, match.begin + match.length});
  }
  // What could become a token with what the template, or another text, puts behind it.
  std::size_t partial = 0;
  for (const std::string& control : control_) {
    for (std::size_t length = std::min(control.size() - 1, text.size()); length > partial; --length) {
      if (text.ends_with(std::string_view(control).substr(0, length))) partial = length;
    }
  }
  if (partial == 0) return out;
  std::size_t begin = text.size() - partial;
  bool whole = false;
  while (!out.empty() && out.back().end > begin) {
    begin = std::min(begin, out.back().begin);
    whole = true;
    out.pop_back();
  }
  out.push_back({begin, text.size(), whole});
  return out;
}

chat::Rendering ChatModel::render(const Request& request, std::vector<std::string>& changes) const {
  chat::RenderOptions options;
  options.now = chat::local_time();
  options.limits.memory = request.memory;
  chat::Conversation conversation(options.limits);
  conversation.set("messages", request.messages);
  conversation.set("tools", request.tools.empty() ? "null" : request.tools);
  conversation.set("documents", "null");
  conversation.set("add_generation_prompt", request.open ? "false" : "true");
  conversation.set_text("bos_token", bos_);
  conversation.set_text("eos_token", eos_);
  if (!request.kwargs.empty()) conversation.set_all(request.kwargs);
  if (request.fit) changes = conversation.fit(can_);
  try {
    return conversation.render_apart(
        template_, options, request.open,
        [this](std::string_view text, std::string_view role) { return typed_in(text, role); });
  } catch (const Error& error) {
    const auto* from_template = dynamic_cast<const chat::TemplateError*>(&error);
    const bool too_large = from_template != nullptr && from_template->kind() == chat::TemplateError::Kind::TooLarge;
    throw Error(too_large ? ErrorCode::DoesNotFit : error.code(),
                fmt::format("{}: {}", printable(title_), error.what()), error.hint());
  }
}

Prompt ChatModel::prompt(const Request& request) const {
  Prompt out;
  chat::Rendering rendered = render(request, out.changes);
  if (request.most_text.value > 0 && Bytes(rendered.text.size()) > request.most_text) {
    throw Error(ErrorCode::DoesNotFit,
                fmt::format("the prompt has {} of text, and at most {} are read",
                            to_string(Bytes(rendered.text.size())), to_string(request.most_text)));
  }
  std::vector<tokenizer::TextRange> typed;
  // A template that writes the begin token itself must not get a second one.
  const std::size_t cut = !bos_.empty() && adds_bos_ && rendered.text.starts_with(bos_) ? bos_.size() : 0;
  for (const chat::TextSpan& span : rendered.typed) {
    if (span.begin >= cut) typed.push_back({span.begin - cut, span.end - cut});
  }
  out.text = std::move(rendered.text);
  out.tokens = tokenizer_.encode(std::string_view(out.text).substr(cut),
                                 {.add_special = true, .parse_special = true, .goes_on = true, .typed = typed});
  out.end = out.text.substr(out.text.size() - std::min(out.text.size(), kPromptEnd));
  if (out.tokens.empty())
    throw bad_input(fmt::format("{}: the chat template gives an empty prompt", printable(title_)));
  return out;
}

const grammar::TokenIndex& ChatModel::index() const {
  std::call_once(index_once_, [&] {
    const std::string marks = marks_of(format_, chosen_.source);
    index_ = std::make_unique<const grammar::TokenIndex>(grammar::TokenIndex::of(
        tokenizer_, [&](std::string_view text) { return marks.find(text) != std::string::npos; }));
  });
  return *index_;
}

}  // namespace loadline::talk

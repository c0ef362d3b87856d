#include "serve/served.h"

#include <algorithm>
#include <cctype>

#include "serve/guard.h"
#include "tokenizer/special_tokens.h"

namespace loadline::serve {

std::string plain_name(std::string_view name) {
  constexpr std::string_view kLatest = ":latest";
  std::string out(name);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (out.ends_with(kLatest)) out.resize(out.size() - kLatest.size());
  if (out.ends_with(".gguf")) out.resize(out.size() - 5);
  return out;
}

GrammarCache::Compiled GrammarCache::get(const std::string& text, const std::function<grammar::Grammar()>& compile) {
  const std::lock_guard lock(mutex_);
  ++clock_;
  for (Entry& entry : entries_) {
    if (entry.grammar == nullptr || entry.text != text) continue;
    entry.used = clock_;
    return entry.grammar;
  }
  Entry& oldest = *std::ranges::min_element(entries_, {}, &Entry::used);
  oldest = {text, std::make_shared<const grammar::Grammar>(compile()), clock_};
  return oldest.grammar;
}

Served::Served() = default;

Served::~Served() { end(); }

void Served::end() {
  guard.reset();
  service.reset();
}

bool Served::is_called(std::string_view wanted) const {
  const std::string plain = plain_name(wanted);
  return plain == plain_name(name) ||
         std::ranges::any_of(aliases, [&](const std::string& alias) { return plain == plain_name(alias); });
}

bool Served::can_fill_in() const {
  const tokenizer::SpecialTokens& special = tokenizer().special();
  return special.fim_prefix >= 0 && special.fim_suffix >= 0 && special.fim_middle >= 0;
}

bool Served::reasons() const {
  if (can.thinking_switch || format == chat::OutputFormat::Harmony) return true;
  return std::ranges::any_of(chat::reasoning_marks(), [&](const chat::ReasoningMarks& marks) {
    return chat_template->source().find(marks.close) != std::string::npos;
  });
}

std::vector<Token> encode_prompt(const Served& served, std::string_view text) {
  const bool has_bos = !served.bos.empty() && text.starts_with(served.bos);
  return served.tokenizer().encode(text, {.add_special = !has_bos, .parse_special = true, .goes_on = true});
}

}  // namespace loadline::serve

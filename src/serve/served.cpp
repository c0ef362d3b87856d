#include "serve/served.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "serve/call.h"
#include "serve/guard.h"
#include "serve/request_memory.h"
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

GrammarCache::Compiled GrammarCache::get(const std::string& text,
                                         const std::function<std::optional<grammar::ToolGrammar>()>& compile) {
  const std::lock_guard lock(mutex_);
  ++clock_;
  for (Entry& entry : entries_) {
    if (entry.grammar == nullptr || entry.text != text) continue;
    entry.used = clock_;
    return entry.grammar;
  }
  std::optional<grammar::ToolGrammar> compiled = compile();
  if (!compiled) return nullptr;
  const auto result = std::make_shared<const grammar::ToolGrammar>(std::move(*compiled));
  const Bytes bytes = result->grammar.resident_bytes();
  if (bytes > kMostGrammar) return result;
  const auto held = [&] {
    Bytes all = bytes;
    for (const Entry& entry : entries_) all += entry.grammar ? entry.grammar->grammar.resident_bytes() : Bytes();
    return all;
  };
  const auto oldest = [&]() -> Entry& { return *std::ranges::min_element(entries_, {}, &Entry::used); };
  // Those that there are and were not used for the longest time go first.
  while (held() > kMostGrammars)
    *std::ranges::min_element(entries_, {},
                              [](const Entry& entry) { return entry.grammar ? entry.used : UINT64_MAX; }) = {};
  oldest() = {text, result, clock_};
  return result;
}

Served::Served() = default;

Served::~Served() { end(); }

void Served::end() {
  guard.reset();
  service.reset();
}

std::vector<Token> Served::encode(std::string_view text, const tokenizer::EncodeOptions& options) const {
  const Bytes most = most_text(context());
  if (Bytes(text.size()) > most) {
    throw TooLarge(fmt::format("a text of this request has {}, and at most {} are read as tokens",
                               to_string(Bytes(text.size())), to_string(most)));
  }
  return tokenizer().encode(text, options);
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
  if (can().thinking_switch || chat->format() == chat::OutputFormat::Harmony) return true;
  return std::ranges::any_of(chat::reasoning_marks(), [&](const chat::ReasoningMarks& marks) {
    return chat->chosen().source.find(marks.close) != std::string::npos;
  });
}

std::vector<Token> encode_prompt(const Served& served, std::string_view text) {
  const bool has_bos = !served.bos.empty() && text.starts_with(served.bos);
  return served.encode(text, {.add_special = !has_bos, .parse_special = true, .goes_on = true});
}

}  // namespace loadline::serve

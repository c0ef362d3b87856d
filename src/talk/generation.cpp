#include "talk/generation.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace loadline::talk {
namespace {

constexpr std::size_t kLongestForced = 256;  // bytes of a grammar's text that are guessed together

grammar::SessionLimits limits_for(const GenerationOptions& options) {
  grammar::SessionLimits limits;
  for (const std::string& phrase : options.banned) {
    limits.history = std::max(limits.history, static_cast<std::uint32_t>(phrase.size() + 2));
  }
  return limits;
}

}  // namespace

Generation::Generation(GenerationOptions options, const tokenizer::Tokenizer& tokenizer, std::uint32_t vocabulary,
                       Listener listener)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      listener_(std::move(listener)),
      sampler_(options_.sampling, vocabulary),
      tokens_(options_.prompt),
      prompt_tokens_(options_.prompt.size()),
      decoder_(tokenizer, options_.special, options_.prompt.empty() ? tokenizer::kStartOfText : options_.prompt.back()),
      stops_(options_.stops),
      budget_(options_.reasoning_budget),
      guesses_(*this) {
  for (const Token token : tokens_) sampler_.accept(token);
  if (options_.format) {
    parser_.emplace(*options_.format, options_.tools ? *options_.tools : no_tools_, options_.prompt_end);
  }
  if (options_.constraint) {
    const Constraint& constraint = *options_.constraint;
    lazy_.emplace(*constraint.grammar, *constraint.index, constraint.triggers, limits_for(options_));
    mask_.resize(constraint.index->words());
    waits_ = is_before_answer();
  }
  std::erase(options_.banned, "");
  if (!options_.banned.empty()) {
    banned_.emplace(options_.banned);
    mask_.resize((static_cast<std::size_t>(vocabulary) + 63) / 64);
  }
  if (options_.log_probabilities) top_.resize(options_.log_probabilities->top);
}

Bytes Generation::memory_bytes(const GenerationOptions& options, std::uint32_t vocabulary, std::uint32_t context) {
  Bytes out = Bytes(sizeof(Generation)) + sample::Sampler::memory_bytes(options.sampling, vocabulary);
  out += Bytes(8 * std::uint64_t{context} + vocabulary / 8 + (std::uint64_t{1} << 16));
  if (options.constraint) {
    out += grammar::LazySession::memory_bytes(*options.constraint->grammar, *options.constraint->index,
                                              options.constraint->triggers, limits_for(options));
  }
  return out;
}

exec::SessionOptions Generation::session() {
  exec::SessionOptions session;
  session.prompt = tokens_;
  const auto generated = static_cast<std::int64_t>(tokens_.size() - prompt_tokens_);
  session.most_tokens = options_.most_tokens < 0 ? -1 : std::max<std::int64_t>(0, options_.most_tokens - generated);
  if (options_.drafter != nullptr || lazy_) session.drafter = &guesses_;
  goes_on_ = false;
  if (!first_) guesses_.reset();
  // The session looks at the prompt while it grows behind it.
  options_.prompt = tokens_;
  session.prompt = options_.prompt;
  return session;
}

std::span<const std::uint64_t> Generation::allowed() {
  std::span<const std::uint64_t> allowed;
  if (grammar_holds()) allowed = lazy_->mask();
  if (!banned_ || banned_->banned().empty()) return allowed;
  std::ranges::fill(mask_, allowed.empty() ? ~std::uint64_t{0} : 0);
  std::ranges::copy(allowed, mask_.begin());
  for (const Token token : banned_->banned()) {
    mask_[static_cast<std::size_t>(token) / 64] &= ~(std::uint64_t{1} << (token % 64));
  }
  // A grammar that wants the phrase has it.
  const bool none = std::ranges::all_of(mask_, [](std::uint64_t word) { return word == 0; });
  return none ? allowed : std::span<const std::uint64_t>(mask_);
}

Token Generation::draw(std::span<const float> logits) {
  if (budget_ >= 0 && reasons() && !parser_->reasoning_close().empty() && reasoned_ >= budget_ && closing_.empty()) {
    // The model is told that it has thought enough.
    closing_ = tokenizer_.encode(std::string(parser_->reasoning_close()) + "\n\n",
                                 {.add_special = false, .parse_special = true});
    std::ranges::reverse(closing_);
    budget_ = -1;
  }
  Token token = 0;
  if (!closing_.empty()) {
    token = closing_.back();
    closing_.pop_back();
  } else {
    token = sampler_.sample(logits, allowed());
  }
  sampler_.accept(token);
  if (grammar_holds()) lazy_->accept(token);
  if (options_.log_probabilities || options_.tell_tokens) report(logits, token);
  return token;
}

bool Generation::is_end(Token token) { return !options_.ignore_end && tokenizer_.is_end_of_generation(token); }

bool Generation::take(Token token) {
  tokens_.push_back(token);
  if (reasons()) ++reasoned_;
  if (banned_) {
    decoders_.push_back(decoder_);
    const std::string text = decoder_.push(token);
    const sample::BannedPhrases::Verdict verdict = banned_->push(token, text);
    held_ += text;
    if (verdict.rewind > 0) {
      const std::string released = held_.substr(0, verdict.release);
      held_.clear();
      take_back(verdict.rewind);
      tell_reports(0);
      show(released);
      return false;
    }
    const std::size_t kept = banned_->held_tokens();
    decoders_.erase(decoders_.begin(), decoders_.end() - static_cast<std::ptrdiff_t>(kept));
    tell_reports(kept);
    const std::string released = held_.substr(0, verdict.release);
    held_.erase(0, verdict.release);
    show(released);
  } else {
    tell_reports(0);
    show(decoder_.push(token));
  }
  if (waits_ && !is_before_answer() && closing_.empty()) waits_ = false;
  // Nothing but an end could follow a text that the grammar has no more to say of.
  return !stops_.stopped() && !(grammar_holds() && lazy_->must_end());
}

void Generation::prompt_read(std::size_t done, std::size_t all) {
  if (listener_.prompt_read && first_) listener_.prompt_read(done, all);
}

void Generation::take_back(std::size_t count) {
  decoder_ = decoders_[decoders_.size() - count];
  decoders_.clear();
  tokens_.resize(tokens_.size() - count);
  if (grammar_holds()) lazy_->rollback(std::min(count, lazy_->session().history()));
  sampler_.forget_history();
  for (const Token token : tokens_) sampler_.accept(token);
  reports_.resize(reports_.size() - std::min(reports_.size(), count));
  goes_on_ = true;
}

void Generation::report(std::span<const float> logits, Token token) {
  TokenReport out;
  out.token = token;
  if (!options_.log_probabilities) {
    // nobody asked how likely it was
  } else if (options_.log_probabilities->after_steps) {
    std::vector<sample::Candidate> left(sampler_.candidates().begin(), sampler_.candidates().end());
    std::ranges::sort(left, [](const auto& a, const auto& b) { return a.probability > b.probability; });
    out.log_probability = -INFINITY;
    for (const sample::Candidate& candidate : left) {
      if (candidate.token == token) out.log_probability = std::log(candidate.probability);
      if (out.top.size() < top_.size()) out.top.push_back({candidate.token, std::log(candidate.probability)});
    }
  } else {
    out.log_probability = sample::log_probability(logits, token);
    out.top.assign(top_.begin(),
                   top_.begin() + static_cast<std::ptrdiff_t>(sample::top_log_probabilities(logits, top_)));
  }
  reports_.push_back(std::move(out));
}

// But for those of the last tokens, whose text is held back.
void Generation::tell_reports(std::size_t kept_back) {
  while (reports_.size() > kept_back) {
    if (listener_.token) listener_.token(reports_.front());
    reports_.pop_front();
  }
}

void Generation::show(std::string_view text) { show_content(stops_.push(text)); }

void Generation::show_content(std::string_view text) {
  if (text.empty()) return;
  std::vector<chat::OutputEvent> events;
  if (parser_) parser_->push(text, events);
  if (!parser_ || options_.whole) {
    events.clear();
    plain_.content += text;
    events.push_back({chat::OutputEvent::Kind::Content, std::string(text)});
  }
  if (!listener_.event) return;
  for (const chat::OutputEvent& event : events) listener_.event(event);
}

void Generation::ended(const exec::SessionResult& result) noexcept {
  exec::SessionResult& sum = outcome_.figures;
  if (first_) {
    sum = result;
    sum.prompt_tokens = std::min(result.prompt_tokens, prompt_tokens_);
  } else {  // what reading again took is the generation's
    sum.generation_seconds += result.prompt_seconds + result.generation_seconds;
    sum.passes += result.passes;
    sum.drafted_tokens += result.drafted_tokens;
    sum.accepted_tokens += result.accepted_tokens;
    sum.ending = result.ending;
    sum.error = result.error;
  }
  first_ = false;
  sum.generated_tokens = tokens_.size() - prompt_tokens_;
  if (result.ending != exec::Ending::Enough) goes_on_ = false;
  try {
    if (goes_on_) {
      if (again) again();
      return;
    }
    finish(result);
  } catch (...) {  // a listener that fails takes nothing from the others
    goes_on_ = false;
    if (!sum.error) sum.error = std::current_exception();
    outcome_.finish = Finish::Failed;
  }
}

void Generation::finish(const exec::SessionResult& result) {
  switch (result.ending) {
    case exec::Ending::EndOfGeneration:
    case exec::Ending::Enough: outcome_.finish = Finish::End; break;
    case exec::Ending::Length: outcome_.finish = Finish::Length; break;
    case exec::Ending::ContextFull: outcome_.finish = Finish::ContextFull; break;
    case exec::Ending::Stopped: outcome_.finish = Finish::Cancelled; break;
    case exec::Ending::Failed: outcome_.finish = Finish::Failed; break;
  }
  // The token that ended the text is reported with no text, and not at all where it was not taken.
  while (reports_.size() > (banned_ ? banned_->held_tokens() : 0)) reports_.pop_back();
  tell_reports(0);
  if (!stops_.stopped()) show(held_ + decoder_.finish());
  if (!stops_.stopped()) show_content(stops_.finish());
  if (stops_.stopped()) {
    outcome_.finish = Finish::StopString;
    outcome_.stop = stops_.found();
  }
  std::vector<chat::OutputEvent> events;
  if (parser_ && !options_.whole) parser_->finish(events);
  if (listener_.event) {
    for (const chat::OutputEvent& event : events) listener_.event(event);
  }
  outcome_.answer = parser_ && !options_.whole ? parser_->answer() : plain_;
  if (listener_.finished) listener_.finished(outcome_);
}

// ---- guesses ----

void Generation::Guesses::append(std::span<const Token> tokens) noexcept {
  if (of_.options_.drafter != nullptr) of_.options_.drafter->append(tokens);
}

void Generation::Guesses::judge(std::size_t right) noexcept {
  if (!own_ && of_.options_.drafter != nullptr) of_.options_.drafter->judge(right);
}

void Generation::Guesses::reset() noexcept {
  if (of_.options_.drafter != nullptr) of_.options_.drafter->reset();
}

std::span<const Token> Generation::Guesses::draft(std::size_t most) noexcept {
  own_ = false;
  const bool holds = of_.grammar_holds() && of_.lazy_->is_active();
  try {
    if (holds && of_.closing_.empty()) {
      text_.clear();
      of_.lazy_->session().forced_text(text_, kLongestForced);
      if (text_.size() > 1) {
        forced_ = of_.tokenizer_.encode(text_, {.add_special = false, .parse_special = true});
        if (!forced_.empty()) forced_.pop_back();  // which could be cut otherwise with what follows
        forced_.resize(std::min(forced_.size(), most));
        forced_.resize(of_.lazy_->count_allowed(forced_));
        own_ = !forced_.empty();
        if (own_) return forced_;
      }
    }
    if (of_.options_.drafter == nullptr) return {};
    const std::span<const Token> guess = of_.options_.drafter->draft(most);
    return of_.grammar_holds() ? guess.first(of_.lazy_->count_allowed(guess)) : guess;
  } catch (...) {
    return {};
  }
}

}  // namespace loadline::talk

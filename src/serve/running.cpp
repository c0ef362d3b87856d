#include "serve/running.h"

#include <algorithm>

#include "base/error.h"

namespace loadline::serve {
namespace {

// The vocabulary of the rows of logits, which may have more than the tokenizer knows.
std::uint32_t vocabulary_of(const Service& service) { return service.engine().program().config.vocabulary; }

}  // namespace

Running::Running(Service& service, Service::Id id, Generation generation, std::shared_ptr<Listener> listener)
    : service_(service),
      id_(id),
      generation_(std::move(generation)),
      listener_(std::move(listener)),
      sampler_(generation_.sampling, vocabulary_of(service)),
      decoder_(service.tokenizer(), generation_.special, generation_.prompt.back()),
      stops_(generation_.stops) {
  for (const Token token : generation_.prompt) sampler_.accept(token);
  if (generation_.grammar) {
    constraint_ =
        std::make_unique<grammar::LazySession>(*generation_.grammar, service.token_index(), generation_.triggers);
  }
  if (!generation_.forced.empty()) {
    forced_ = service.tokenizer().encode(generation_.forced, {.add_special = false, .parse_special = true});
    std::ranges::reverse(forced_);
  }
  if (!generation_.reasoning_from.empty()) {
    reasoning_ =
        std::make_unique<chat::OutputParser>(chat::OutputFormat::ReasoningOnly, no_tools_, generation_.reasoning_from);
  }
}

exec::SessionOptions Running::options() const {
  exec::SessionOptions options;
  options.prompt = generation_.prompt;
  options.most_tokens = generation_.most_tokens;
  if (!generation_.reuse) options.most_shared = 0;
  return options;
}

Token Running::draw(std::span<const float> logits) {
  const bool over = !budget_spent_ && generation_.reasoning_budget >= 0 && reasons() &&
                    reasoned_ >= generation_.reasoning_budget && !reasoning_->reasoning_close().empty();
  if (over) {  // the model is told that it has thought enough
    budget_spent_ = true;
    std::vector<Token> close = service_.tokenizer().encode(std::string(reasoning_->reasoning_close()) + "\n\n",
                                                           {.add_special = false, .parse_special = true});
    forced_.insert(forced_.end(), close.rbegin(), close.rend());
  }
  Token token = 0;
  if (!forced_.empty() && (budget_spent_ || !reasons())) {
    token = forced_.back();
    forced_.pop_back();
  } else if (constrained()) {
    token = sampler_.sample(logits, constraint_->mask());
    constraint_->accept(token);
  } else {
    token = sampler_.sample(logits);
  }
  sampler_.accept(token);
  if (generation_.tell_tokens || generation_.tell_probabilities) report(token, logits);
  return token;
}

void Running::report(Token token, std::span<const float> logits) {
  TokenReport report;
  report.token = token;
  report.bytes = service_.tokenizer().piece(token, true);
  if (generation_.tell_probabilities) {
    report.log_probability = sample::log_probability(logits, token);
    report.likeliest.resize(generation_.likeliest);
    report.likeliest.resize(sample::top_log_probabilities(logits, report.likeliest));
  }
  const std::lock_guard lock(mutex_);
  piece_.tokens.push_back(std::move(report));
}

bool Running::is_end(Token token) {
  if (generation_.ignore_end || !service_.tokenizer().is_end_of_generation(token)) return false;
  const std::lock_guard lock(mutex_);
  if (!piece_.tokens.empty()) piece_.tokens.pop_back();  // what ends a text is not of it
  return true;
}

bool Running::take(Token token) {
  if (reasons()) ++reasoned_;
  const std::string text = decoder_.push(token);
  follow_reasoning(text);
  const std::string shown = stops_.push(text);
  {
    const std::lock_guard lock(mutex_);
    piece_.text += shown;
    ++generated_;
  }
  service_.has_news(*this);
  // Nothing but an end could follow a text that the grammar has no more to say of.
  if (constrained() && constraint_->must_end() && !generation_.ignore_end) return false;
  return !stops_.stopped();
}

void Running::follow_reasoning(const std::string& text) {
  if (!reasoning_ || text.empty()) return;
  reasoning_events_.clear();
  reasoning_->push(text, reasoning_events_);
}

void Running::prompt_read(std::size_t done, std::size_t all) {
  {
    const std::lock_guard lock(mutex_);
    if (prompt_done_ == 0 && done < all) prompt_shared_ = 0;
    prompt_done_ = done;
    prompt_news_ = true;
  }
  service_.has_news(*this);
}

void Running::show(const std::string& text) {
  const std::lock_guard lock(mutex_);
  piece_.text += text;
}

Outcome Running::outcome_of(const exec::SessionResult& result) {
  Outcome outcome;
  outcome.figures = result;
  outcome.seed = sampler_.seed();
  switch (result.ending) {
    case exec::Ending::EndOfGeneration: outcome.finish = Finish::End; break;
    case exec::Ending::Length: outcome.finish = Finish::Length; break;
    case exec::Ending::ContextFull: outcome.finish = Finish::ContextFull; break;
    case exec::Ending::Enough: outcome.finish = Finish::End; break;  // the grammar, or a stop string: see below
    case exec::Ending::Stopped: outcome.finish = Finish::Cancelled; break;
    case exec::Ending::Failed: outcome.finish = Finish::Failed; break;
  }
  if (result.error) {
    try {
      std::rethrow_exception(result.error);
    } catch (const std::exception& error) {
      outcome.error = error.what();
    } catch (...) {
      outcome.error = "the generation failed";
    }
  } else if (!stops_.stopped()) {
    show(stops_.push(decoder_.finish()));
    show(stops_.finish());
  }
  if (stops_.stopped()) {
    outcome.finish = Finish::StopString;
    outcome.stop = stops_.found();
  }
  return outcome;
}

void Running::ended(const exec::SessionResult& result) noexcept {
  try {
    Outcome outcome = outcome_of(result);
    const std::lock_guard lock(mutex_);
    prompt_shared_ = result.shared_tokens;
    outcome_ = std::move(outcome);
  } catch (...) {  // without memory for a sentence
    const std::lock_guard lock(mutex_);
    outcome_.emplace();
  }
  service_.ended(*this, result);
}

void Running::end_unstarted(Finish finish, const std::string& sentence) {
  Outcome outcome;
  outcome.finish = finish;
  outcome.error = sentence;
  const std::lock_guard lock(mutex_);
  outcome_ = std::move(outcome);
}

void Running::deliver() {
  if (listener_ == nullptr) return;
  Piece piece;
  std::optional<Outcome> outcome;
  std::size_t done = 0;
  bool prompt_news = false;
  {
    const std::lock_guard lock(mutex_);
    std::swap(piece, piece_);
    outcome = std::move(outcome_);
    done = prompt_done_;
    prompt_news = std::exchange(prompt_news_, false);
  }
  try {
    if (prompt_news) listener_->prompt_read(done, prompt_shared_, generation_.prompt.size());
    if (!piece.text.empty() || !piece.tokens.empty()) listener_->piece(piece);
    if (outcome) listener_->finished(*outcome);
  } catch (const std::exception& error) {  // a listener that fails takes nothing from the others
    service_.cancel(id_);
    if (!outcome) {
      Outcome failed;
      failed.error = error.what();
      listener_->finished(failed);
    }
    outcome.emplace();
  }
  if (outcome) listener_ = nullptr;
}

Service::Place Running::place() const {
  const std::lock_guard lock(mutex_);
  Service::Place place;
  place.id = id_;
  place.prompt_tokens = generation_.prompt.size();
  place.prompt_read = prompt_done_;
  place.shared = prompt_shared_;
  place.generated = generated_;
  place.most_tokens = generation_.most_tokens;
  return place;
}

}  // namespace loadline::serve

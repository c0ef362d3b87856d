#include "serve/running.h"

#include <algorithm>

#include "base/error.h"
#include "serve/token_reports.h"

namespace loadline::serve {
namespace {

// Of a token: its list grows by doubling, and those that are likeliest are an allocation.
Bytes report_bytes(std::size_t likeliest) {
  constexpr std::uint64_t kAllocation = 32;
  return Bytes(3 * sizeof(TokenReport) + likeliest * sizeof(sample::LogProbability) + kAllocation);
}

}  // namespace

Running::Running(Service& service, Service::Id id, Generation generation, std::shared_ptr<Listener> listener)
    : service_(service),
      id_(id),
      asked_{generation.reuse,
             generation.slot,
             generation.pooling,
             std::move(generation.key),
             std::move(generation.keeps),
             generation.most_tokens,
             generation.prompt.size(),
             generation.format && !generation.whole,
             generation.tells_reports},
      queued_(queued_bytes(generation)),
      wanted_(std::move(static_cast<talk::GenerationOptions&>(generation))),
      listener_(std::move(listener)) {}

Bytes Running::memory_bytes(const Generation& generation, const model::ModelConfig& config, std::uint32_t context) {
  Bytes out = talk::Generation::memory_bytes(generation, config.vocabulary, context);
  if (generation.pooling) out += Pooled::memory_bytes(*generation.pooling, generation.prompt.size(), config.embedding);
  return out;
}

Bytes Running::queued_bytes(const Generation& generation) {
  std::uint64_t bytes = sizeof(Running) + generation.prompt.capacity() * sizeof(Token) +
                        generation.sampling.logit_bias.capacity() * sizeof(sample::LogitBias);
  for (const auto* texts : {&generation.stops, &generation.banned}) {
    for (const std::string& text : *texts) bytes += sizeof(std::string) + text.capacity();
  }
  for (const auto& breaker : generation.sampling.dry_breakers)
    bytes += sizeof(breaker) + breaker.capacity() * sizeof(Token);
  return Bytes(bytes);
}

void Running::begin() {
  const model::ModelConfig& config = service_.engine().program().config;
  // The vocabulary of the rows of logits, which may have more than the tokenizer knows.
  generation_.emplace(std::move(*wanted_), service_.tokenizer(), config.vocabulary, ears());
  wanted_.reset();
  if (asked_.pooling) pooled_.emplace(*asked_.pooling, asked_.prompt_tokens, config.embedding);
}

talk::Listener Running::ears() {
  talk::Listener listener;
  listener.event = [this](const chat::OutputEvent& event) { hear(event); };
  listener.token = [this](const talk::TokenReport& one) { report(one); };
  return listener;
}

exec::SessionOptions Running::options() {
  exec::SessionOptions options = generation_->session();
  if (std::exchange(first_, false) && !asked_.reuse) options.most_shared = 0;
  options.place = asked_.slot;
  if (asked_.pooling) options.states = *asked_.pooling == Pooling::Last ? exec::States::Last : exec::States::All;
  return options;
}

// The mutex is held. Texts grow by doubling.
void Running::count(Bytes bytes) {
  piece_bytes_ += bytes;
  service_.undelivered_.add(bytes);
}

void Running::hear(const chat::OutputEvent& event) {
  const std::lock_guard lock(mutex_);
  if (!asked_.taken_apart) {
    count(Bytes(2 * event.text.size()));
    piece_.text += event.text;
    return;
  }
  using Kind = chat::OutputEvent::Kind;
  const bool goes_on = !piece_.events.empty() && piece_.events.back().kind == event.kind &&
                       (event.kind == Kind::Content || event.kind == Kind::Reasoning);
  count(Bytes((goes_on ? 0 : 3 * sizeof(event)) + 2 * event.text.size()));
  if (goes_on) {
    piece_.events.back().text += event.text;
  } else {
    piece_.events.push_back(event);
  }
}

void Running::report(const talk::TokenReport& report) {
  const std::lock_guard lock(mutex_);
  count(report_bytes(report.top.size()) + (asked_.tells_reports ? told_bytes(report.top.size()) : Bytes()));
  piece_.tokens.push_back(report);
}

Token Running::draw(std::span<const float> logits) { return generation_->draw(logits); }
bool Running::is_end(Token token) { return generation_->is_end(token); }

bool Running::take(Token token) {
  const bool goes_on = generation_->take(token);
  {
    const std::lock_guard lock(mutex_);
    generated_ = generation_->tokens().size() - asked_.prompt_tokens;
  }
  service_.has_news(*this);
  return goes_on;
}

void Running::prompt_begun(std::size_t shared) noexcept {
  const std::lock_guard lock(mutex_);
  if (std::exchange(begun_, true)) return;  // another session of it
  prompt_shared_ = shared;
}

void Running::prompt_read(std::size_t done, std::size_t all) {
  if (all != asked_.prompt_tokens) return;  // once more, behind a phrase that was taken back
  {
    const std::lock_guard lock(mutex_);
    prompt_done_ = done;
    prompt_news_ = true;
  }
  service_.has_news(*this);
}

void Running::prompt_state(std::size_t index, std::span<const float> state) { pooled_->add(index, state); }

Outcome Running::outcome() const {
  const talk::Outcome& told = generation_->outcome();
  Outcome outcome;
  outcome.finish = told.finish;
  outcome.stop = told.stop;
  outcome.figures = told.figures;
  outcome.seed = generation_->seed();
  if (told.figures.error) {
    outcome.finish = Finish::Failed;
    try {
      std::rethrow_exception(told.figures.error);
    } catch (const std::exception& error) {
      outcome.error = error.what();
    } catch (...) {
      outcome.error = "the generation failed";
    }
  }
  return outcome;
}

void Running::ended(const exec::SessionResult& result) noexcept {
  generation_->ended(result);
  if (generation_->goes_on() && service_.goes_on(*this)) return;
  try {
    Outcome outcome = this->outcome();
    if (generation_->goes_on()) outcome.finish = Finish::Cancelled;
    outcome.slot = service_.slot_of(*this);
    if (pooled_ && outcome.finish != Finish::Failed) outcome.vectors = pooled_->take();
    const std::lock_guard lock(mutex_);
    prompt_shared_ = outcome.figures.shared_tokens;
    outcome_ = std::move(outcome);
  } catch (...) {  // without memory for a sentence
    const std::lock_guard lock(mutex_);
    outcome_.emplace();
  }
  service_.ended(*this, generation_->outcome().figures);
}

void Running::end_unstarted(Finish finish, const std::string& sentence) {
  Outcome outcome;
  outcome.finish = finish;
  outcome.error = sentence;
  const std::lock_guard lock(mutex_);
  outcome_ = std::move(outcome);
}

Running::~Running() { service_.undelivered_.take(piece_bytes_); }

void Running::deliver() {
  // The count of it includes what telling it takes, so that is not over before it is told.
  struct Taken {
    ~Taken() { from.take(bytes); }
    Undelivered& from;
    Bytes bytes;
  } taken{service_.undelivered_, {}};
  Piece piece;
  std::optional<Outcome> outcome;
  std::size_t done = 0;
  bool prompt_news = false;
  {
    const std::lock_guard lock(mutex_);
    std::swap(piece, piece_);
    taken.bytes = std::exchange(piece_bytes_, {});
    outcome = std::move(outcome_);
    done = prompt_done_;
    prompt_news = std::exchange(prompt_news_, false);
  }
  if (listener_ == nullptr) return;
  try {
    if (prompt_news) listener_->prompt_read(done, prompt_shared_, asked_.prompt_tokens);
    if (!piece.text.empty() || !piece.events.empty() || !piece.tokens.empty()) listener_->piece(piece);
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
  place.prompt_tokens = asked_.prompt_tokens;
  place.prompt_read = prompt_done_;
  place.shared = prompt_shared_;
  place.generated = generated_;
  place.most_tokens = asked_.most_tokens;
  place.begun = begun_;
  return place;
}

}  // namespace loadline::serve

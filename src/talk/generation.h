// Generation: one answer (or one continued text) as the scheduler's client: draws with the sampler, keeps to a grammar,
// ends reasoning that takes too long, finds stop strings, takes back banned phrases, and tells its text apart while it
// streams. For command line and server alike; it knows neither.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "chat/output_parser.h"
#include "chat/stop_strings.h"
#include "chat/tools.h"
#include "exec/session.h"
#include "grammar/lazy_session.h"
#include "sample/banned_phrases.h"
#include "sample/log_probabilities.h"
#include "sample/sampler.h"
#include "speculate/drafter.h"
#include "tokenizer/tokenizer.h"

namespace loadline::talk {

using tokenizer::Token;

// What an answer has to match, from its beginning or from a trigger on. Where the text begins with reasoning, or with
// the header of a message, behind that. May be shared by several generations.
struct Constraint {
  std::shared_ptr<const grammar::Grammar> grammar;
  const grammar::TokenIndex* index = nullptr;  // outlives the generation
  std::vector<std::string> triggers;           // see grammar::LazySession
  bool of_calls = false;                       // it begins with the header itself, where there is one
};

struct LogProbabilityOptions {
  std::uint32_t top = 0;     // so many of the likeliest besides
  bool after_steps = false;  // as the sampler's steps left them, not as the model gave them
};

struct GenerationOptions {
  std::vector<Token> prompt;
  std::int64_t most_tokens = -1;  // -1: until the model ends or the context is full
  sample::Options sampling;
  std::vector<std::string> stops;
  std::vector<std::string> banned;  // phrases
  bool ignore_end = false;          // go on after tokens that end the text
  bool special = true;              // control tokens are text; parsing needs it
  std::optional<Constraint> constraint;
  std::optional<LogProbabilityOptions> log_probabilities;
  bool tell_tokens = false;            // Listener::token, where no log-probabilities are asked for
  bool whole = false;                  // all text is content, though reasoning is followed
  std::int64_t reasoning_budget = -1;  // tokens; -1: none
  // How the text is taken apart; nullopt: all of it is content.
  std::optional<chat::OutputFormat> format;
  std::shared_ptr<const chat::Tools> tools;  // null: none
  std::string prompt_end;                    // Prompt::end
  // Guesses, told the prompt and every token; the grammar's own come before its. Null: none.
  speculate::Drafter* drafter = nullptr;
};

// A token that was drawn and stays.
struct TokenReport {
  Token token = 0;
  double log_probability = 0;
  std::vector<sample::LogProbability> top;
};

enum class Finish : std::uint8_t { End, StopString, Length, ContextFull, Cancelled, Failed };

struct Outcome {
  Finish finish = Finish::Cancelled;
  std::string stop;             // the string that ended it
  chat::Answer answer;          // all of its text, taken apart; content alone where nothing was
  exec::SessionResult figures;  // of all its sessions together
};

// Called from the scheduler's thread; must not block. Empty ones are not called.
struct Listener {
  std::function<void(const chat::OutputEvent&)> event;
  std::function<void(const TokenReport&)> token;  // where asked for; before the text it is part of
  std::function<void(std::size_t done, std::size_t all)> prompt_read;
  // The last call: of the last session. `goes_on()` is false then.
  std::function<void(const Outcome&)> finished;
};

// Allocates what it needs when constructed, but for texts of tokens. Lives until its session has ended.
//
// Where a banned phrase was written, its session ends, and another goes on from before the phrase: what is in the cache
// of it is kept. So whoever joined it to a scheduler does so again while `goes_on()` (it may be done from `again`,
// which is called instead of Listener::finished).
class Generation final : public exec::SessionClient {
 public:
  // Throws Error(BadInput) for samplers that make no sense, and grammars that are too large.
  Generation(GenerationOptions options, const tokenizer::Tokenizer& tokenizer, std::uint32_t vocabulary,
             Listener listener);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // What it holds beside the options, about; for the plan.
  static Bytes memory_bytes(const GenerationOptions& options, std::uint32_t vocabulary, std::uint32_t context);

  // For the scheduler, of the session that is to begin.
  [[nodiscard]] exec::SessionOptions session();
  [[nodiscard]] bool goes_on() const { return goes_on_; }
  std::function<void()> again;

  // The text so far, prompt and all.
  [[nodiscard]] std::span<const Token> tokens() const { return tokens_; }
  [[nodiscard]] std::size_t prompt_tokens() const { return prompt_tokens_; }
  // After the end.
  [[nodiscard]] const Outcome& outcome() const { return outcome_; }
  // Of the session that ended last; what was thrown is here.
  [[nodiscard]] std::exception_ptr error() const { return outcome_.figures.error; }
  // That its draws began with.
  [[nodiscard]] std::uint64_t seed() const { return sampler_.seed(); }

  Token draw(std::span<const float> logits) override;
  bool is_end(Token token) override;
  bool take(Token token) override;
  void prompt_read(std::size_t done, std::size_t all) override;
  void ended(const exec::SessionResult& result) noexcept override;

 private:
  // Puts the grammar between the engine and whoever guesses.
  class Guesses final : public speculate::Drafter {
   public:
    explicit Guesses(Generation& of) : of_(of) {}
    void append(std::span<const Token> tokens) noexcept override;
    std::span<const Token> draft(std::size_t most) noexcept override;
    void judge(std::size_t right) noexcept override;
    void reset() noexcept override;

   private:
    Generation& of_;
    std::string text_;
    std::vector<Token> forced_;
    bool own_ = false;  // the last draft was the grammar's
  };

  [[nodiscard]] bool grammar_holds() const { return lazy_.has_value() && !waits_; }
  std::span<const std::uint64_t> allowed();
  // Nothing of the answer has come, nor can it before a mark does.
  [[nodiscard]] bool is_before_answer() const {
    const bool headers = options_.constraint && !options_.constraint->of_calls;
    return reasons() || (headers && parser_.has_value() && parser_->is_before_content());
  }
  [[nodiscard]] bool reasons() const { return parser_.has_value() && parser_->reasoning(); }
  void report(std::span<const float> logits, Token token);
  void tell_reports(std::size_t kept_back);
  void show(std::string_view text);
  void show_content(std::string_view text);
  void take_back(std::size_t count);
  void finish(const exec::SessionResult& result);

  GenerationOptions options_;
  const tokenizer::Tokenizer& tokenizer_;
  Listener listener_;
  chat::Tools no_tools_;
  sample::Sampler sampler_;
  std::vector<Token> tokens_;
  std::size_t prompt_tokens_;
  tokenizer::StreamDecoder decoder_;
  chat::StopStrings stops_;
  std::optional<chat::OutputParser> parser_;
  std::optional<grammar::LazySession> lazy_;
  bool waits_ = false;  // for the end of the reasoning
  std::vector<std::uint64_t> mask_;
  std::optional<sample::BannedPhrases> banned_;
  std::vector<tokenizer::StreamDecoder> decoders_;  // before each token of which text is held back
  std::string held_;                                // that text
  std::int64_t budget_;
  std::int64_t reasoned_ = 0;
  std::vector<Token> closing_;  // what ends the reasoning, the next at the end
  std::deque<TokenReport> reports_;
  std::vector<sample::LogProbability> top_;
  Guesses guesses_;
  chat::Answer plain_;
  bool goes_on_ = false;
  bool first_ = true;
  Outcome outcome_;
};

}  // namespace loadline::talk

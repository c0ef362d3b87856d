// What a client wants generated, and what it is told: plain data between the dialects, which know no engine, and the
// service, which knows no dialect.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "exec/session.h"
#include "grammar/grammar.h"
#include "sample/log_probabilities.h"
#include "sample/options.h"

namespace loadline::serve {

using exec::Token;

struct Generation {
  std::vector<Token> prompt;
  std::int64_t most_tokens = -1;  // -1: until the model ends or the context is full; 0: the prompt is only read
  sample::Options sampling;
  std::vector<std::string> stops;
  bool ignore_end = false;  // go on after end tokens
  bool special = false;     // control tokens are text

  // What the text must match, from the beginning or from the first of the triggers in it on. Null: anything.
  std::shared_ptr<const grammar::Grammar> grammar;
  std::vector<std::string> triggers;
  // How the prompt ends, where its model reasons: the grammar then holds for what comes after the reasoning, of which
  // there are at most so many tokens (-1: no limit).
  std::string reasoning_from;
  std::int64_t reasoning_budget = -1;

  bool tell_tokens = false;           // Piece::tokens
  bool tell_probabilities = false;    // with their log-probabilities ...
  std::uint32_t likeliest = 0;        // ... and those of so many others
  std::string forced;                 // is written before anything is drawn: marks that the grammar does not know
  bool reuse = true;                  // what the cache holds of the prompt is not computed again
  std::string key;                    // who asks: places are shared fairly between keys
  std::shared_ptr<const void> keeps;  // what the listener looks at
};

struct TokenReport {
  Token token = 0;
  std::string bytes;
  double log_probability = 0;
  std::vector<sample::LogProbability> likeliest;
};

// What came of a generation since the last time. Whole characters, nothing of a stop string.
struct Piece {
  std::string text;
  std::vector<TokenReport> tokens;  // where they are asked for; their text may not be certain yet
};

enum class Finish : std::uint8_t { End, StopString, Length, ContextFull, Cancelled, Failed };

struct Outcome {
  Finish finish = Finish::Failed;
  std::string stop;   // the string that ended it
  std::string error;  // a sentence, where it failed
  exec::SessionResult figures;
  std::uint64_t seed = 0;
};

// Who a generation belongs to. Called by Service::deliver, from its thread.
class Listener {
 public:
  virtual ~Listener() = default;
  // Tokens of the prompt read so far, of them found in the cache, and all.
  virtual void prompt_read(std::size_t /*done*/, std::size_t /*shared*/, std::size_t /*all*/) {}
  virtual void piece(const Piece& piece) = 0;
  // The last call.
  virtual void finished(const Outcome& outcome) = 0;
};

}  // namespace loadline::serve

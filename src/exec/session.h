// A session: one text that a model continues, as its caller sees it. What it asks for, what it is asked and told
// meanwhile, and how it ended. The Scheduler runs it.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <span>

#include "exec/page_pool.h"
#include "speculate/drafter.h"

namespace loadline::exec {

// Why a session ended.
enum class Ending : std::uint8_t {
  EndOfGeneration,  // the model drew a token that ends its text
  Length,           // as many tokens as were asked for
  ContextFull,      // no cell is left for it
  Enough,           // the client said so
  Stopped,          // cancelled
  Failed,           // by the client or a device: see SessionResult::error
};

struct SessionResult {
  std::size_t prompt_tokens = 0;  // of the prompt that are in the cache, those shared with another text included
  std::size_t shared_tokens = 0;  // of those, what was there already
  double prompt_seconds = 0;      // from its first pass until its prompt was read
  std::size_t generated_tokens = 0;
  double generation_seconds = 0;    // of all that came after the prompt, until its last pass
  std::size_t passes = 0;           // those of its passes
  std::size_t drafted_tokens = 0;   // guessed and verified in them
  std::size_t accepted_tokens = 0;  // guessed right
  Ending ending = Ending::Stopped;
  std::exception_ptr error;  // what was thrown, where it failed
};

// Who a session belongs to. Called from the thread that runs the scheduler, between passes, never by two at a time; may
// call `cancel` and `join` of the scheduler, and nothing else of it. What it throws ends this session as failed and no
// other. Lives until `ended` has been called.
class SessionClient {
 public:
  virtual ~SessionClient() = default;

  // The next token, chosen from the row of logits that follows all tokens so far: the client's sampler. Probabilities
  // that somebody wants to see come from the same row.
  virtual Token draw(std::span<const float> logits) = 0;
  // Whether this token ends the text; it is then not taken.
  virtual bool is_end(Token /*token*/) { return false; }
  // Each token drawn. False: enough.
  virtual bool take(Token token) = 0;

  // The prompt is begun, with so many of its tokens found in the cache.
  virtual void prompt_begun(std::size_t /*shared*/) noexcept {}
  // Tokens of the prompt done so far, and in all.
  virtual void prompt_read(std::size_t /*done*/, std::size_t /*all*/) {}
  // The logits behind token `index` of the prompt, where SessionOptions::prompt_rows asks for them.
  virtual void prompt_row(std::size_t /*index*/, std::span<const float> /*logits*/) {}
  // What the output matrix was multiplied with to make them, where SessionOptions::states asks for it.
  virtual void prompt_state(std::size_t /*index*/, std::span<const float> /*state*/) {}

  // The last call. The session's cells are free, and its place too.
  virtual void ended(const SessionResult& /*result*/) noexcept {}
};

inline constexpr std::uint32_t kAllCells = 0xFFFFFFFFU;

// Of which tokens of a prompt the client is told the state behind the last layer, normed.
enum class States : std::uint8_t { None, Last, All };

struct SessionOptions {
  std::span<const Token> prompt;          // at least one token; stays where it is until the session has ended
  std::int64_t most_tokens = -1;          // to generate; -1: until the model ends or the context is full
  std::uint32_t most_cells = kAllCells;   // that it may take of the context
  std::uint32_t most_shared = kAllCells;  // that it may begin with of what is in the cache; 0: it computes everything
  bool prompt_rows = false;               // the logits of every token of the prompt; nothing is then shared
  States states = States::None;           // with All nothing is shared either
  std::optional<std::uint32_t> place;     // of the scheduler's places, the one that it is to have
  // Guesses that are verified several at once. It is told the prompt and every token. `draw` is still asked for every
  // token in turn, with the logits that follow the token before: the draws are the same as without guesses, only fewer
  // passes lie between them. Null: none. Lives as long as the client.
  speculate::Drafter* drafter = nullptr;
};

// Of all sessions of a scheduler, past ones too.
using SessionId = std::uint64_t;

}  // namespace loadline::exec

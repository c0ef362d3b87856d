// What a client wants generated, and what it is told: plain data between the dialects, which know no engine, and the
// service, which knows no dialect.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/output_parser.h"
#include "exec/session.h"
#include "talk/generation.h"

namespace loadline::serve {

using exec::Token;
using talk::Finish;
using talk::TokenReport;

// A prompt's meaning as a vector: of what the model's last layer makes of its last token, or the mean over all of them,
// or that of each.
enum class Pooling : std::uint8_t { Last, Mean, None };

struct Generation : talk::GenerationOptions {
  bool reuse = true;                  // what the cache holds of the prompt is not computed again
  std::optional<std::uint32_t> slot;  // the place that it is to have
  std::optional<Pooling> pooling;     // no text, but Outcome::vectors
  bool tells_reports = false;         // of tokens, as JSON and at once
  std::string key;                    // who asks: places are shared fairly between keys
  std::shared_ptr<const void> keeps;  // what the listener looks at
};

// What came of a generation since the last time. Whole characters, nothing of a stop string.
struct Piece {
  std::string text;                       // of the answer itself ...
  std::vector<chat::OutputEvent> events;  // ... and with all that is apart from it, where it is taken apart
  std::vector<TokenReport> tokens;        // where they are asked for; their text may not be certain yet
};

struct Outcome {
  Finish finish = Finish::Failed;
  std::string stop;   // the string that ended it
  std::string error;  // a sentence, where it failed
  exec::SessionResult figures;
  std::uint64_t seed = 0;
  std::uint32_t slot = 0;                   // the place that it had
  std::vector<std::vector<float>> vectors;  // with Generation::pooling; of length 1
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

// The one place where chat meets the engine: generates behind a prompt, of which what the cache already holds is not
// computed again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "engine/engine.h"

namespace loadline::cli {

enum class TurnEnding : std::uint8_t { EndOfTurn, Length, ContextFull, Enough, Interrupted };

struct TurnFigures {
  std::size_t prompt_tokens = 0;
  std::size_t kept_tokens = 0;  // of the prompt, not computed again
  double prompt_seconds = 0;
  std::size_t generated_tokens = 0;
  double generation_seconds = 0;  // after the first token
  TurnEnding ending = TurnEnding::EndOfTurn;
};

struct TurnCallbacks {
  std::function<std::int32_t(std::span<const float>)> draw;
  std::function<bool(std::int32_t)> is_end;
  std::function<bool(std::int32_t)> take;  // false: enough
};

// One text at a time, used by one thread.
class ChatEngine {
 public:
  explicit ChatEngine(std::unique_ptr<engine::Engine> engine) : engine_(std::move(engine)) {}
  [[nodiscard]] engine::Engine& engine() { return *engine_; }
  // `most`: tokens to generate at most; -1: as many as the context holds.
  TurnFigures generate(std::span<const std::int32_t> prompt, std::int64_t most, const TurnCallbacks& callbacks,
                       const std::atomic<bool>& stop);

 private:
  std::unique_ptr<engine::Engine> engine_;
};

}  // namespace loadline::cli

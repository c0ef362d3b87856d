#include "cli/chat_engine.h"

namespace loadline::cli {
namespace {

class Turn final : public exec::SessionClient {
 public:
  explicit Turn(const TurnCallbacks& callbacks) : callbacks_(callbacks) {}
  std::int32_t draw(std::span<const float> logits) override { return callbacks_.draw(logits); }
  bool is_end(std::int32_t token) override { return callbacks_.is_end(token); }
  bool take(std::int32_t token) override { return callbacks_.take(token); }
  void ended(const exec::SessionResult& result) noexcept override { result_ = result; }
  [[nodiscard]] const exec::SessionResult& result() const { return result_; }

 private:
  const TurnCallbacks& callbacks_;
  exec::SessionResult result_;
};

TurnEnding ending_of(exec::Ending ending) {
  switch (ending) {
    case exec::Ending::EndOfGeneration: return TurnEnding::EndOfTurn;
    case exec::Ending::Length: return TurnEnding::Length;
    case exec::Ending::ContextFull: return TurnEnding::ContextFull;
    case exec::Ending::Enough: return TurnEnding::Enough;
    default: return TurnEnding::Interrupted;
  }
}

}  // namespace

TurnFigures ChatEngine::generate(std::span<const std::int32_t> prompt, std::int64_t most,
                                 const TurnCallbacks& callbacks, const std::atomic<bool>& stop) {
  Turn turn(callbacks);
  exec::SessionOptions options;
  options.prompt = prompt;
  options.most_tokens = most;
  engine_->scheduler().join(options, turn);
  engine_->run(stop);
  const exec::SessionResult& result = turn.result();
  if (result.error) std::rethrow_exception(result.error);
  TurnFigures out;
  out.prompt_tokens = prompt.size();
  out.kept_tokens = result.shared_tokens;
  out.prompt_seconds = result.prompt_seconds;
  out.generated_tokens = result.generated_tokens;
  out.generation_seconds = result.generation_seconds;
  out.ending = ending_of(result.ending);
  return out;
}

}  // namespace loadline::cli

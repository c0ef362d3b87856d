// The facade: a model loaded as its plan says, ready to generate. The only place that names concrete backends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backend/device.h"
#include "base/thread_pool.h"
#include "engine/loader.h"
#include "engine/weight_stream.h"
#include "exec/executor.h"
#include "gguf/gguf.h"
#include "model/program.h"
#include "plan/plan.h"
#include "plan/refusal.h"
#include "speculate/ngram_drafter.h"

namespace loadline::engine {

using backend::StopFlag;
using Token = std::int32_t;

// Why a generation ended.
enum class Ending : std::uint8_t { EndOfGeneration, Length, ContextFull, Stopped };

struct GenerateOptions {
  std::uint32_t sequence = 0;
  std::int64_t most_tokens = -1;                            // -1: until the model ends or the context is full
  std::function<Token(std::span<const float>)> draw;        // chooses the next token from a row of logits
  std::function<bool(Token)> is_end;                        // end-of-generation tokens; such a token is not reported
  std::function<void(Token)> on_token;                      // as each is drawn
  std::function<void(std::size_t, std::size_t)> on_prompt;  // tokens of the prompt done, and in all; may be empty
  // Guesses that are verified several at once, up to shape.outputs - 1 a pass; null: none. It is told the prompt and
  // every token. `draw` is still asked for every token in turn, with the logits that follow the token before: the
  // draws are the same as without guesses, only fewer passes lie between them.
  speculate::NgramDrafter* drafter = nullptr;
};

struct Figures {
  std::size_t prompt_tokens = 0;
  double prompt_seconds = 0;  // until the first token's logits
  std::size_t generated_tokens = 0;
  double generation_seconds = 0;    // of all passes after the prompt's
  std::size_t passes = 0;           // those passes
  std::size_t drafted_tokens = 0;   // guessed and verified in them
  std::size_t accepted_tokens = 0;  // guessed right
  Bytes streamed;                   // weights read from disk meanwhile, what was read ahead included
  Ending ending = Ending::Length;
};

// Owns everything a loaded model is: files, plan, memory, threads, KV cache. One thread uses it; a StopFlag may be set
// from any other.
class Engine {
 public:
  // What tests put between the engine and the system, and what they set. Empty: nothing.
  struct Hooks {
    std::function<decltype(storage::open_queue)> open_queue;
    std::optional<std::uint32_t> overlap_from;  // exec::kOverlapFrom
  };

  // Allocates exactly the plan's arenas, loads, and compares what is held with what was planned. Throws Error; null if
  // stopped while loading.
  static std::unique_ptr<Engine> load(gguf::Model model, model::Program program, plan::Plan plan,
                                      const LoadProgress& progress, const StopFlag& stop, const Hooks& hooks = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] const gguf::Model& model() const { return model_; }
  [[nodiscard]] const model::Program& program() const { return program_; }
  [[nodiscard]] const plan::Plan& plan() const { return plan_; }
  [[nodiscard]] exec::Executor& executor() { return *executor_; }
  // What a GPU of the plan can do at most, measured now; zeros for the CPU and for what the plan does not use.
  struct GpuPeaks {
    double read_bandwidth = 0;  // bytes/s
    double float_ops = 0;       // float32 operations/s
  };
  GpuPeaks measure_gpu(plan::DeviceIndex device);
  // The memory that the CPU reads weights from, to measure how fast it can be read; empty where there is none.
  [[nodiscard]] std::span<const std::byte> weights_in_ram() const;
  // What a user should know of the devices, a sentence each.
  [[nodiscard]] std::vector<std::string> remarks() const;
  // What the process holds of RAM now, for plan::require_held.
  [[nodiscard]] plan::Held held() const;
  // Bytes of weights read from disk for the passes so far.
  [[nodiscard]] Bytes streamed_bytes() const { return stream_ ? stream_->bytes_read() : Bytes(); }

  // One pass, see exec::Executor::forward. Throws also where streamed weights could not be read.
  bool forward(std::span<const exec::Input> inputs, const StopFlag& stop,
               exec::Rounding rounding = exec::Rounding::Fastest);

  // Appends the prompt to the sequence in batches, then draws tokens until something ends it.
  // Throws Error(BadInput) if the prompt alone does not fit the context.
  Figures generate(std::span<const Token> prompt, const GenerateOptions& options, const StopFlag& stop);

  // Appends tokens in batches and calls `row` with every position's logits, in order. False if stopped.
  bool score(std::span<const Token> tokens, std::uint32_t sequence,
             const std::function<void(std::span<const float>)>& row, const StopFlag& stop);

 private:
  Engine(gguf::Model model, model::Program program, plan::Plan plan);
  bool read_prompt(std::span<const Token> prompt, const GenerateOptions& options, const StopFlag& stop,
                   Figures& figures);
  void generate_tokens(const GenerateOptions& options, const StopFlag& stop, Figures& figures);
  void verify() const;

  gguf::Model model_;
  model::Program program_;
  plan::Plan plan_;
  std::unique_ptr<ThreadPool> pool_;
  std::vector<std::unique_ptr<backend::Device>> devices_;  // per device of the plan; null where it has no tier in use
  Bytes drivers_held_;                                     // of RAM, by opening GPUs and making their shaders
  std::unique_ptr<WeightStream> stream_;                   // null where nothing is streamed; goes before the devices
  std::unique_ptr<exec::Executor> executor_;
  std::vector<Token> next_;  // the tokens of one pass of a generation
};

}  // namespace loadline::engine

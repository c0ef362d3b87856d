// Measures sessions beside each other: how fast several that begin alike generate together, against one, and how long
// one that generates has to wait for its next token while another's long prompt is read.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/engine.h"

namespace loadline::engine {

struct SessionBenchmarkOptions {
  std::uint32_t sessions = 8;  // side by side
  std::uint32_t common = 512;  // tokens that all their prompts begin with
  std::uint32_t own = 16;      // and tokens of each prompt that no other has
  std::uint32_t generate = 64;
  std::uint32_t prompt = 2048;  // of the one that joins while another generates
};

struct SessionBenchmarkResult {
  double prompt_rate = 0;           // tokens/s of a prompt alone
  double alone_rate = 0;            // tokens/s of one session
  double together_rate = 0;         // tokens/s of all together
  std::size_t prompt_tokens = 0;    // of the prompts of all
  std::size_t computed_tokens = 0;  // of them, those that were computed: what is common counts once
  double gap_alone = 0;             // s, the longest between two tokens of a session
  double gap_beside = 0;            // while the prompt is read beside it
  std::size_t tokens_beside = 0;    // that it generated meanwhile
};

// Sequences, and cells of context, that the options need.
std::uint32_t sequences_needed(const SessionBenchmarkOptions& options);
std::uint32_t context_needed(const SessionBenchmarkOptions& options);

// nullopt when stopped.
std::optional<SessionBenchmarkResult> benchmark_sessions(Engine& engine, const SessionBenchmarkOptions& options,
                                                         const StopFlag& stop);

}  // namespace loadline::engine

#include "serve/request_memory.h"

#include <algorithm>

#include "serve/json.h"
#include "serve/token_reports.h"

namespace loadline::serve {

Bytes most_text(std::uint32_t context) {
  constexpr Bytes kLeast(std::uint64_t{512} << 10);
  constexpr std::uint64_t kEachToken = 8;
  return std::max(kLeast, Bytes(context * kEachToken));
}

Bytes most_reports(std::uint32_t context) {
  constexpr Bytes kLeast(std::uint64_t{8} << 20);
  constexpr std::uint64_t kMostOthers = 20;
  return std::max(kLeast, TokenReports::memory_bytes(context, kMostOthers));
}

RequestMemory request_memory(const RequestLimits& limits) {
  // Beside its tokens: stop strings, phrases, names.
  constexpr Bytes kSettings(std::uint64_t{32} << 10);
  // A grammar's state, at the matcher's limits (grammar/matcher.h), and the text of an answer.
  constexpr Bytes kAnswer(std::uint64_t{8} << 20);
  // Candidates of the sampler with what its steps keep of each, and masks.
  constexpr std::uint64_t kEachToken = 40;
  RequestMemory out;
  out.places = limits.places;
  out.bodies = limits.most_bodies;
  // As JSON, twice where messages are fitted to what templates know, and as the template's text.
  out.reading = limits.most_body * 4 + kMostJson * 2 + kMostRendering;
  // Tokens are made of the text once it is rendered, in the same room.
  out.merging = std::max(kMostRendering, most_text(limits.context) * kMerging) - kMostRendering;
  const Bytes prompt(std::uint64_t{limits.context} * 4);
  out.waiting = (prompt + kSettings) * limits.waiting;
  out.running = kAnswer + Bytes(kEachToken * limits.vocabulary) + prompt * 4;
  out.grammars = kMostGrammars;
  out.reports = most_reports(limits.context);
  out.vectors = kMostEmbeddings;
  out.undelivered = kMostUndelivered;
  out.connections = limits.connections;
  out.fixed = Bytes(std::uint64_t{1} << 20) + limits.index;
  return out;
}

}  // namespace loadline::serve

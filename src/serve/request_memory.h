// What requests may take of RAM, all together: a row of the plan. Each part is bounded where it is taken: bodies by the
// HTTP server, reading by the limits on JSON and templates, what waits and what runs by the service.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace loadline::serve {

struct RequestMemory {
  Bytes bodies;   // of requests that are received or answered
  Bytes reading;  // the one that is read: its JSON, and its conversation while the template renders it
  Bytes waiting;  // prompts and settings of those that wait for a place
  Bytes running;  // of each that runs: its sampler, its grammar's state, its text
  Bytes grammars;
  Bytes reports;      // log-probabilities that are kept until their answers are sent
  Bytes vectors;      // of embeddings that are not answered yet, and the tokens of their texts
  Bytes undelivered;  // what was made of answers, and the network's thread has not taken yet
  Bytes connections;  // what the HTTP server holds of and for them
  Bytes merging;      // of reading, what a long context's text takes more
  Bytes fixed;        // the index of the vocabulary
  std::uint32_t places = 0;

  // Whichever model they are for, and each model's own.
  [[nodiscard]] Bytes shared() const { return bodies + reading + connections; }
  [[nodiscard]] Bytes own() const {
    return waiting + running * places + grammars + reports + vectors + undelivered + merging + fixed;
  }
  [[nodiscard]] Bytes total() const { return shared() + own(); }
};

struct RequestLimits {
  std::uint32_t places = 1, waiting = 0, context = 0, vocabulary = 0;
  Bytes most_body, most_bodies, connections;
  Bytes index;  // of the vocabulary
};
RequestMemory request_memory(const RequestLimits& limits);

// Of a conversation, while a template renders it.
inline constexpr Bytes kMostRendering{std::uint64_t{64} << 20};
// Of embeddings that are asked for and not answered yet: of one request's vectors, of its texts' tokens, and of all
// requests together.
inline constexpr Bytes kMostVectors{std::uint64_t{4} << 20};
inline constexpr Bytes kMostTextTokens{std::uint64_t{4} << 20};
inline constexpr Bytes kMostEmbeddings = kMostVectors + kMostTextTokens;
// Of log-probabilities of answers that are told as a whole, all together: one has room for as many tokens as the
// context has, with OpenAI's most beside each.
Bytes most_reports(std::uint32_t context);
// Of all answers that the network's thread has not taken yet, beside what one pass adds.
inline constexpr Bytes kMostUndelivered{std::uint64_t{4} << 20};
// Of a text that is read as tokens: twice what a full context has of usual text. Merging its bytes takes up to
// kMerging for each of them.
Bytes most_text(std::uint32_t context);
inline constexpr std::uint64_t kMerging = 120;
// Of all grammars that are remembered, and of each.
inline constexpr Bytes kMostGrammars{std::uint64_t{16} << 20};
inline constexpr Bytes kMostGrammar{std::uint64_t{4} << 20};

}  // namespace loadline::serve

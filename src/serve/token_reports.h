// TokenReports: log-probabilities of an answer that is told as a whole, kept until it is sent: of each token its id and
// numbers alone, within what the plan has for those of all answers. And what is told of a token, as JSON.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "serve/generation.h"
#include "serve/json.h"
#include "serve/long_answer.h"
#include "serve/served.h"

namespace loadline::serve {

class TokenReports {
 public:
  // What those of an answer take at most: so many tokens, each with so many others.
  static Bytes memory_bytes(std::uint64_t tokens, std::uint64_t others);

  // Takes `reserved` of what is counted in `all` (Served::reports) until it goes.
  TokenReports(std::shared_ptr<std::atomic<std::uint64_t>> all, Bytes reserved);
  ~TokenReports();
  TokenReports(const TokenReports&) = delete;
  TokenReports& operator=(const TokenReports&) = delete;

  void add(std::span<const TokenReport> reports);
  // Nothing more comes: gives back what of the reserved it did not need.
  void end();
  [[nodiscard]] std::size_t size() const { return ends_.size(); }
  [[nodiscard]] TokenReport at(std::size_t index) const;

 private:
  static Bytes bytes_of(std::uint64_t entries, std::uint64_t tokens);
  struct Entry {
    Token token = 0;
    float log_probability = 0;
  };
  std::shared_ptr<std::atomic<std::uint64_t>> all_;
  Bytes reserved_;
  std::deque<Entry> entries_;  // of each token itself, and behind it of the others
  std::deque<std::uint64_t> ends_;
};

// For the answers to a request, one for each: null where it asks for none, and where they are told in a stream, which
// the generations are told. Throws TooLarge for more than the plan has for all answers, and Busy while others take it.
std::vector<std::shared_ptr<TokenReports>> keep_reports(const Served& served, std::span<Generation> generations,
                                                        bool streams);

// Those of an answer that has ended, to be told: taken from `kept`. Null where there are none.
std::shared_ptr<const TokenReports> ended_reports(std::shared_ptr<TokenReports>& kept);

// "token", "logprob", "bytes" of a token, and in "top_logprobs" of those that could have come.
Json probabilities_json(const Served& served, const TokenReport& report, bool with_ids);
// An array of that, where they are few.
Json probabilities_json(const Served& served, const std::vector<TokenReport>& reports, bool with_ids);
// What stands for such an array in an answer.
Json probabilities_list(LongAnswer& answer, std::shared_ptr<const Served> served,
                        std::shared_ptr<const TokenReports> reports, bool with_ids);
// What a token's report takes as JSON, about; for the count of what is told at once.
Bytes told_bytes(std::size_t others);

}  // namespace loadline::serve

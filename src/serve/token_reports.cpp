#include "serve/token_reports.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "serve/call.h"
#include "serve/request_memory.h"

namespace loadline::serve {
namespace {

// Of tokens that an answer can have: what is asked for, or what the context has room for.
std::uint64_t most_tokens(const Generation& generation, std::uint32_t context) {
  const std::uint64_t room = context - std::min<std::uint64_t>(context, generation.prompt.size());
  if (generation.most_tokens < 0) return room;
  return std::min<std::uint64_t>(room, static_cast<std::uint64_t>(generation.most_tokens));
}

}  // namespace

Bytes TokenReports::bytes_of(std::uint64_t entries, std::uint64_t tokens) {
  constexpr std::uint64_t kOwn = 4096;
  // Lists are made of blocks of 512 bytes; finding those takes 16 more of each, and malloc 16.
  constexpr std::uint64_t kBlock = 512;
  constexpr std::uint64_t kBesides = 32;
  const std::uint64_t bytes = entries * sizeof(Entry) + tokens * sizeof(std::uint64_t);
  return Bytes(bytes + bytes / kBlock * kBesides + kOwn);
}

Bytes TokenReports::memory_bytes(std::uint64_t tokens, std::uint64_t others) {
  return bytes_of(tokens * (others + 1), tokens);
}

TokenReports::TokenReports(std::shared_ptr<std::atomic<std::uint64_t>> all, Bytes reserved)
    : all_(std::move(all)), reserved_(reserved) {
  *all_ += reserved_.value;
}

TokenReports::~TokenReports() { *all_ -= reserved_.value; }

void TokenReports::end() {
  const Bytes needed = std::min(reserved_, bytes_of(entries_.size(), ends_.size()));
  *all_ -= (reserved_ - needed).value;
  reserved_ = needed;
}

void TokenReports::add(std::span<const TokenReport> reports) {
  for (const TokenReport& one : reports) {
    entries_.push_back({one.token, static_cast<float>(one.log_probability)});
    for (const sample::LogProbability& other : one.top) {
      entries_.push_back({other.token, static_cast<float>(other.value)});
    }
    ends_.push_back(entries_.size());
  }
}

TokenReport TokenReports::at(std::size_t index) const {
  const std::uint64_t begin = index == 0 ? 0 : ends_[index - 1];
  TokenReport out;
  out.token = entries_[begin].token;
  out.log_probability = entries_[begin].log_probability;
  out.top.reserve(ends_[index] - begin - 1);
  for (std::uint64_t i = begin + 1; i < ends_[index]; ++i) {
    out.top.push_back({entries_[i].token, entries_[i].log_probability});
  }
  return out;
}

std::vector<std::shared_ptr<TokenReports>> keep_reports(const Served& served, std::span<Generation> generations,
                                                        bool streams) {
  const std::uint32_t context = served.context();
  const Bytes most = most_reports(context);
  std::vector<Bytes> each;
  Bytes all;
  for (Generation& one : generations) {
    const bool wanted = one.log_probabilities.has_value() && !streams;
    one.tells_reports = streams;
    each.push_back(wanted ? TokenReports::memory_bytes(most_tokens(one, context), one.log_probabilities->top)
                          : Bytes());
    all += each.back();
  }
  if (all > most) {
    throw TooLarge(
        fmt::format("log-probabilities of all tokens that are asked for take {}, and there are {} for them: ask for "
                    "fewer tokens, for fewer others beside each, or for a stream",
                    to_string(all), to_string(most)));
  }
  // What is kept for whoever asks later goes first.
  if (Bytes(*served.reports) + all > most) served.last_reports = nullptr;
  if (Bytes(*served.reports) + all > most) {
    throw Busy("the server is busy: others' log-probabilities take the room that there is for them");
  }
  std::vector<std::shared_ptr<TokenReports>> out;
  for (const Bytes bytes : each) {
    out.push_back(bytes.value == 0 ? nullptr : std::make_shared<TokenReports>(served.reports, bytes));
  }
  return out;
}

std::shared_ptr<const TokenReports> ended_reports(std::shared_ptr<TokenReports>& kept) {
  if (!kept || kept->size() == 0) return nullptr;
  kept->end();
  return std::exchange(kept, nullptr);
}

Json probabilities_json(const Served& served, const TokenReport& report, bool with_ids) {
  const auto one = [&](Token token, double value) {
    std::string bytes = served.tokenizer().piece(token, true);
    Json out = Json::object();
    if (with_ids) out["id"] = token;
    Json numbers = Json::array();
    for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
    out["token"] = std::move(bytes);
    out["bytes"] = std::move(numbers);
    constexpr float kNever = -1000;
    out["logprob"] = number_json(std::isfinite(value) ? static_cast<float>(value) : kNever);
    return out;
  };
  Json out = one(report.token, report.log_probability);
  out["top_logprobs"] = Json::array();
  for (const sample::LogProbability& other : report.top) {
    out["top_logprobs"].push_back(one(other.token, other.value));
  }
  return out;
}

Json probabilities_json(const Served& served, const std::vector<TokenReport>& reports, bool with_ids) {
  Json out = Json::array();
  for (const TokenReport& one : reports) out.push_back(probabilities_json(served, one, with_ids));
  return out;
}

Json probabilities_list(LongAnswer& answer, std::shared_ptr<const Served> served,
                        std::shared_ptr<const TokenReports> reports, bool with_ids) {
  const std::size_t count = reports->size();
  return answer.list(count, [served = std::move(served), reports = std::move(reports), with_ids](std::size_t index) {
    return probabilities_json(*served, reports->at(index), with_ids);
  });
}

// An object of four members and a few numbers, and its text.
Bytes told_bytes(std::size_t others) {
  constexpr std::uint64_t kOne = 800;
  return Bytes((others + 1) * kOne);
}

}  // namespace loadline::serve

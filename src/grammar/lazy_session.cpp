#include "grammar/lazy_session.h"

#include <algorithm>

#include "base/error.h"

namespace loadline::grammar {
namespace {

std::size_t longest_of(std::span<const std::string> triggers) {
  std::size_t longest = 0;
  for (const std::string& trigger : triggers) longest = std::max(longest, trigger.size());
  return longest;
}

// As much of the output as taking back tokens can ask for.
std::size_t recent_bytes(const TokenIndex& index, std::span<const std::string> triggers, const SessionLimits& limits) {
  return longest_of(triggers) + (std::size_t{limits.history} + 2) * std::min<std::size_t>(index.deepest(), 256);
}

}  // namespace

LazySession::LazySession(const Grammar& grammar, const TokenIndex& index, std::vector<std::string> triggers,
                         const SessionLimits& limits)
    : index_(&index), triggers_(std::move(triggers)), session_(grammar, index, limits) {
  std::erase(triggers_, "");
  longest_ = longest_of(triggers_);
  most_recent_ = recent_bytes(index, triggers_, limits);
  recent_.reserve(most_recent_ + index.deepest());
  records_.resize(std::max(limits.history, 1U));
  reset();
}

Bytes LazySession::memory_bytes(const Grammar& grammar, const TokenIndex& index, std::span<const std::string> triggers,
                                const SessionLimits& limits) {
  std::uint64_t texts = 0;
  for (const std::string& trigger : triggers) texts += sizeof(std::string) + trigger.size() + 1;
  return Session::memory_bytes(grammar, index, limits) +
         Bytes(sizeof(LazySession) - sizeof(Session) + texts + recent_bytes(index, triggers, limits) + index.deepest() +
               1 + std::max(limits.history, 1U) * sizeof(Record));
}

void LazySession::reset() {
  session_.reset();
  active_ = triggers_.empty();
  recent_.clear();
  next_ = used_ = 0;
}

// Looks for triggers that end in what was added from `from` on, the earliest first, and starts the grammar there.
bool LazySession::find_trigger(std::size_t from) {
  const std::size_t begin = from > longest_ ? from - longest_ : 0;
  for (std::size_t at = begin; at < recent_.size(); ++at) {
    for (const std::string& trigger : triggers_) {
      if (std::string_view(recent_).substr(at, trigger.size()) != trigger || at + trigger.size() <= from) continue;
      if (session_.accept_text(std::string_view(recent_).substr(at))) return true;
      session_.reset();
    }
  }
  return false;
}

bool LazySession::accept(Token token) {
  Record record{0, false, active_};
  if (active_) {
    if (!session_.accept(token)) return false;
  } else if (token >= 0 && static_cast<std::uint32_t>(token) < index_->size()) {
    const std::string_view text = index_->text(token);
    if (recent_.size() + text.size() > recent_.capacity()) {
      recent_.erase(0, recent_.size() - std::min(recent_.size(), most_recent_ - std::min(most_recent_, text.size())));
    }
    const std::size_t from = recent_.size();
    recent_ += text;
    record.bytes = static_cast<std::uint32_t>(text.size());
    record.activated = find_trigger(from);
    active_ = record.activated;
  }
  records_[next_] = record;
  next_ = (next_ + 1) % records_.size();
  used_ = std::min(used_ + 1, records_.size());
  return true;
}

std::size_t LazySession::count_allowed(std::span<const Token> tokens) {
  const std::size_t most = std::min(tokens.size(), records_.size());
  std::size_t count = 0;
  while (count < most && accept(tokens[count])) ++count;
  rollback(count);
  return count;
}

void LazySession::rollback(std::size_t count) {
  if (count > used_) throw Error(ErrorCode::Internal, "more tokens were taken back from a grammar than it remembers");
  for (; count > 0; --count) {
    next_ = (next_ + records_.size() - 1) % records_.size();
    --used_;
    const Record& record = records_[next_];
    if (record.active) {
      session_.rollback(1);
    } else {
      if (record.activated) session_.reset();
      recent_.resize(recent_.size() - std::min<std::size_t>(recent_.size(), record.bytes));
    }
    active_ = record.active;
  }
}

}  // namespace loadline::grammar

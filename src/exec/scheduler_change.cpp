// How sessions outlive their executor: what scheduler.h says of putting down and taking up.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "exec/scheduler.h"

namespace loadline::exec {

// What a session that was put down had generated: as much as the pass has room for, in equal parts, and the token drawn
// last once it is all there.
void Scheduler::add_history(std::uint32_t index, Left& left) {
  Session& session = sessions_[index];
  const KvCache& cache = executor_->cache();
  // Beside a prompt it would be rounded otherwise than before: the others that were put down read theirs first.
  const auto reads = [&](std::uint32_t i) { return sessions_[i].state == State::Reading && sessions_[i].resumes; };
  if (std::ranges::any_of(turns_, reads)) return;
  const std::size_t missing = session.history.size() - session.replayed;
  const std::uint32_t part = std::max(1U, left.tokens / (1 + left.sessions));
  auto count = static_cast<std::uint32_t>(std::min<std::size_t>(missing + 1, part));
  while (count > 0 && cache.pages_needed(index, count) > left.pages) --count;
  if (count == 0) {
    stuck_ = true;
    return;
  }
  const std::size_t begin = tokens_.size();
  const auto from = session.history.begin() + static_cast<std::ptrdiff_t>(session.replayed);
  tokens_.insert(tokens_.end(), from, from + static_cast<std::ptrdiff_t>(std::min<std::size_t>(missing, count)));
  const bool whole = count > missing;
  if (whole) tokens_.push_back(session.next);
  generating_.push_back({index, std::span<const Token>(tokens_).subspan(begin), whole ? Want::Last : Want::None});
  if (whole) {
    ++rows_;
    --left.rows;
  }
  left.tokens -= count;
  left.pages -= cache.pages_needed(index, count);
  last_served_ = session.order;
}

// Of the history of a session that was put down so much is computed. Whether it has caught up.
bool Scheduler::replay(const Member& member) {
  Session& session = sessions_[member.session];
  session.replayed += std::min(member.tokens.size(), session.history.size() - session.replayed);
  if (member.want == Want::None) return false;
  session.history = {};
  session.replayed = 0;
  return true;
}

// What it has generated is the cache's behind its prompt, and what had to be computed again; of one that has not caught
// up it is kept already.
void Scheduler::keep_history(std::uint32_t index) {
  Session& session = sessions_[index];
  if (session.history.empty()) {
    const KvCache& cache = executor_->cache();
    const std::size_t prompt = session.options.prompt.size();
    for (std::size_t i = prompt; i < cache.length(index); ++i) {
      const PageIndex page = cache.pages(index)[i / quant::kKvPageCells];
      session.history.push_back(cache.pool().tokens(page)[i % quant::kKvPageCells]);
    }
    session.history.insert(session.history.end(), session.again.begin(), session.again.begin() + session.again_count);
  }
  session.again_count = 0;
  session.resumes = true;
}

std::vector<HeldText> Scheduler::held_texts() const {
  std::vector<HeldText> texts;
  for (const std::uint32_t index : turns_) {
    const Session& session = sessions_[index];
    const std::size_t prompt = session.options.prompt.size();
    HeldText text{session.read, 0};
    if (session.resumes || !session.history.empty()) {
      text = {prompt, session.history.size()};
    } else if (session.state == State::Generating) {
      text = {prompt, executor_->cache().length(index) + session.again_count - prompt};
    }
    if (text.prompt + text.generated > 0) texts.push_back(text);
  }
  return texts;
}

std::uint64_t Scheduler::tokens_held() const {
  std::uint64_t tokens = 0;
  for (const HeldText& text : held_texts()) tokens += text.prompt + text.generated;
  return tokens;
}

std::uint64_t Scheduler::put_down() {
  if (executor_ == nullptr) return 0;
  receive();
  end_cancelled();
  const std::uint64_t tokens = tokens_held();
  before_.clear();
  for (const std::uint32_t index : turns_) {
    Session& session = sessions_[index];
    before_.push_back({index, id_of(index), session.state, session.read, session.replayed, session.again_count,
                       session.leader, !session.history.empty(), session.resumes, session.begun_before});
    if (session.state == State::Generating) keep_history(index);
    session.begun_before =
        session.begun_before || session.state == State::Generating || session.state == State::Reading;
    session.read = 0;
    session.replayed = 0;
    session.drafts = {};
    session.leader = kNoSession;
    set_state(index, State::Waiting);
  }
  stuck_ = false;
  executor_ = nullptr;
  return tokens;
}

void Scheduler::take_up(Executor& executor, bool same_cache) {
  resize(executor.plan().shape.sequences);
  executor_ = &executor;
  most_cells_ = executor.cache().most_cells();
  pace_ = Pace(executor.plan().prediction);
  tokens_.clear();
  tokens_.reserve(executor.plan().shape.batch);
  if (same_cache) go_on_as_before();
  before_.clear();
  if (same_cache) return;
  for (std::size_t i = 0; i < turns_.size();) {
    const std::uint32_t index = turns_[i];
    const Session& session = sessions_[index];
    const std::size_t cells = session.options.prompt.size() + (session.resumes ? session.history.size() + 1 : 0);
    if (cells > std::min(session.options.most_cells, executor.cache().most_cells())) {
      end(index, Ending::ContextFull);  // which takes it out of turns_
    } else {
      find_leader(index);
      ++i;
    }
  }
}

// The cache has of every session what it had when this was put down.
void Scheduler::go_on_as_before() {
  std::vector<bool> there(sessions_.size(), false);
  for (const Before& before : before_) {
    Session& session = sessions_[before.index];
    if (id_of(before.index) != before.id) continue;  // it has ended since
    there[before.index] = true;
    session.read = before.read;
    session.replayed = before.replayed;
    session.leader = before.leader;
    session.resumes = before.resumes;
    session.begun_before = before.begun_before;
    session.again_count = before.again_count;
    if (!before.had_history) session.history = {};
    set_state(before.index, before.state);
  }
  for (std::uint32_t i = 0; i < there.size(); ++i) {
    if (!there[i]) executor_->cache().cut(i, 0);
  }
}

void Scheduler::abandon(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = reason;
  }
  receive();
  while (!turns_.empty()) {
    end(turns_.back(), Ending::Failed, std::make_exception_ptr(Error(ErrorCode::DeviceFailure, reason)));
  }
}

void Scheduler::fail_pass(const std::exception_ptr& error) {
  for (const Member& member : members_) end(member.session, Ending::Failed, error);
  members_.clear();
}

void Scheduler::resize(std::uint32_t sequences) {
  const std::lock_guard lock(mutex_);
  if (sequences == sessions_.size()) return;
  if (std::ranges::any_of(sessions_, [](const Session& s) { return s.state != State::Free; })) {
    throw Error(ErrorCode::Internal, "sessions cannot go on in a plan for another number of them");
  }
  Session fresh;
  for (const Session& session : sessions_) fresh.generation = std::max(fresh.generation, session.generation);
  sessions_.assign(sequences, fresh);
  for (auto* all : {&prompts_, &generating_, &members_}) all->reserve(sequences);
  turns_.reserve(sequences);
  inputs_.reserve(sequences);
}

std::uint32_t Scheduler::catching_up() const {
  return static_cast<std::uint32_t>(
      std::ranges::count_if(turns_, [&](std::uint32_t index) { return sessions_[index].resumes; }));
}

}  // namespace loadline::exec

// A pass of a scheduler, and what its sessions get of it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "exec/scheduler.h"

namespace loadline::exec {
namespace {

bool is_device_failure(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& one) {
    return one.code() == ErrorCode::DeviceFailure;
  } catch (...) {
    return false;
  }
}

}  // namespace

// What a client throws ends its session. False if it did.
template <class Function>
bool Scheduler::guarded(std::uint32_t index, Function&& function) {
  try {
    function();
    return true;
  } catch (...) {
    end(index, Ending::Failed, std::current_exception());
    return false;
  }
}

// One pass. False where it was stopped.
bool Scheduler::run(const StopFlag* stop) {
  std::uint64_t tokens = 0;
  for (const Member& member : members_) tokens += member.tokens.size();
  const double start = now();
  {
    const std::lock_guard lock(mutex_);
    running_ = {};
    pass_stop_.store(false);
    for (const Member& member : members_) {
      Session& session = sessions_[member.session];
      session.in_pass = true;
      if (!session.cancelled) ++running_.going_on;
    }
    if (running_.going_on == 0) pass_stop_.store(true);
    running_.until = start + pace_.seconds(tokens);
    const Session& first = sessions_[members_.front().session];
    if (stop == nullptr && members_.size() == 1 && first.state == State::Reading && !first.abandoned) {
      running_.lone_prompt = members_.front().session;
    }
  }
  // Tokens that are generated come out as they would alone (exec/scheduler.h).
  const Rounding rounding = prompts_.empty() ? Rounding::AsAlone : Rounding::Fastest;
  bool done = false;
  std::exception_ptr error;
  try {
    done = executor_->forward(inputs_, stop != nullptr ? *stop : pass_stop_, rounding);
  } catch (...) {
    error = std::current_exception();
  }
  {
    const std::lock_guard lock(mutex_);
    running_ = {};
    for (const Member& member : members_) sessions_[member.session].in_pass = false;
    if (done) {
      ++activity_.passes;
      activity_.members += members_.size();
    }
  }
  if (error) {
    if (options_.outlive_devices && is_device_failure(error)) std::rethrow_exception(error);
    for (const Member& member : members_) end(member.session, Ending::Failed, error);
    std::rethrow_exception(error);
  }
  if (done && options_.learn) pace_.learn(tokens, now() - start);
  return done;
}

void Scheduler::finish_pass() {
  std::size_t row = 0;
  for (const Member& member : members_) {
    const std::uint32_t index = member.session;
    const std::size_t rows = rows_of(member.tokens, member.want);
    if (!is_cancelled(sessions_[index])) {
      guarded(index, [&] {
        Session& session = sessions_[index];
        if (session.state == State::Reading) return finish_prompt_part(member, row);
        if (!session.history.empty() && !replay(member)) return;
        session.resumes = false;
        ++session.result.passes;
        session.result.drafted_tokens += session.drafts.size();
        session.result.generation_seconds = now() - session.prompt_done;
        draw_rows(index, row);
      });
    }
    row += rows;
  }
}

void Scheduler::finish_prompt_part(const Member& member, std::size_t row) {
  Session& session = sessions_[member.session];
  const std::size_t all = session.options.prompt.size();
  const std::size_t first = std::exchange(session.read, session.read + member.tokens.size());
  if (session.resumes) {
    executor_->cache().keep_state(member.session);
    if (session.read == all) set_state(member.session, State::Generating);
    return;
  }
  session.result.prompt_tokens = session.read;
  session.prompt_done = now();
  session.result.prompt_seconds = session.prompt_done - session.begun;
  {
    const std::lock_guard lock(mutex_);
    activity_.prompt_tokens += member.tokens.size();
  }
  if (session.options.prompt_rows) {
    for (std::size_t i = 0; i < member.tokens.size(); ++i) {
      if (first + i < session.told_rows) continue;
      session.told_rows = first + i + 1;
      session.client->prompt_row(first + i, executor_->logits(row + i));
    }
  }
  if (session.options.states != States::None) {
    const std::size_t rows = rows_of(member.tokens, member.want);
    for (std::size_t i = 0; i < rows; ++i) {
      session.client->prompt_state(session.read - rows + i, executor_->state(row + i));
    }
  }
  executor_->cache().keep_state(member.session);
  session.client->prompt_read(session.read, all);
  if (session.read < all) return;
  if (session.options.most_tokens == 0) return end(member.session, Ending::Length);
  set_state(member.session, State::Generating);
  session.drafts = {};
  draw_rows(member.session, row + rows_of(member.tokens, member.want) - 1);
}

// Draws from the rows of the pass as long as its guesses prove right. What is left of the guesses is cut off.
void Scheduler::draw_rows(std::uint32_t index, std::size_t row) {
  Session& session = sessions_[index];
  const KvCache& cache = executor_->cache();
  session.again_count = 0;
  const std::uint32_t begin = cache.length(index) - static_cast<std::uint32_t>(session.drafts.size());
  for (std::uint32_t right = 0;; ++right) {
    const Token token = session.client->draw(executor_->logits(row + right));
    if (token < 0 || static_cast<std::uint32_t>(token) >= executor_->vocabulary()) {
      throw bad_input(
          fmt::format("token {} was drawn, outside the model's vocabulary of {}", token, executor_->vocabulary()));
    }
    const bool ends = session.client->is_end(token);
    bool goes_on = !ends;
    if (!ends) {
      ++session.result.generated_tokens;
      goes_on = session.client->take(token);
      if (session.options.drafter != nullptr) session.options.drafter->append({&token, 1});
      const std::lock_guard lock(mutex_);
      ++activity_.generated_tokens;
    }
    const bool enough = !ends && tokens_left(session) == 0;
    const bool was_guessed = right < session.drafts.size() && token == session.drafts[right];
    if (was_guessed && goes_on && !enough && !is_cancelled(session)) continue;
    session.result.accepted_tokens += right;
    if (session.options.drafter != nullptr && !session.drafts.empty()) session.options.drafter->judge(right);
    take_off(index, begin, right);
    session.next = token;
    if (ends) return end(index, Ending::EndOfGeneration);
    if (!goes_on) return end(index, Ending::Enough);
    if (enough) return end(index, Ending::Length);
    if (cache.length(index) + session.again_count == std::min(session.options.most_cells, cache.most_cells())) {
      end(index, Ending::ContextFull);
    }
    return;
  }
}

// Of the guesses only `right` stay, of a pass whose first token is followed by cell `begin`. Where the cache goes back
// further than that (KvCache::can_cut), to the beginning of the pass, what was right is computed once more.
void Scheduler::take_off(std::uint32_t index, std::uint32_t begin, std::uint32_t right) {
  Session& session = sessions_[index];
  KvCache& cache = executor_->cache();
  const std::span<const Token> drafts = std::exchange(session.drafts, {});
  cache.cut(index, begin + right);
  const std::uint32_t missing = begin + right - cache.length(index);
  if (missing == 0) return;
  if (missing != right + 1 || missing > session.again.size()) {
    throw Error(ErrorCode::Internal,
                fmt::format("the cache goes back by {} cells where a pass has added {}", missing, right + 1));
  }
  std::copy_n(drafts.data() - 1, missing, session.again.begin());  // the token before the guesses, and those right
  session.again_count = missing;
}

}  // namespace loadline::exec

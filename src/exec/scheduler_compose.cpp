// Who has what in the next pass of a scheduler.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "exec/same_beginning.h"
#include "exec/scheduler.h"

namespace loadline::exec {
namespace {

// Pages that a session's history takes behind those of its prompt, with the token that follows it.
std::uint32_t pages_of_history(std::size_t prompt, std::size_t history) {
  return history == 0 ? 0 : pages_for(prompt + history + 1) - pages_for(prompt);
}

// Of what it begins with a session may share all but the last token of its prompt, whose logits it needs.
std::uint32_t most_shared(const SessionOptions& options) {
  if (options.prompt_rows || options.states == States::All) return 0;
  return static_cast<std::uint32_t>(std::min<std::size_t>(options.most_shared, options.prompt.size() - 1));
}

}  // namespace

// The session before it whose prompt, which is not read yet, has the longest beginning in common with this one's: at
// least a page more than what is in the cache already.
void Scheduler::find_leader(std::uint32_t index) {
  if (!executor_->cache().cuts_anywhere()) return;  // what they have in common has a state nowhere
  Session& session = sessions_[index];
  const std::uint32_t most = most_shared(session.options);
  const std::uint32_t there = executor_->cache().shared_cells(session.options.prompt, most);
  session.led = there + quant::kKvPageCells - 1;
  for (const std::uint32_t other : turns_) {
    const Session& o = sessions_[other];
    if (o.order >= session.order || (o.state != State::Waiting && o.state != State::Reading)) continue;
    const std::size_t same = std::min<std::size_t>(same_beginning(session.options.prompt, o.options.prompt), most);
    if (same <= session.led) continue;
    session.led = same;
    session.leader = other;
    session.leader_id = id_of(other);
  }
}

bool Scheduler::is_led(const Session& session) const {
  const std::lock_guard lock(mutex_);  // the leader's place may be another's by now
  if (session.leader == kNoSession || id_of(session.leader) != session.leader_id) return false;
  const Session& leader = sessions_[session.leader];
  return (leader.state == State::Waiting || leader.state == State::Reading) && leader.read < session.led;
}

// In the order in which they came, each when there are cells for all of its prompt. None is begun while one that
// generates waits for a page. True where one finds too few.
bool Scheduler::begin_prompts() {
  if (std::exchange(stuck_, false)) return false;
  KvCache& cache = executor_->cache();
  std::uint32_t promised = 0;  // pages, to prompts that are being read
  for (const std::uint32_t index : turns_) {
    const Session& session = sessions_[index];
    if (session.state != State::Reading) continue;
    promised += cache.pages_needed(index, static_cast<std::uint32_t>(session.options.prompt.size() - session.read)) +
                pages_of_history(session.options.prompt.size(), session.history.size());
  }
  for (const std::uint32_t index : turns_) {
    Session& session = sessions_[index];
    if (session.state != State::Waiting || is_led(session)) continue;
    const std::span<const Token> prompt = session.options.prompt;
    const std::uint32_t most = most_shared(session.options);
    const std::uint32_t needed =
        cache.pages_taken_by(prompt, most) + pages_of_history(session.options.prompt.size(), session.history.size());
    if (needed + promised > cache.available_pages()) return true;
    const std::uint32_t shared = cache.adopt(index, prompt, most);
    promised += cache.pages_needed(index, static_cast<std::uint32_t>(prompt.size()) - shared) +
                pages_of_history(session.options.prompt.size(), session.history.size());
    session.read = shared;
    set_state(index, State::Reading);
    if (session.begun_before) continue;  // its client, and its figures, know of it
    session.result.prompt_tokens = session.result.shared_tokens = shared;
    session.begun = now();
    {
      const std::lock_guard lock(mutex_);
      activity_.shared_tokens += shared;
    }
    if (session.options.drafter != nullptr) session.options.drafter->append(prompt);
    session.client->prompt_begun(shared);
  }
  return false;
}

// Who has what in the next pass.
void Scheduler::compose() {
  prompts_.clear();
  generating_.clear();
  members_.clear();
  inputs_.clear();
  tokens_.clear();
  rows_ = 0;
  const auto readers = static_cast<std::uint32_t>(
      std::ranges::count_if(turns_, [&](std::uint32_t index) { return sessions_[index].state == State::Reading; }));
  add_generating(readers);
  add_prompts(readers);
  // Those that want no logits first: the executor may run them ahead of the others.
  std::ranges::sort(prompts_, {}, [](const Member& member) { return member.want; });
  members_.insert(members_.end(), prompts_.begin(), prompts_.end());
  members_.insert(members_.end(), generating_.begin(), generating_.end());
  for (const Member& member : members_) inputs_.push_back({member.session, member.tokens, member.want});
}

// The token drawn last of every session that generates, and then guesses at what comes after it. Where a pass has fewer
// rows than there are sessions they take turns, and prompts are left one.
void Scheduler::add_generating(std::uint32_t readers) {
  const plan::Shape& shape = executor_->plan().shape;
  const KvCache& cache = executor_->cache();
  Left left;
  left.pages = cache.available_pages();
  for (const std::uint32_t index : turns_) {
    const Session& session = sessions_[index];
    if (session.state == State::Generating) ++left.sessions;
    if (session.state != State::Reading) continue;
    left.pages -= cache.pages_needed(index, static_cast<std::uint32_t>(session.options.prompt.size() - session.read));
  }
  // A prompt that ends needs a row, and each a token at least.
  const bool prompts_turn = shape.outputs == 1 && readers > 0 && activity_.passes % 2 == 0;
  left.rows = prompts_turn ? 0 : shape.outputs - std::min(readers, shape.outputs - 1);
  left.tokens = shape.batch - std::min(readers, shape.batch - 1);
  left.prompts = readers > 0;
  const bool all = left.sessions <= left.rows;
  const auto from =
      std::ranges::find_if(turns_, [&](std::uint32_t index) { return !all && sessions_[index].order > last_served_; });
  std::size_t at = from == turns_.end() ? 0 : static_cast<std::size_t>(from - turns_.begin());
  for (std::size_t i = 0; i < turns_.size() && left.rows > 0 && left.tokens > 0; ++i, ++at) {
    const std::uint32_t index = turns_[at % turns_.size()];
    if (sessions_[index].state == State::Generating) add_one_generating(index, left);
  }
}

void Scheduler::add_one_generating(std::uint32_t index, Left& left) {
  Session& session = sessions_[index];
  const KvCache& cache = executor_->cache();
  --left.sessions;
  session.drafts = {};
  if (!session.history.empty()) return add_history(index, left);
  if (cache.pages_needed(index, session.again_count + 1) > left.pages) {
    stuck_ = true;
    return;
  }
  if (session.again_count >= left.tokens) return;
  const std::size_t begin = tokens_.size();
  tokens_.insert(tokens_.end(), session.again.begin(), session.again.begin() + session.again_count);
  tokens_.push_back(session.next);
  if (session.options.drafter != nullptr && session.again_count == 0) {
    // Of what is left when all others have theirs an equal part, and of tokens half where prompts are read.
    const auto part = [&](std::uint32_t all) { return (all - std::min(all, 1 + left.sessions)) / (1 + left.sessions); };
    const std::uint32_t cells = std::min(session.options.most_cells, cache.most_cells()) - cache.length(index) - 1;
    const std::uint32_t least = std::min({part(left.rows), part(left.tokens) / (left.prompts ? 2 : 1), cells,
                                          cache.cuts_anywhere() ? cells : kMostAgain - 1});
    auto most = static_cast<std::uint32_t>(std::min<std::uint64_t>(least, tokens_left(session) - 1));
    while (most > 0 && cache.pages_needed(index, most + 1) > left.pages) --most;
    const std::span<const Token> drafts = session.options.drafter->draft(most);
    const auto count = static_cast<std::ptrdiff_t>(std::min<std::size_t>(drafts.size(), most));
    tokens_.insert(tokens_.end(), drafts.begin(), drafts.begin() + count);
    session.drafts = std::span(tokens_).subspan(begin + 1);
  }
  const auto mine = std::span<const Token>(tokens_).subspan(begin);
  const auto count = static_cast<std::uint32_t>(mine.size());
  const Want want = session.drafts.empty() ? Want::Last : Want::All;
  const auto rows = static_cast<std::uint32_t>(rows_of(mine, want));
  generating_.push_back({index, mine, want});
  rows_ += rows;
  left.rows -= rows;
  left.tokens -= count;
  left.pages -= cache.pages_needed(index, count);
  last_served_ = session.order;
}

// Tokens of prompts that the pass takes. One alone has all of it.
std::uint32_t Scheduler::prompt_tokens_now(std::uint32_t readers) const {
  const std::uint32_t batch = executor_->plan().shape.batch;
  const auto taken = static_cast<std::uint32_t>(tokens_.size());
  if (taken == 0 && readers == 1) return batch;
  const std::uint32_t within = pace_.tokens_within(options_.aimed_at * options_.longest_shared_pass, batch);
  return std::min(std::max(within - std::min(within, taken), 1U), batch - taken);
}

// Equal shares for all that have so much left; who has less leaves the rest to the others.
void Scheduler::share_among_prompts(std::uint32_t tokens, std::uint32_t readers) {
  for (const std::uint32_t index : turns_) {
    const Session& session = sessions_[index];
    if (session.state != State::Reading) continue;
    prompts_.push_back({index, session.options.prompt.subspan(session.read), Want::None});
  }
  std::ranges::sort(prompts_, {}, [](const Member& member) { return member.tokens.size(); });
  for (Member& member : prompts_) {
    const std::uint32_t share = std::max(tokens / readers--, std::min(tokens, 1U));
    member.tokens = member.tokens.first(std::min<std::size_t>(member.tokens.size(), share));
    tokens -= static_cast<std::uint32_t>(member.tokens.size());
  }
}

void Scheduler::add_prompts(std::uint32_t readers) {
  if (readers == 0) return;
  share_among_prompts(prompt_tokens_now(readers), readers);
  const std::uint32_t outputs = executor_->plan().shape.outputs;
  for (Member& member : prompts_) {
    const Session& session = sessions_[member.session];
    const bool last = session.read + member.tokens.size() == session.options.prompt.size();
    const States states = session.options.states;
    if (session.options.prompt_rows || states == States::All) {
      member.want = Want::All;
      member.tokens = member.tokens.first(std::min<std::size_t>(member.tokens.size(), outputs - rows_));
    } else if (last && (session.options.most_tokens != 0 || states == States::Last)) {
      // Without a row for it the last token has to wait.
      if (rows_ < outputs) member.want = Want::Last;
      if (rows_ == outputs) member.tokens = member.tokens.first(member.tokens.size() - 1);
    }
    rows_ += static_cast<std::uint32_t>(rows_of(member.tokens, member.want));
  }
  std::erase_if(prompts_, [](const Member& member) { return member.tokens.empty(); });
}

// Nobody goes on without a page: whoever came last gives up its own.
void Scheduler::end_one_of_the_stuck(bool kept_out) {
  for (std::size_t i = turns_.size(); i-- > 0;) {
    if (sessions_[turns_[i]].state == State::Generating) return end(turns_[i], Ending::ContextFull);
  }
  // Nobody else holds anything that could become free: what keeps the first of them out is pinned.
  const std::uint32_t pinned = executor_->cache().pool().pinned_pages();
  if (!kept_out || pinned == 0) return;
  const auto first = std::ranges::find(turns_, State::Waiting, [&](std::uint32_t i) { return sessions_[i].state; });
  if (first == turns_.end()) return;
  const Error error(ErrorCode::DoesNotFit,
                    fmt::format("the prompt's {} tokens find no room in the cache beside pinned texts of {}",
                                sessions_[*first].options.prompt.size(), pinned * quant::kKvPageCells),
                    "Unpin one of them.");
  end(*first, Ending::Failed, std::make_exception_ptr(error));
}

}  // namespace loadline::exec

#include "exec/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "exec/same_beginning.h"
#include "plan/runtime.h"

namespace loadline::exec {
namespace {

std::size_t rows_of(std::span<const Token> tokens, Want want) {
  return want == Want::All ? tokens.size() : want == Want::Last ? 1 : 0;
}

// Pages that a session's history takes behind those of its prompt, with the token that follows it.
std::uint32_t pages_of_history(std::size_t prompt, std::size_t history) {
  return history == 0 ? 0 : pages_for(prompt + history + 1) - pages_for(prompt);
}

bool is_device_failure(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& one) {
    return one.code() == ErrorCode::DeviceFailure;
  } catch (...) {
    return false;
  }
}

// Of what it begins with a session may share all but the last token of its prompt, whose logits it needs.
std::uint32_t most_shared(const SessionOptions& options) {
  if (options.prompt_rows || options.states == States::All) return 0;
  return static_cast<std::uint32_t>(std::min<std::size_t>(options.most_shared, options.prompt.size() - 1));
}

}  // namespace

static_assert(PagePool::bytes_per_page() <= plan::kPageEntry.value);

Scheduler::Scheduler(Executor& executor, SchedulerOptions options)
    : executor_(&executor),
      options_(std::move(options)),
      pace_(executor.plan().prediction),
      sessions_(executor.plan().shape.sequences),
      most_cells_(executor.cache().most_cells()),
      vocabulary_(executor.vocabulary()) {
  static_assert(sizeof(Session) + 3 * sizeof(Member) + 2 * sizeof(Input) + 64 <= plan::kSession.value);
  if (!options_.clock) options_.clock = steady_seconds;
  turns_.reserve(sessions_.size());
  prompts_.reserve(sessions_.size());
  generating_.reserve(sessions_.size());
  members_.reserve(sessions_.size());
  inputs_.reserve(sessions_.size());
  tokens_.reserve(executor.plan().shape.batch);
}

SessionId Scheduler::id_of(std::uint32_t index) const {
  return SessionId{sessions_[index].generation} * sessions_.size() + index;
}

void Scheduler::require_prompt(const SessionOptions& options) const {
  if (options.prompt.empty()) throw bad_input("the prompt is empty");
  const std::size_t most = std::min(options.most_cells, most_cells_.load());
  if (options.prompt.size() > most) {
    throw bad_input(
        fmt::format("the prompt has {} tokens, but the context has room for {}", options.prompt.size(), most),
        "Give more context, or a shorter prompt.");
  }
  for (const Token token : options.prompt) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= vocabulary_) {
      throw bad_input(fmt::format("token {} is outside the model's vocabulary of {}", token, vocabulary_));
    }
  }
}

std::optional<SessionId> Scheduler::join(const SessionOptions& options, SessionClient& client) {
  require_prompt(options);
  const std::lock_guard lock(mutex_);
  if (!abandoned_.empty()) throw Error(ErrorCode::DeviceFailure, abandoned_);
  auto place = std::ranges::find(sessions_, State::Free, &Session::state);
  if (options.place) {
    if (*options.place >= sessions_.size()) {
      throw bad_input(fmt::format("place {} is asked for, and there are {}", *options.place, sessions_.size()));
    }
    place = sessions_.begin() + *options.place;
  }
  if (place == sessions_.end() || place->state != State::Free) return std::nullopt;
  Session fresh;
  fresh.generation = place->generation;
  fresh.state = State::Arriving;
  fresh.client = &client;
  fresh.options = options;
  fresh.order = ++joined_;
  *place = fresh;
  if (running_.lone_prompt != kNoSession && running_.until - now() > options_.longest_shared_pass) {
    sessions_[running_.lone_prompt].abandoned = true;
    running_.lone_prompt = kNoSession;
    pass_stop_.store(true);
  }
  changed_.notify_all();
  return id_of(static_cast<std::uint32_t>(place - sessions_.begin()));
}

bool Scheduler::cancel(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto index = static_cast<std::uint32_t>(session % sessions_.size());
  Session& s = sessions_[index];
  if (s.state == State::Free || s.cancelled || id_of(index) != session) return false;
  s.cancelled = true;
  if (s.in_pass && --running_.going_on == 0) pass_stop_.store(true);
  changed_.notify_all();
  return true;
}

void Scheduler::cancel_all() {
  const std::lock_guard lock(mutex_);
  for (Session& session : sessions_) {
    if (session.state != State::Free) session.cancelled = true;
  }
  if (running_.going_on > 0) pass_stop_.store(true);
  running_.going_on = 0;
  changed_.notify_all();
}

void Scheduler::wait_for_work() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] {
    return woken_ || std::ranges::any_of(sessions_, [](const Session& s) { return s.state != State::Free; });
  });
  woken_ = false;
}

void Scheduler::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

std::uint32_t Scheduler::sessions() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::uint32_t>(
      std::ranges::count_if(sessions_, [](const Session& s) { return s.state != State::Free; }));
}

std::uint32_t Scheduler::free_places() const { return static_cast<std::uint32_t>(sessions_.size()) - sessions(); }

bool Scheduler::is_free(std::uint32_t place) const {
  const std::lock_guard lock(mutex_);
  return place < sessions_.size() && sessions_[place].state == State::Free;
}

Scheduler::Activity Scheduler::activity() const {
  const std::lock_guard lock(mutex_);
  Activity activity = activity_;
  for (const Session& session : sessions_) {
    if (session.state == State::Arriving || session.state == State::Waiting) ++activity.waiting;
    if (session.state == State::Reading) ++activity.reading;
    if (session.state == State::Generating) ++activity.generating;
  }
  return activity;
}

bool Scheduler::step(const StopFlag* stop) {
  if (executor_ == nullptr) throw Error(ErrorCode::Internal, "a pass was asked for where nothing is loaded");
  receive();
  end_cancelled();
  begin_prompts();
  compose();
  if (!members_.empty()) {
    if (run(stop)) finish_pass();
    end_cancelled();
  } else if (!turns_.empty()) {
    end_one_of_the_stuck();
  }
  const std::lock_guard lock(mutex_);
  const KvCache& cache = executor_->cache();
  activity_.held_pages = cache.pool().pages() - cache.available_pages();
  return std::ranges::any_of(sessions_, [](const Session& s) { return s.state != State::Free; });
}

// Takes up who came since the last step.
void Scheduler::receive() {
  turns_.clear();
  {
    const std::lock_guard lock(mutex_);
    for (std::uint32_t i = 0; i < sessions_.size(); ++i) {
      if (sessions_[i].state != State::Free) turns_.push_back(i);
    }
  }
  std::ranges::sort(turns_, {}, [&](std::uint32_t i) { return sessions_[i].order; });
  for (const std::uint32_t index : turns_) {
    if (sessions_[index].state != State::Arriving) continue;
    if (executor_ != nullptr) find_leader(index);
    set_state(index, State::Waiting);
  }
}

void Scheduler::end_cancelled() {
  for (std::size_t i = 0; i < turns_.size();) {
    const std::uint32_t index = turns_[i];
    if (is_cancelled(sessions_[index])) {
      end(index, Ending::Stopped);  // which takes it out of turns_
    } else {
      ++i;
    }
  }
}

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
// generates waits for a page.
void Scheduler::begin_prompts() {
  if (std::exchange(stuck_, false)) return;
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
    if (needed + promised > cache.available_pages()) break;
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
  const std::uint32_t within = pace_.tokens_within(options_.longest_shared_pass, batch);
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
void Scheduler::end_one_of_the_stuck() {
  for (std::size_t i = turns_.size(); i-- > 0;) {
    if (sessions_[turns_[i]].state == State::Generating) return end(turns_[i], Ending::ContextFull);
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
    if (done) ++activity_.passes;
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

std::uint64_t Scheduler::tokens_left(const Session& session) const {
  if (session.options.most_tokens < 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(session.options.most_tokens) - session.result.generated_tokens;
}

bool Scheduler::is_cancelled(const Session& session) const {
  const std::lock_guard lock(mutex_);
  return session.cancelled;
}

void Scheduler::set_state(std::uint32_t index, State state) {
  const std::lock_guard lock(mutex_);
  sessions_[index].state = state;
}

void Scheduler::end(std::uint32_t index, Ending ending, std::exception_ptr error) {
  Session& session = sessions_[index];
  if (executor_ != nullptr) executor_->cache().cut(index, 0);
  std::erase(turns_, index);
  session.history = {};
  session.resumes = false;
  SessionResult result = session.result;
  result.ending = ending;
  result.error = std::move(error);
  SessionClient& client = *session.client;
  {
    const std::lock_guard lock(mutex_);
    ++session.generation;
    session.state = State::Free;
  }
  client.ended(result);
}

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

}  // namespace loadline::exec

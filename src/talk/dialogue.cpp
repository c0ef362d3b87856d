#include "talk/dialogue.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "talk/call_forms.h"

namespace loadline::talk {

Prompt Dialogue::prompt(bool open) const {
  Request request;
  request.messages = transcript.json();
  if (settings.tools_on) request.tools = settings.tools;
  request.kwargs = settings.kwargs;
  request.open = open;
  return model_.prompt(request);
}

Prompt Dialogue::fitting_prompt(bool open, std::vector<std::string>& notes) {
  const std::size_t room = std::max<std::size_t>(1, context() / 8);  // for the answer, where turns are dropped
  std::size_t dropped = 0;
  while (true) {
    Prompt prompt = this->prompt(open);
    for (std::string& change : prompt.changes) {
      if (std::ranges::find(said_, change) != said_.end()) continue;
      said_.push_back(change);
      notes.push_back(std::move(change));
    }
    const std::size_t size = prompt.tokens.size();
    if (settings.shift ? size + room <= context() : size < context()) {
      if (dropped > 0) {
        notes.push_back(dropped == 1 ? "the context is full: the oldest turn is forgotten"
                                     : fmt::format("the context is full: the {} oldest turns are forgotten", dropped));
      }
      return prompt;
    }
    const auto tokens_of = [this](std::string_view text) {
      return model_.tokenizer().encode(text, {.add_special = false}).size();
    };
    if (!settings.shift || !transcript.drop_oldest(settings.keep, tokens_of)) {
      if (size < context()) return prompt;
      throw bad_input(fmt::format("the conversation has {} tokens, but the context holds {}", size, context()),
                      "Take turns back, begin anew, give more context, or let the oldest turns be dropped.");
    }
    ++dropped;
  }
}

std::optional<Constraint> Dialogue::constraint(const DialogueSettings& settings, const ChatModel& model) {
  if (settings.grammar) return Constraint{settings.grammar, &model.index(), {}};
  if (!settings.tools_on || settings.tools.empty()) return std::nullopt;
  // A call that the model makes of its own accord is left as it writes it: grammars offer JSON without blanks, and most
  // models have learned calls with them, so that small ones lose their way.
  if (settings.tool_choice.empty() || settings.tool_choice == "auto") return std::nullopt;
  auto calls = tool_grammar(settings.tools, settings.tool_choice, true, model.format(), model.chosen().source);
  if (!calls) return std::nullopt;
  return Constraint{std::make_shared<const grammar::Grammar>(std::move(calls->grammar)), &model.index(),
                    std::move(calls->triggers), true};
}

Bytes Dialogue::memory_bytes(const DialogueSettings& settings, const ChatModel& model, std::uint32_t vocabulary,
                             std::uint32_t context) {
  GenerationOptions options;
  options.sampling = settings.sampling;
  options.banned = settings.banned;
  options.constraint = constraint(settings, model);
  Bytes out = Generation::memory_bytes(options, vocabulary, context);
  if (options.constraint) {
    out += options.constraint->grammar->resident_bytes() + options.constraint->index->resident_bytes();
  }
  return out;
}

Answer Dialogue::answer(bool open, const std::function<void(const chat::OutputEvent&)>& listen,
                        const std::atomic<bool>& stop, speculate::Drafter* drafter) {
  Answer out;
  Prompt prompt = fitting_prompt(open, out.notes);
  out.prompt_tokens = prompt.tokens.size();
  GenerationOptions options;
  options.prompt = std::move(prompt.tokens);
  options.most_tokens = settings.most_tokens;
  options.sampling = settings.sampling;
  options.stops = settings.stops;
  options.banned = settings.banned;
  options.constraint = constraint(settings, model_);
  options.log_probabilities = settings.log_probabilities;
  options.reasoning_budget = settings.reasoning_budget;
  options.format = model_.format();
  options.tools =
      std::make_shared<const chat::Tools>(settings.tools_on ? std::string_view(settings.tools) : std::string_view());
  options.prompt_end = std::move(prompt.end);
  options.drafter = drafter;
  Listener listener;
  listener.event = listen;
  listener.token = [&](const TokenReport& report) { out.tokens.push_back(report); };
  Generation generation(std::move(options), model_.tokenizer(), engine_.program().config.vocabulary,
                        std::move(listener));
  do {
    engine_.scheduler().join(generation.session(), generation);
    run_with ? run_with(stop) : engine_.run(stop);
  } while (generation.goes_on());
  if (generation.error()) std::rethrow_exception(generation.error());
  used_ = generation.tokens().size();
  out.outcome = generation.outcome();
  const chat::Answer& said = out.outcome.answer;
  if (said.content.empty() && said.reasoning.empty() && said.calls.empty()) return out;  // nothing came
  if (open) {
    transcript.extend_answer(said);
  } else {
    transcript.add_answer(said);
  }
  return out;
}

}  // namespace loadline::talk

#include "cli/chat_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "chat/stop_strings.h"

namespace loadline::cli {
namespace {

constexpr std::size_t kPromptEnd = 64;  // bytes of the prompt that tell how the answer begins

}  // namespace

// Draws the tokens of one answer, and takes their text apart.
struct ChatSession::Draws {
  Draws(const ChatSession& session, const std::vector<std::int32_t>& prompt, const chat::Tools& tools,
        const std::function<void(const chat::OutputEvent&)>& listen_to)
      : tokenizer(session.tokenizer_),
        sampler(session.settings.sampling, session.engine_.engine().program().config.vocabulary),
        decoder(session.tokenizer_, true, prompt.back()),
        stops(session.settings.stops),
        parser(chat::output_format_of(session.chosen_.source), tools, session.prompt_end_),
        budget(session.settings.reasoning_budget),
        listen(listen_to) {
    for (const std::int32_t token : prompt) sampler.accept(token);
    pass_on("");
  }

  std::int32_t draw(std::span<const float> logits) {
    const bool over = budget >= 0 && !parser.reasoning_close().empty() && reasoned >= budget && forced.empty();
    if (over) {  // the model is told that it has thought enough
      forced = tokenizer.encode(std::string(parser.reasoning_close()) + "\n\n",
                                {.add_special = false, .parse_special = true});
      std::reverse(forced.begin(), forced.end());
      budget = -1;
    }
    std::int32_t token = 0;
    if (!forced.empty()) {
      token = forced.back();
      forced.pop_back();
    } else {
      token = sampler.sample(logits);
    }
    sampler.accept(token);
    return token;
  }

  bool take(std::int32_t token) {
    if (parser.reasoning()) ++reasoned;
    pass_on(stops.push(decoder.push(token)));
    return !stops.stopped();
  }

  void pass_on(std::string_view text) {
    if (text.empty()) return;
    std::vector<chat::OutputEvent> events;
    parser.push(text, events);
    for (const chat::OutputEvent& event : events) listen(event);
  }

  chat::Answer finish() {
    pass_on(stops.push(decoder.finish()));
    pass_on(stops.finish());
    std::vector<chat::OutputEvent> events;
    parser.finish(events);
    for (const chat::OutputEvent& event : events) listen(event);
    return parser.answer();
  }

  const tokenizer::Tokenizer& tokenizer;
  sample::Sampler sampler;
  tokenizer::StreamDecoder decoder;
  chat::StopStrings stops;
  chat::OutputParser parser;
  std::int64_t budget;
  std::int64_t reasoned = 0;
  std::vector<std::int32_t> forced;  // the next at the end
  const std::function<void(const chat::OutputEvent&)>& listen;
};

ChatSession::ChatSession(ChatEngine& engine, const tokenizer::Tokenizer& tokenizer, chat::ModelTemplate chosen,
                         std::string title)
    : engine_(engine),
      tokenizer_(tokenizer),
      chosen_(std::move(chosen)),
      title_(std::move(title)),
      template_(chosen_.source),
      can_(chat::capabilities_of(template_)),
      bos_(chat::bos_text(engine.engine().model().metadata)),
      eos_(chat::eos_text(engine.engine().model().metadata)) {}

std::string ChatSession::prompt_text(bool open, std::vector<std::string>& notes) {
  chat::RenderOptions options;
  options.now = chat::local_time();
  chat::Conversation conversation(options.limits);
  conversation.set("messages", transcript.json());
  conversation.set("tools", settings.tools.empty() || !settings.tools_on ? "null" : settings.tools);
  conversation.set("documents", "null");
  conversation.set("add_generation_prompt", open ? "false" : "true");
  conversation.set_text("bos_token", bos_);
  conversation.set_text("eos_token", eos_);
  if (!settings.kwargs.empty()) conversation.set_all(settings.kwargs);
  for (std::string& change : conversation.fit(can_)) {
    if (std::find(said_.begin(), said_.end(), change) != said_.end()) continue;
    said_.push_back(change);
    notes.push_back(std::move(change));
  }
  try {
    return conversation.render(template_, options, open);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", title_, error.what()), error.hint());
  }
}

std::vector<std::int32_t> ChatSession::prompt(bool open, std::vector<std::string>& notes) {
  std::string text = prompt_text(open, notes);
  prompt_end_ = text.substr(text.size() - std::min(text.size(), kPromptEnd));
  // A template that writes the begin token itself must not get a second one.
  if (!bos_.empty() && text.starts_with(bos_)) {
    const auto with_own = tokenizer_.encode("", {.add_special = true, .parse_special = true, .goes_on = true});
    if (!with_own.empty()) text.erase(0, bos_.size());
  }
  return tokenizer_.encode(text, {.add_special = true, .parse_special = true, .goes_on = true});
}

std::vector<std::int32_t> ChatSession::fitting_prompt(bool open, std::vector<std::string>& notes) {
  const std::size_t room = std::max<std::size_t>(1, context() / 8);  // for the answer, where turns are dropped
  std::size_t dropped = 0;
  while (true) {
    std::vector<std::int32_t> tokens = prompt(open, notes);
    if (tokens.empty()) throw bad_input(fmt::format("{}: the chat template gives an empty prompt", title_));
    const bool fits = dropped > 0 || settings.shift ? tokens.size() + room <= context() : tokens.size() < context();
    if (fits) {
      if (dropped > 0) notes.push_back(fmt::format("the context is full: the {} oldest turns are forgotten", dropped));
      return tokens;
    }
    if (!settings.shift || !transcript.drop_oldest()) {
      if (tokens.size() < context()) return tokens;
      throw bad_input(fmt::format("the conversation has {} tokens, but the context holds {}", tokens.size(), context()),
                      "Take turns back, begin anew, give more context, or let the oldest turns be dropped.");
    }
    ++dropped;
  }
}

ChatAnswer ChatSession::answer(bool open, const std::function<void(const chat::OutputEvent&)>& listen,
                               const std::atomic<bool>& stop) {
  ChatAnswer out;
  const std::vector<std::int32_t> tokens = fitting_prompt(open, out.notes);
  const chat::Tools tools(settings.tools_on ? std::string_view(settings.tools) : std::string_view());
  Draws draws(*this, tokens, tools, listen);
  const TurnCallbacks callbacks{
      [&](std::span<const float> logits) { return draws.draw(logits); },
      [&](std::int32_t token) { return tokenizer_.is_end_of_generation(token); },
      [&](std::int32_t token) { return draws.take(token); },
  };
  out.figures = engine_.generate(tokens, settings.most_tokens, callbacks, stop);
  out.answer = draws.finish();
  used_ = tokens.size() + out.figures.generated_tokens;
  const chat::Answer& said = out.answer;
  if (said.content.empty() && said.reasoning.empty() && said.calls.empty() && !open) return out;  // nothing came
  if (open) {
    transcript.extend_answer(out.answer);
  } else {
    transcript.add_answer(out.answer);
  }
  return out;
}

}  // namespace loadline::cli

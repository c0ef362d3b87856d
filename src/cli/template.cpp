// `loadline template`: what a chat template makes of a conversation, and what a model's answer says.
#include "chat/template.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "chat/conversation.h"
#include "chat/jinja/json.h"
#include "chat/model_template.h"
#include "chat/output_parser.h"
#include "cli/chat_template.h"
#include "cli/command.h"
#include "cli/output.h"
#include "gguf/gguf.h"

namespace loadline::cli {
namespace {

constexpr Bytes kLongestInput{std::uint64_t{64} << 20};

struct TemplateCommandOptions {
  std::string model;
  TemplateOptions chat;
  std::string input;
  std::string parse;
  std::string now;
  bool continues = false;
  bool fit = false;
};

std::string read_input(const std::string& path) {
  return path == "-" ? read_standard_input(kLongestInput) : read_text_file(path, kLongestInput);
}

// `work`, with `title` before whatever an error says.
template <typename Work>
auto named(const std::string& title, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(error.code(), title.empty() ? error.what() : fmt::format("{}: {}", title, error.what()), error.hint());
  }
}

// ---- --input ----

int render(const TemplateCommandOptions& options, const std::optional<gguf::Model>& model) {
  const chat::ModelTemplate chosen = options.chat.choose(model ? &model->metadata : nullptr);
  if (chosen.assumed) say(fmt::format("the model has no chat template; {} is used", chosen.name));
  const bool is_model = chosen.name == "the model's own";
  const std::string title = printable(is_model || chosen.assumed ? options.model : chosen.name, 200);
  return named(title, [&] {
    const chat::Template chat_template(chosen.source);
    chat::Conversation conversation;
    named(options.input == "-" ? std::string("standard input") : printable(options.input, 200),
          [&] { conversation.set_all(read_input(options.input)); });
    if (!options.chat.kwargs.empty()) {
      named("--chat-template-kwargs", [&] { conversation.set_all(options.chat.kwargs); });
    }
    if (model) {
      const std::string bos = chat::bos_text(model->metadata);
      const std::string eos = chat::eos_text(model->metadata);
      if (!bos.empty() && !conversation.has("bos_token")) conversation.set_text("bos_token", bos);
      if (!eos.empty() && !conversation.has("eos_token")) conversation.set_text("eos_token", eos);
    }
    if (options.fit) {
      for (const std::string& change : conversation.fit(chat::capabilities_of(chat_template))) {
        say(change);
      }
    }
    chat::RenderOptions settings;
    settings.now =
        options.now.empty() ? chat::local_time() : named("--now", [&] { return chat::parse_time(options.now); });
    print_text(conversation.render(chat_template, settings, options.continues));
    return 0;
  });
}

// ---- --parse ----

// What --parse is given.
struct ModelOutput {
  std::string text;
  std::string prompt_end;
  std::string tools = "[]";
  std::string format;
  bool partial = false;
};

ModelOutput read_output(const std::string& path) {
  const std::string text = read_input(path);
  chat::jinja::Heap heap = chat::make_heap({});
  ModelOutput out;
  try {
    const chat::jinja::Value record = chat::jinja::parse_json(heap, text);
    if (!record.is(chat::jinja::Kind::Dict)) throw bad_input("the output is no JSON object");
    const auto member = [&](std::string_view name, std::string& to) {
      const chat::jinja::Value* found = record.dict().find(name);
      if (found == nullptr || found->is_none()) return;
      if (!found->is_string()) throw bad_input(fmt::format("\"{}\" is no text", name));
      to = found->text();
    };
    if (record.dict().find("output") == nullptr) throw bad_input("there is no \"output\" in it");
    member("output", out.text);
    member("prompt_end", out.prompt_end);
    member("format", out.format);
    if (const auto* tools = record.dict().find("tools")) out.tools = chat::jinja::json_of(heap, *tools);
    if (const auto* partial = record.dict().find("partial")) out.partial = chat::jinja::is_true(*partial);
  } catch (const chat::jinja::Failure& failure) {
    throw bad_input(fmt::format("the output is {}", failure.what()));
  }
  return out;
}

int parse_output(const TemplateCommandOptions& options, const std::optional<gguf::Model>& model) {
  const ModelOutput output = named(options.parse == "-" ? std::string("standard input") : printable(options.parse, 200),
                                   [&] { return read_output(options.parse); });
  const bool by_template = output.format.empty();
  const chat::OutputFormat format =
      by_template ? chat::output_format_of(options.chat.choose(model ? &model->metadata : nullptr).source)
                  : chat::output_format_named(output.format);
  const chat::Tools tools(output.tools);
  chat::OutputParser parser(format, tools, output.prompt_end);
  std::vector<chat::OutputEvent> events;
  parser.push(output.text, events);
  if (!output.partial) parser.finish(events);
  const chat::Answer answer = parser.answer();
  std::string json = "{\"content\": ";
  chat::jinja::append_json_string(json, answer.content);
  json += ", \"reasoning_content\": ";
  chat::jinja::append_json_string(json, answer.reasoning);
  json += ", \"tool_calls\": [";
  for (std::size_t i = 0; i < answer.calls.size(); ++i) {
    const chat::ToolCall& call = answer.calls[i];
    json += i == 0 ? "{\"name\": " : ", {\"name\": ";
    chat::jinja::append_json_string(json, call.name);
    json += ", \"arguments\": " + call.arguments;
    if (!call.id.empty()) {
      json += ", \"id\": ";
      chat::jinja::append_json_string(json, call.id);
    }
    json += '}';
  }
  print_json(json + "]}\n");
  return 0;
}

int run(const TemplateCommandOptions& options) {
  std::optional<gguf::Model> model;
  if (!options.model.empty()) model = gguf::open_model(options.model);
  if (options.parse.empty() == options.input.empty()) {
    throw bad_input(
        options.parse.empty() ? "there is no conversation" : "--input and --parse exclude each other",
        "Give a JSON object with --input FILE, or a model's output with --parse FILE (- is standard input).");
  }
  return options.parse.empty() ? render(options, model) : parse_output(options, model);
}

}  // namespace

void add_template(Program& program) {
  auto options = std::make_shared<TemplateCommandOptions>();
  Command& command =
      program.add_command("template", "Show the prompt that a chat template makes, or take a model's answer apart");
  command.option("-m,--model", &options->model, "GGUF file, of which only the header is read");
  command.option("--input", &options->input, "JSON object with the template's variables (- for standard input)");
  command.flag("--continue", options->continues, "Leave the assistant's last message open");
  command.flag("--fit", options->fit, "Change what the template would refuse, as chat does");
  command.option("--now", &options->now, "The time for the template, as 2026-01-02T03:04:05 (default: now)");
  command.option("--parse", &options->parse,
                 "JSON object with a model's output, prompt_end, tools, partial and format: print what it says");
  options->chat.add_to(command);
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli

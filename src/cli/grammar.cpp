// `loadline grammar`: what a grammar says of a text, and which tokens of a model it allows next. For people who write
// grammars and schemas.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "cli/command.h"
#include "cli/output.h"
#include "gguf/gguf.h"
#include "grammar/languages.h"
#include "grammar/session.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {
namespace {

constexpr Bytes kLongestTryout = Bytes(64) * (std::uint64_t{1} << 20);

struct GrammarCommandOptions {
  std::string grammar;
  std::string schema;
  std::string regex;
  bool regex_given = false;
  std::string text;
  bool mask = false;
  std::string model;
};

std::string read_input(const std::string& path) {
  return path == "-" ? read_standard_input(kLongestTryout) : read_text_file(path, kLongestTryout);
}

grammar::Grammar compile(const GrammarCommandOptions& options, const tokenizer::Tokenizer* tokenizer) {
  const int given =
      (options.grammar.empty() ? 0 : 1) + (options.schema.empty() ? 0 : 1) + (options.regex_given ? 1 : 0);
  if (given != 1) {
    throw bad_input("one of --grammar, --json-schema and --regex is needed, and only one",
                    "For example: loadline grammar --grammar list.gbnf --text answer.txt");
  }
  if (options.regex_given) return grammar::compile_regex(options.regex);
  const std::string& path = options.grammar.empty() ? options.schema : options.grammar;
  try {
    const std::string text = read_input(path);
    return options.grammar.empty() ? grammar::compile_json_schema(text) : grammar::compile_gbnf(text, tokenizer);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", path == "-" ? "standard input" : path, error.what()), error.hint());
  }
}

nlohmann::ordered_json mask_of(grammar::Session& session, bool is_prefix) {
  std::vector<grammar::Token> first;
  std::string list;
  std::size_t count = 0;
  const auto mask = is_prefix ? session.mask() : std::span<const std::uint64_t>();
  for (std::size_t token = 0; token < mask.size() * 64; ++token) {
    if ((mask[token / 64] >> (token % 64) & 1) == 0) continue;
    if (count++ < 50) first.push_back(static_cast<grammar::Token>(token));
    if (!list.empty()) list.push_back(',');
    list += std::to_string(token);
  }
  return {{"allowed_count", count},
          {"allowed_sha256", sha256(list)},
          {"end_allowed", is_prefix && session.is_complete()},
          {"allowed_first_50", first}};
}

int run(const GrammarCommandOptions& options) {
  if (options.mask && options.model.empty()) {
    throw bad_input("--mask needs a model", "Name one with -m; a file with a vocabulary and no weights will do.");
  }
  if (options.text == "-" && (options.grammar == "-" || options.schema == "-")) {
    throw bad_input("standard input cannot be both the text and the grammar");
  }
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  if (!options.model.empty()) {
    tokenizer = tokenizer::Tokenizer::from_metadata(gguf::open_model(options.model).metadata);
  }
  const grammar::Grammar compiled = compile(options, tokenizer.get());
  const grammar::TokenIndex index = options.mask ? grammar::TokenIndex::of(*tokenizer)
                                                 : grammar::TokenIndex(std::vector<grammar::TokenIndex::Entry>());
  const std::string text = read_input(options.text);
  grammar::Session session(compiled, index);
  const bool is_prefix = session.accept_text(text);
  nlohmann::ordered_json result{{"accepted", is_prefix && session.is_complete()}, {"prefix", is_prefix}};
  if (options.mask) result = mask_of(session, is_prefix);
  print(result.dump() + "\n");
  return 0;
}

}  // namespace

void add_grammar(Program& program) {
  auto options = std::make_shared<GrammarCommandOptions>();
  Command& command =
      program.add_command("grammar", "Check a text against a grammar, or list the tokens that may follow it");
  const Option& grammar = command.option("--grammar", &options->grammar, "GBNF in a file (-: standard input)");
  Option& schema = command.option("-j,--json-schema", &options->schema, "JSON schema in a file (-: standard input)");
  Option& regex = command.option("--regex", &options->regex, "Regular expression that the whole text must match",
                                 {.may_be_empty = true});
  command.option("--text", &options->text, "The text, in a file (-: standard input)", {.required = true});
  command.flag("--mask", options->mask, "Print which tokens of the model may follow the text");
  command.option("-m,--model", &options->model, "GGUF file of the model; its vocabulary is enough");
  schema.excludes(grammar);
  regex.excludes(grammar);
  regex.excludes(schema);
  command.set_action([options, &regex] {
    options->regex_given = regex.given();
    return run(*options);
  });
}

}  // namespace loadline::cli

// `loadline tokenize`: how a model cuts a text into tokens, and what text tokens stand for.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {
namespace {

using nlohmann::json;
using tokenizer::Token;
using tokenizer::Tokenizer;

constexpr Bytes kLongestText = kGiB;

struct TokenizeOptions {
  std::string model;
  ModelOptions overrides;
  std::string text;
  std::string file;
  std::string decode;
  bool text_given = false;
  bool decode_given = false;
  bool ids_only = false;
  bool no_bos = false;
  bool special = false;
  bool as_json = false;
};

std::string text_of(const TokenizeOptions& options) {
  if (options.text_given) return options.text;
  if (!options.file.empty() && options.file != "-") return read_text_file(options.file, kLongestText);
  return read_standard_input(kLongestText);
}

// "1,15043,3186"; blanks may stand around the numbers, so that output of other programs can be pasted.
std::vector<Token> parse_ids(std::string_view list) {
  std::vector<Token> ids;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view item = list.substr(0, comma);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    Token id = 0;
    const auto [end, problem] = std::from_chars(item.data(), item.data() + item.size(), id);
    if (problem != std::errc() || end != item.data() + item.size()) {
      throw bad_input(fmt::format("--decode: \"{}\" is not a token id", printable(item)),
                      "Write ids with commas: 1,15043,3186.");
    }
    ids.push_back(id);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return ids;
}

// JSON is UTF-8, a token's bytes need not be.
std::string dumped(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"; }

std::string list_of_tokens(const Tokenizer& tokenizer, const std::vector<Token>& ids, const TokenizeOptions& options) {
  if (options.as_json) {
    json tokens = json::array();
    for (const Token id : ids) {
      if (options.ids_only) {
        tokens.push_back(id);
      } else {
        tokens.push_back({{"id", id}, {"piece", tokenizer.piece(id, true)}});
      }
    }
    return dumped(tokens);
  }
  if (options.ids_only) return fmt::format("{}\n", fmt::join(ids, ","));
  std::string lines;
  for (const Token id : ids) lines += fmt::format("{:>8}  \"{}\"\n", id, printable(tokenizer.piece(id, true)));
  return lines;
}

void print_decoded(const Tokenizer& tokenizer, const TokenizeOptions& options) {
  std::string text = tokenizer.decode(parse_ids(options.decode), options.special);
  if (options.as_json) return print_json(dumped({{"text", text}}));
  if (stdout_is_terminal() && !text.ends_with('\n')) text.push_back('\n');  // a prompt of its own for the shell
  print_text(text);
}

int run(const TokenizeOptions& options) {
  const auto tokenizer = Tokenizer::from_metadata(options.overrides.open_header(options.model).metadata);
  for (const std::string& remark : tokenizer->remarks()) say(remark);
  if (options.decode_given) {
    print_decoded(*tokenizer, options);
    return 0;
  }
  const std::vector<Token> ids =
      tokenizer->encode(text_of(options), {.add_special = !options.no_bos, .parse_special = options.special});
  const std::string list = list_of_tokens(*tokenizer, ids, options);
  options.as_json ? print_json(list) : print(list);
  return 0;
}

}  // namespace

void add_tokenize(Program& program) {
  auto options = std::make_shared<TokenizeOptions>();
  Command& command = program.add_command("tokenize", "Show how a model cuts a text into tokens, or what tokens say");
  command.option("model,-m,--model", &options->model, "GGUF file, or the first file of a split model",
                 {.required = true});
  const Option& text =
      command.option("--text", &options->text, "The text (default: standard input)", {.may_be_empty = true});
  Option& file = command.option("--file", &options->file, "Read the text from a file (- for standard input)");
  Option& decode = command.option("--decode", &options->decode, "Token ids, as 1,15043,3186: print their text",
                                  {.may_be_empty = true});
  const Option& ids = command.flag("--ids", options->ids_only, "Print only the ids, as --decode takes them");
  const Option& no_bos = command.flag("--no-bos", options->no_bos, "Add no begin or end token of the model");
  command.flag("--special", options->special, "Read and print control tokens such as <|eot_id|> as text");
  command.flag("--json", options->as_json, "Print JSON: an array of {id, piece}, of ids, or {text}");
  options->overrides.add_overrides_to(command);
  file.excludes(text);
  for (const Option* other : std::initializer_list<const Option*>{&text, &file, &ids, &no_bos}) decode.excludes(*other);
  command.set_action([options, &text, &decode] {
    options->text_given = text.given();
    options->decode_given = decode.given();
    return run(*options);
  });
}

}  // namespace loadline::cli

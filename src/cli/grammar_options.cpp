#include "cli/grammar_options.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "cli/option.h"
#include "grammar/languages.h"

namespace loadline::cli {
namespace {

constexpr Bytes kLongestGrammar = Bytes(16) * (std::uint64_t{1} << 20);

std::string read(const std::string& path) { return read_text_file(path, kLongestGrammar); }

// Both the text itself and the name of a file are usual.
std::string text_or_file(const std::string& value, bool is_text) {
  std::error_code ignored;
  return is_text || !std::filesystem::exists(value, ignored) ? value : read(value);
}

}  // namespace

void GrammarOptions::add_to(Command& command) {
  const Traits group{.group = "Keeping to a form"};
  command.option("--grammar", &grammar_, "GBNF that the output must match: a file, or the text itself", group);
  command.option("--grammar-file", &grammar_file_, "The same, in a file", group);
  command.option("-j,--json-schema", &schema_, "JSON schema that the output must satisfy: a file, or the text itself",
                 group);
  command.option("-jf,--json-schema-file", &schema_file_, "The same, in a file", group);
}

std::unique_ptr<Constraint> GrammarOptions::constraint(const tokenizer::Tokenizer& tokenizer) const {
  auto grammar = this->grammar(tokenizer);
  return grammar ? std::make_unique<Constraint>(std::move(*grammar), tokenizer) : nullptr;
}

std::optional<grammar::Grammar> GrammarOptions::grammar(const tokenizer::Tokenizer& tokenizer) const {
  int given = 0;
  for (const std::string* one : {&grammar_, &grammar_file_, &schema_, &schema_file_}) given += one->empty() ? 0 : 1;
  if (given == 0) return std::nullopt;
  if (given > 1)
    throw bad_input("of --grammar, --grammar-file, --json-schema and --json-schema-file only one can be given");
  const bool gbnf = !grammar_.empty() || !grammar_file_.empty();
  const std::string flag = !grammar_.empty()        ? "--grammar"
                           : !grammar_file_.empty() ? "--grammar-file"
                           : !schema_.empty()       ? "--json-schema"
                                                    : "--json-schema-file";
  try {
    if (gbnf) {
      const std::string text =
          grammar_.empty() ? read(grammar_file_) : text_or_file(grammar_, grammar_.contains("::="));
      return grammar::compile_gbnf(text, &tokenizer);
    }
    const std::string text = schema_.empty() ? read(schema_file_) : text_or_file(schema_, schema_.contains('{'));
    return grammar::compile_json_schema(text);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", flag, error.what()), error.hint());
  }
}

}  // namespace loadline::cli

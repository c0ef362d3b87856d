#include "grammar/languages.h"

#include "base/error.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"

namespace loadline::grammar {
namespace {

Grammar compiled(const Source& source) { return Grammar::compile(source.expressions, source.root); }

}  // namespace

Grammar compile_gbnf(std::string_view text, const tokenizer::Tokenizer* tokenizer) {
  TokenNamed named;
  if (tokenizer != nullptr) {
    named = [tokenizer](std::string_view name) -> std::optional<Token> {
      const auto ids = tokenizer->encode(name, {.add_special = false, .parse_special = true});
      if (ids.size() != 1) return std::nullopt;
      return ids[0];
    };
  }
  return compiled(read_gbnf(text, named));
}

Grammar compile_json_schema(std::string_view text) {
  return compiled(read_json_schema(parse_json(text, "the JSON schema")));
}

Grammar compile_json(bool object) { return compiled(read_json_schema(object ? Json{{"type", "object"}} : Json(true))); }

Grammar compile_regex(std::string_view pattern) {
  Source source;
  source.root = source.expressions.add_rule("regular expression");
  source.expressions.set_body(source.root, Regex(pattern).expression(source.expressions));
  return compiled(source);
}

Grammar compile_choices(std::span<const std::string> choices) {
  if (choices.empty()) throw bad_input("there is no choice among no texts");
  Source source;
  std::vector<NodeId> items;
  for (const std::string& choice : choices) items.push_back(source.expressions.literal(choice));
  source.root = source.expressions.add_rule("choices");
  source.expressions.set_body(source.root, source.expressions.choice(items));
  return compiled(source);
}

}  // namespace loadline::grammar

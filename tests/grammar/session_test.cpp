// Sessions: masks against taking every token, going back, room that runs out, tools, triggers, and what is refused.
#include "grammar/session.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "grammar/json_schema.h"
#include "grammar/languages.h"
#include "grammar/lazy_session.h"
#include "grammar/text_check.h"
#include "grammar/tools.h"
#include "support/allocations.h"

namespace loadline::grammar {
namespace {

using test::check_text;

TokenIndex index_of(std::vector<std::string> texts) {
  std::vector<TokenIndex::Entry> entries;
  for (int byte = 1; byte < 256; ++byte) entries.push_back({std::string(1, static_cast<char>(byte)), false});
  for (std::string& text : texts) entries.push_back({std::move(text), false});
  entries.push_back({"", true});
  return TokenIndex(entries);
}

bool has(std::span<const std::uint64_t> mask, Token token) {
  return (mask[static_cast<std::size_t>(token) / 64] >> (token & 63) & 1) != 0;
}

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    return error.what();
  }
  return "accepted";
}

const char* const kList = "root ::= \"[\" (root (\",\" root)*)? \"]\" | [a-z]+";

// The mask says of every token what taking it says, along random texts, whatever room there is.
RC_GTEST_PROP(SessionProperty, MasksAgreeWithTaking, ()) {
  static const TokenIndex kIndex = index_of(
      {"[[", "]]",     "],[", "ab", "a,", "\"}",  "\":",  "\",\"", "é",  "\xC3",  "12",
       "1,", "{\"a\"", "<a",  "a<", "</", "ax\"", "x\":", "\n<",   "xy", "\xA9é", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"});
  static const std::vector<Grammar> kGrammars = [] {
    std::vector<Grammar> list;
    list.push_back(compile_gbnf(kList));
    list.push_back(compile_gbnf("root ::= \"\\\"\" [^\"\\\\]{2,5} \"\\\"\" | .{3} (\"a\"|\"ab\"|\"abc\")*"));
    list.push_back(compile_json_schema(
        R"({"type":"object","properties":{"a":{"type":"string","minLength":1,"maxLength":30},)"
        R"("b":{"type":["integer","null"],"maximum":120}},"additionalProperties":{"type":"string"}})"));
    list.push_back(compile_json(false));
    list.push_back(compile_json_schema(
        R"({"type":"object","patternProperties":{"x":{"type":"integer"}},"additionalProperties":{"type":"null"}})"));
    list.push_back(compile_json_schema(R"({"type":"array","items":{"type":"string","pattern":"ax?b"}})"));
    list.push_back(compile_gbnf("root ::= ([^<] | \"<\" [^/])* \"</\" \"x>\""));
    list.push_back(compile_regex("([^x]|x[^y])*xy"));
    list.push_back(compile_regex("(\\w+)@(\\d{1,3}\\.){2}x?"));
    return list;
  }();
  const auto& grammar = kGrammars[*rc::gen::inRange<std::size_t>(0, kGrammars.size())];
  SessionLimits limits;
  if (*rc::gen::arbitrary<bool>()) {
    limits.matcher = {
        .configurations = 500, .items = 5000, .nodes = 400, .callers = 1500, .rows = 4, .parallel_items = 500};
  }
  Session session(grammar, kIndex, limits);
  const auto choices = *rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 1U << 30));
  for (const std::uint32_t choice : choices) {
    const auto now = session.mask();
    const std::vector<std::uint64_t> mask(now.begin(), now.end());
    std::vector<Token> allowed;
    for (Token token = 0; token < static_cast<Token>(kIndex.size()); ++token) {
      RC_ASSERT(session.allows(token) == has(mask, token));
      if (has(mask, token)) allowed.push_back(token);
    }
    RC_ASSERT(!allowed.empty());
    const Token token = allowed[choice % allowed.size()];
    RC_ASSERT(session.accept(token));
    session.rollback(1);
    RC_ASSERT(std::ranges::equal(session.mask(), mask));
    RC_ASSERT(session.accept(token));
    if (session.has_ended()) break;
  }
}

TEST(Session, AllocatesNothingAfterConstructionAndWhatItSaid) {
  const Grammar grammar = compile_json(false);
  const TokenIndex index = index_of({"{\"", "\":", "[[", "]]"});
  const test::AllocationWatch before;
  Session session(grammar, index);
  EXPECT_LE(before.peak().value, Session::memory_bytes(grammar, index).value);
  EXPECT_GE(before.peak().value * 11 / 10 + 10000, Session::memory_bytes(grammar, index).value);
  constexpr std::string_view kText = R"({"a":[1,2,{"b":"text"},null],"c":-1.5e3})";
  const test::AllocationWatch watch;
  for (const char c : kText) {
    const auto token = static_cast<Token>(static_cast<unsigned char>(c) - 1);
    ASSERT_TRUE(has(session.mask(), token));
    ASSERT_TRUE(session.accept(token));
  }
  EXPECT_TRUE(session.is_complete());
  EXPECT_EQ(watch.count(), 0U);
}

TEST(Session, DeepAndLongTextsNeedNoMoreRoom) {
  const Grammar grammar = compile_gbnf(kList);
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "[";
  for (int i = 0; i < 3000; ++i) text += "]";
  EXPECT_TRUE(check_text(grammar, text).accepted);
  // Recursion at the end of a rule does not nest.
  EXPECT_TRUE(check_text(compile_gbnf("root ::= \"a\" root | \"\""), std::string(200000, 'a')).accepted);
  // Deeper than there is room for is an error, not a crash.
  EXPECT_NE(refusal([&] { check_text(grammar, std::string(100000, '[')); }), "accepted");
}

TEST(Session, AmbiguityIsNotFollowedOneByOne) {
  // Every text of n letters can be read in exponentially many ways.
  const Grammar grammar = compile_gbnf("root ::= x x x x\nx ::= (\"a\" x | \"a\" | \"aa\")");
  EXPECT_TRUE(check_text(grammar, std::string(3000, 'a')).accepted);
}

TEST(Session, GuessesThatAreForbiddenAreCut) {
  const Grammar grammar = compile_gbnf("root ::= \"abc\" [0-9]+");
  const TokenIndex index = index_of({"ab"});
  Session session(grammar, index);
  const std::vector<Token> guesses = {255, 'c' - 1, '7' - 1, 'x' - 1, '8' - 1};
  EXPECT_EQ(session.count_allowed(guesses), 3U);
  EXPECT_TRUE(session.accept('a' - 1));  // nothing was taken
  session.rollback(1);
  EXPECT_TRUE(session.accept(255));
}

TEST(Session, KnowsWhatMustFollow) {
  const Grammar grammar = compile_json_schema(
      R"({"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false})");
  Session session(grammar, index_of({}));
  std::string text;
  session.forced_text(text, 100);
  EXPECT_EQ(text, "{\"name\":");  // what follows may have a blank before it
  ASSERT_TRUE(session.accept_text(text + " "));
  text.clear();
  session.forced_text(text, 100);
  EXPECT_EQ(text, "\"");
  ASSERT_TRUE(session.accept_text(text + "x\""));
  text.clear();
  session.forced_text(text, 100);
  EXPECT_EQ(text, "}");
  ASSERT_TRUE(session.accept_text(text));
  EXPECT_TRUE(session.must_end());
}

TEST(Gbnf, TokensAreMatchedWhole) {
  const TokenIndex index = index_of({"ab"});
  const Grammar grammar = compile_gbnf("root ::= <[255]> \"c\" !<[0]>");
  Session session(grammar, index);
  EXPECT_FALSE(session.allows('a' - 1));  // "ab" as text is not the token
  EXPECT_TRUE(has(session.mask(), 255));
  ASSERT_TRUE(session.accept(255));
  ASSERT_TRUE(session.accept('c' - 1));
  EXPECT_FALSE(session.allows(0));
  EXPECT_FALSE(has(session.mask(), 0));
  ASSERT_TRUE(session.accept('z' - 1));
  EXPECT_TRUE(session.is_complete());
}

TEST(Gbnf, RefusalsSayWhereAndWhat) {
  EXPECT_EQ(refusal([] { compile_gbnf("root ::= \"a\"\n  | bar"); }).substr(0, 27), "grammar, line 2, column 3: ");
  EXPECT_EQ(refusal([] { compile_gbnf("root ::= bar"); }), "grammar, line 1, column 10: rule \"bar\" is not defined");
  EXPECT_EQ(refusal([] { compile_gbnf("root ::= root \"a\" | \"b\""); }),
            "rule \"root\" begins with itself: left recursion cannot be matched");
  EXPECT_EQ(refusal([] { compile_gbnf("root ::= \"a\" root"); }), "no finite text matches the grammar");
  EXPECT_NE(refusal([] { compile_gbnf("root ::= \"abcdefgh\"{100000}"); }), "accepted");
  EXPECT_NE(refusal([] { compile_gbnf("root ::= [z-a]"); }), "accepted");
  EXPECT_NE(refusal([] { compile_gbnf("root ::= \"a\"\nroot ::= \"b\""); }), "accepted");
}

TEST(Regex, MatchesWholeTexts) {
  const auto matches = [](std::string_view pattern, std::string_view text) {
    return check_text(compile_regex(pattern), text).accepted;
  };
  EXPECT_TRUE(matches("[0-9]{3}-[0-9]{4}", "555-1234"));
  EXPECT_FALSE(matches("[0-9]{3}-[0-9]{4}", "555-123"));
  EXPECT_TRUE(matches("^(a|b)*c$", "ababc"));
  EXPECT_TRUE(matches("a.c", "aéc"));
  EXPECT_FALSE(matches("a.c", "a\nc"));
  EXPECT_TRUE(matches("(^a|b)c", "ac"));
  EXPECT_EQ(refusal([] { compile_regex("a(^b)c"); }), "no finite text matches the grammar");
  EXPECT_TRUE(matches("\\u{1F600}+", "😀😀"));
  EXPECT_TRUE(matches("", ""));
  for (const char* broken : {"(a", "a)", "[a", "a**", "(?=a)", "\\1", "a{2,1}", "\\p{L}", "*", "a\\b"}) {
    EXPECT_NE(refusal([&] { compile_regex(broken); }), "accepted") << broken;
  }
}

TEST(Choices, AreTheOnlyTexts) {
  const std::vector<std::string> choices = {"yes", "no", "not sure"};
  const Grammar grammar = compile_choices(choices);
  EXPECT_TRUE(check_text(grammar, "no").accepted);
  EXPECT_TRUE(check_text(grammar, "not sure").accepted);
  EXPECT_FALSE(check_text(grammar, "not").accepted);
  EXPECT_FALSE(check_text(grammar, "maybe").prefix);
}

TEST(JsonSchema, RefusesByNameAndPlace) {
  const auto why = [](const char* schema) { return refusal([&] { compile_json_schema(schema); }); };
  EXPECT_EQ(why(R"({"properties":{"x":{"not":{}}}})"), "JSON schema, #/properties/x/not: \"not\" cannot be honoured");
  EXPECT_EQ(why(R"({"type":"strin"})"), "JSON schema, #/type: there is no type \"strin\"");
  EXPECT_EQ(why(R"({"$ref":"#/$defs/x"})"), "JSON schema, #/$ref: \"#/$defs/x\" does not exist");
  EXPECT_EQ(why("{"), "the JSON schema is not JSON: the text goes wrong at byte 2");
  EXPECT_EQ(why(R"({"const":1e999})"), "the JSON schema: a number in it is too large for any machine");
  EXPECT_NE(why(R"({"type":"array","uniqueItems":true})"), "accepted");
  EXPECT_NE(why(R"({"type":"string","format":"hostname"})"), "accepted");
  EXPECT_EQ(why((std::string(300, '[') + std::string(300, ']')).c_str()),
            "the JSON schema is nested more than 200 deep");
}

// Hermes' form.
ToolCallForm hermes() {
  return {.begin = "<tool_call>\n",
          .before_name = "{\"name\": \"",
          .after_name = "\", \"arguments\": ",
          .after_arguments = "}",
          .between = "\n</tool_call>\n<tool_call>\n",
          .end = "\n</tool_call>"};
}

std::vector<Tool> two_tools() {
  return {{"weather", Json::parse(R"({"type":"object","properties":{"city":{"type":"string"}},"required":["city"],)"
                                  R"("additionalProperties":false})")},
          {"clock", Json()}};
}

TEST(Tools, CallsSatisfyTheirSchemas) {
  const auto tools = two_tools();
  const auto required = tool_grammar({.tools = tools, .choice = ToolChoice::Required}, hermes());
  ASSERT_TRUE(required);
  EXPECT_TRUE(required->triggers.empty());
  const std::string call = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\":\"Oslo\"}}\n</tool_call>";
  EXPECT_TRUE(check_text(required->grammar, call).accepted);
  EXPECT_TRUE(check_text(required->grammar, call + "\n" + call).accepted);
  EXPECT_FALSE(check_text(required->grammar, "It is").prefix);
  EXPECT_FALSE(check_text(required->grammar, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {}").prefix);
  const auto named = tool_grammar({.tools = tools, .choice = ToolChoice::Named, .name = "clock"}, hermes());
  EXPECT_FALSE(check_text(named->grammar, call).prefix);
  EXPECT_FALSE(tool_grammar({.tools = tools, .choice = ToolChoice::None}, hermes()));
  EXPECT_NE(refusal([&] { tool_grammar({.tools = tools, .choice = ToolChoice::Named, .name = "x"}, hermes()); }),
            "accepted");
}

TEST(Tools, TaggedArgumentsHoldStringsAsTheyAre) {
  std::vector<Tool> tools = {
      {"f",
       Json::parse(
           R"({"type":"object","properties":{"code":{"type":"string"},"n":{"type":"integer"}},"required":["code"]})")}};
  const ToolCallForm form{.begin = "<function=",
                          .before_name = "",
                          .after_name = ">\n",
                          .after_arguments = "</function>",
                          .members = MemberStyle{.before_name = "<parameter=",
                                                 .after_name = ">\n",
                                                 .after_value = "\n</parameter>\n",
                                                 .value_end = "</parameter>"}};
  const auto grammar = tool_grammar({.tools = tools, .choice = ToolChoice::Required}, form);
  EXPECT_TRUE(
      check_text(
          grammar->grammar,
          "<function=f>\n<parameter=code>\nif (a < \"b\") {\n</parameter>\n<parameter=n>\n7\n</parameter>\n</function>")
          .accepted);
  EXPECT_FALSE(check_text(grammar->grammar, "<function=f>\n<parameter=n>").prefix);
}

TEST(LazySession, ConstrainsFromItsTriggerOn) {
  const auto tools = two_tools();
  const auto automatic = tool_grammar({.tools = tools, .choice = ToolChoice::Auto}, hermes());
  ASSERT_EQ(automatic->triggers, std::vector<std::string>{"<tool_call>\n"});
  const TokenIndex index = index_of({"Let me look.<tool", "_call>\n{\""});
  LazySession session(automatic->grammar, index, automatic->triggers);
  EXPECT_FALSE(session.is_active());
  EXPECT_TRUE(session.mask().empty());
  ASSERT_TRUE(session.accept(255));
  EXPECT_FALSE(session.is_active());
  ASSERT_TRUE(session.accept(256));
  ASSERT_TRUE(session.is_active());
  EXPECT_FALSE(session.allows('x' - 1));
  EXPECT_TRUE(session.allows('n' - 1));
  session.rollback(1);
  EXPECT_FALSE(session.is_active());
  EXPECT_TRUE(session.allows('x' - 1));
  ASSERT_TRUE(session.accept(256));
  EXPECT_TRUE(session.is_active());
  // Text that only begins like a call stays text.
  session.reset();
  for (const char c : std::string("a <tool_cal> b")) ASSERT_TRUE(session.accept(static_cast<Token>(c) - 1));
  EXPECT_FALSE(session.is_active());
}

}  // namespace
}  // namespace loadline::grammar

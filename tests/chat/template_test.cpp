// The template language by small cases of our own: what jinja2 gives for them, and what hostile templates get.
#include "chat/template.h"

#include <gtest/gtest.h>

#include <string>

namespace loadline::chat {
namespace {

constexpr const char* kVariables = R"({
  "s": "Hello, World", "e": "", "n": null, "i": 7, "f": 1.5, "one": 1.0, "l": [3, 1, 2],
  "d": {"b": 1, "a": {"x": [1, 2]}, "items": "own"}, "u": "naïve é", "t": true,
  "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "calls": [1]}]})";

std::string render(const std::string& source, RenderLimits limits = {}) {
  RenderOptions options;
  options.limits = limits;
  options.now = parse_time("2026-01-02T00:00:00");
  return Template(source).render(kVariables, options);
}

// What the failure says, or the output where it does not fail.
std::string failure_of(const std::string& source, TemplateError::Kind kind, RenderLimits limits = {}) {
  try {
    return "rendered: " + render(source, limits);
  } catch (const TemplateError& error) {
    return error.kind() == kind ? error.detail() : std::string("another kind: ") + error.what();
  }
}

struct Case {
  const char* source;
  const char* expected;
};

void expect_all(std::initializer_list<Case> cases) {
  for (const Case& one : cases) {
    std::string out;
    try {
      out = render(one.source);
    } catch (const TemplateError& error) {
      out = std::string("failed: ") + error.what();
    }
    EXPECT_EQ(out, one.expected) << one.source;
  }
}

TEST(template_language, white_space_around_tags_is_trimmed_as_transformers_configures_it) {
  expect_all({{"a\n  {% if t %}\n  b\n  {% endif %}\nc", "a\n  b\nc"},
              {"a\n  {{ i }}\nb", "a\n  7\nb"},
              {"a \n {%- if t -%} \n b \n {%- endif -%} \n c", "abc"},
              {"a\n  {%+ if t +%}\nb{% endif %}", "a\n  \nb"},
              {"x\r\ny\rz\n", "x\ny\nz"},
              {"x\n\n", "x\n"},
              {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
              {"a\n {# note\n #}\nb", "a\nb"}});
}

TEST(template_language, values_print_as_python_prints_them) {
  expect_all({{"{{ [n, t, one, 'a', \"it's\", 1e22, 1e-7, 100000.0] }}",
               "[None, True, 1.0, 'a', \"it's\", 1e+22, 1e-07, 100000.0]"},
              {"{{ {'k': (1,), 2: ()} }}", "{'k': (1,), 2: ()}"},
              {"{{ 'a\\u200db' }}|{{ ['a\\u200db', '\\x7f'] }}",
               "a\xE2\x80\x8D"
               "b|['a\\u200db', '\\x7f']"},
              {"{{ missing }}{{ d.missing }}|", "|"},
              {"{{ range(3) }} {{ d.keys() }}", "range(0, 3) dict_keys(['b', 'a', 'items'])"}});
}

TEST(template_language, operators_follow_pythons_rules) {
  expect_all(
      {{"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ -7.5 // 2 }}", "3 -4 2 3.5 1024 -4.0"},
       {"{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'b' in d }} {{ 3 not in l }}", "True False True False"},
       {"{{ 'a' ~ 1 + 'b' ~ 2 }}", "a1b2"},
       {"{{ l[::-1] }} {{ u[2:4] }} {{ u[-1] }} {{ l[5:] }}", "[2, 1, 3] ïv é []"},
       {"{{ '' or n or 'x' }} {{ 0 and 1 }} {{ not n }}", "x 0 True"},
       {"{{ d.items is callable }} {{ d['items'] }} {{ d.a.x[1] }}", "True own 2"},
       {"{{ '%s=%05.1f' % ('a', 2) }} {{ '{0:>4}|{b!r}'.format(1, b='x') }}", "a=002.0    1|'x'"},
       {"{{ 9007199254740993 * 9007199254740993 }}", "81129638414606699710187514626049"}});
}

TEST(template_language, scopes_are_those_of_jinja) {
  expect_all(
      {{"{% set x = 1 %}{% for y in l %}{% set x = y %}{{ x }}{% endfor %}{{ x }}", "3121"},
       {"{% set ns = namespace(c=0) %}{% for y in l %}{% set ns.c = ns.c + y %}{% endfor %}{{ ns.c }}", "6"},
       {"{% macro m(a, b=2) %}{{ a }}{{ b }}{{ x }}{% endmacro %}{% set x = 9 %}{{ m(1) }}{{ m(b=3, a=4) }}", "129439"},
       {"{% for x in l if x > 1 %}{{ loop.index }}{{ loop.last }}{% endfor %}", "1False2True"},
       {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"},
       {"{% set b %}in {{ i }}{% endset %}{{ b|upper }}", "IN 7"},
       {"{% macro m() %}[{{ caller(5) }}]{% endmacro %}{% call(v) m() %}{{ v * 2 }}{% endcall %}", "[10]"},
       {"{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q is defined }}", "1False"},
       {"{% filter upper %}a{{ i }}{% endfilter %}", "A7"},
       {"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}", "3"}});
}

TEST(template_language, filters_and_tests_work_as_in_jinja) {
  expect_all(
      {{"{{ messages|selectattr('calls')|map(attribute='role')|join(',') }}", "assistant"},
       {"{{ d|tojson }} {{ [one, n]|tojson(indent=1) }}",
        "{\"b\": 1, \"a\": {\"x\": [1, 2]}, \"items\": \"own\"} [\n 1.0,\n null\n]"},
       {"{{ 'x y'|title }} {{ l|sort }} {{ l|max }} {{ d|dictsort|first }}", "X Y [1, 2, 3] 3 ('a', {'x': [1, 2]})"},
       {"{{ 'a<b'|e }} {{ '<'|safe + '<' }}", "a&lt;b <&lt;"},
       {"{{ n is none }} {{ i is number }} {{ d is mapping }} {{ s is iterable }} {{ 3 is divisibleby 3 }}",
        "True True True True True"},
       {"{{ strftime_now('%d %B %Y') }}", "02 January 2026"},
       {"{{ 'ß ΑΣ'.upper() }} {{ 'ΑΣ'.lower() }}", "SS ΑΣ ας"}});
}

TEST(template_language, text_is_laid_out_as_pythons_textwrap_and_pprint_do) {
  expect_all({{"{{ 'well-known state-of-the-art'|wordwrap(8) }}", "well-\nknown\nstate-\nof-the-\nart"},
              {"{{ 'a  b\\n\\nc d'|wordwrap(3) }}|{{ 'abcdefgh i'|wordwrap(3, false) }}", "a\nb\n\nc d|abcdefgh\ni"},
              {"{{ 'a--b c-d e--f'|wordwrap(2) }}", "a\n--\nb \nc-\nd\ne\n--\nf"},
              {"{{ 'x-yz abc-def-ghi'|wordwrap(5, break_on_hyphens=false, wrapstring='/') }}", "x-yz /abc-d/ef-gh/i"},
              {"{{ d|pprint }} {{ 'x'|pprint }}", "{'a': {'x': [1, 2]}, 'b': 1, 'items': 'own'} 'x'"},
              {"{{ {'k': 'word ' * 18, 2: ('x' * 70, (1,))}|pprint }}",
               "{2: ('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',\n     (1,)),\n"
               " 'k': 'word word word word word word word word word word word word word word '\n"
               "      'word word word word '}"},
              {"{{ 'see (www.example.org/a(b)), x@y.no'|urlize }}",
               "see (<a href=\"https://www.example.org/a(b)\" rel=\"noopener\">www.example.org/a(b)</a>), "
               "<a href=\"mailto:x@y.no\">x@y.no</a>"},
              {"{{ '1500'|filesizeformat }} {{ '1e3'|int }} {{ 'inf'|int(3) }}", "1.5 kB 1000 3"}});
  EXPECT_EQ(failure_of("{{ 1e100|int }}", TemplateError::Kind::TooLarge), "a number is too large");
}

TEST(template_language, what_the_template_made_may_change_and_the_conversation_may_not) {
  expect_all({{"{% set x = [] %}{{ x.append(1) }}{{ x }}", "None[1]"}});
  EXPECT_EQ(failure_of("{{ messages.append(1) }}", TemplateError::Kind::Failed),
            "access to attribute 'append' of 'list' object is unsafe.");
}

TEST(template_errors, a_refusal_carries_the_templates_sentence) {
  EXPECT_EQ(failure_of("{{ raise_exception('roles must ' ~ 'alternate') }}", TemplateError::Kind::Refused),
            "roles must alternate");
}

TEST(template_errors, a_failing_operation_names_the_line) {
  try {
    render("a\n\n{{ s + 1 }}");
    FAIL() << "it rendered";
  } catch (const TemplateError& error) {
    EXPECT_EQ(error.line(), 3);
    EXPECT_EQ(std::string(error.what()),
              "the chat template fails in line 3: can only concatenate str (not \"int\") to str");
  }
}

TEST(template_errors, what_is_no_template_is_refused_with_line_and_construct) {
  constexpr auto kUnparsable = TemplateError::Kind::Unparsable;
  EXPECT_EQ(failure_of("{% endfor %}", kUnparsable), "Encountered unknown tag 'endfor'.");
  EXPECT_EQ(failure_of("{{ a b }}", kUnparsable), "expected token 'end of print statement', got 'b'");
  EXPECT_EQ(failure_of("{{ s|nosuch }}", kUnparsable), "No filter named 'nosuch'.");
  EXPECT_EQ(failure_of("{% for loop in l %}{% endfor %}", kUnparsable),
            "Can't assign to special loop variable in for-loop target");
  EXPECT_EQ(failure_of("{% if t %}", kUnparsable).substr(0, 26), "Unexpected end of template");
  EXPECT_EQ(failure_of("{# x", kUnparsable), "Missing end of comment tag");
  EXPECT_EQ(failure_of("{% break %}", kUnparsable), "'break' outside loop");
  EXPECT_EQ(failure_of("{{ '\n\n' + ' }}", kUnparsable).substr(0, 15), "unexpected char");
}

TEST(template_bounds, endless_and_swelling_templates_end_with_an_error) {
  constexpr auto kTooLarge = TemplateError::Kind::TooLarge;
  const auto too_large = [&](const std::string& source) {
    const std::string failure = failure_of(source, kTooLarge);
    EXPECT_FALSE(failure.starts_with("rendered") || failure.starts_with("another")) << source << "\n"
                                                                                    << failure.substr(0, 200);
  };
  too_large("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  too_large("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
  too_large("{{ 'x' * 99999999999 }}");
  too_large("{{ '%99999999999d' % 1 }}");
  too_large("{{ '{:99999999999}'.format(1) }}");
  too_large("{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}");
  too_large(
      "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}");
  too_large("{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  too_large(
      "{% set ns = namespace(x=(1,)) %}{% for a in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} "
      "}}");
  too_large("{% set x = [] %}{% set y = x.append(x) %}{{ x }}");
  too_large(
      "{% set ns = namespace(x=[]) %}{% for a in range(5000) %}{% set ns.x = ns.x|map('upper') %}{% endfor %}{{ "
      "ns.x|list }}");
}

TEST(template_bounds, a_long_chain_of_values_is_freed_without_a_deep_stack) {
  EXPECT_EQ(render("{% set ns = namespace(x=[]) %}{% for a in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}ok"),
            "ok");
}

TEST(template_bounds, deep_sources_are_refused_and_long_ones_are_not) {
  EXPECT_EQ(failure_of("{{ " + std::string(100000, '(') + "1", TemplateError::Kind::Unparsable),
            "the template is nested too deeply");
  std::string nots = "{{ ";
  for (int i = 0; i < 100000; ++i) nots += "not ";
  EXPECT_EQ(failure_of(nots + "1 }}", TemplateError::Kind::Unparsable), "the template is nested too deeply");
  std::string sum = "{{ 0";
  for (int i = 0; i < 10000; ++i) sum += " + 1";
  EXPECT_EQ(render(sum + " }}"), "10000");
  std::string ors = "{{ n";
  for (int i = 0; i < 10000; ++i) ors += " or n";
  EXPECT_EQ(render(ors + " }}"), "None");
}

TEST(template_bounds, the_output_has_a_limit_of_the_callers) {
  RenderLimits limits;
  limits.output = Bytes(10);
  EXPECT_EQ(render("0123456789").size(), 10U);
  EXPECT_EQ(failure_of("0123456789a", TemplateError::Kind::TooLarge, limits), "its output is longer than 10 bytes");
}

TEST(template_time, dates_are_read_strictly) {
  EXPECT_EQ(parse_time("1970-01-02"), 86400);
  EXPECT_EQ(parse_time("1970-01-01T01:02:03"), 3723);
  for (const char* bad :
       {"", "x", "2026", "2026-13-01", "2026-02-30", "2026-01-02T", "2026-01-02T25:00", "2026-01-02x", "2026-1--2"}) {
    EXPECT_THROW(parse_time(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace loadline::chat

// Filters on text and numbers.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/json.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/text_search.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

// The subject as text; markup stays markup (markupsafe's soft_str).
struct Soft {
  Soft(Interpreter& interpreter, const Value& value) : text(interpreter.text_of(value)), markup(value.is_markup()) {
    interpreter.heap().spend_on(8 * text.size());
  }
  std::string text;
  bool markup;
};

Value call_method(Interpreter& interpreter, const Value& subject, std::string_view name, Arguments& arguments) {
  const Soft soft(interpreter, subject);
  Value method;
  if (!find_string_method(interpreter, interpreter.string(soft.text, soft.markup), name, method))
    fail("no such method");
  return interpreter.call(method, arguments);
}

Value upper(Interpreter& i, const Value& s, Arguments& a) { return call_method(i, s, "upper", a); }
Value lower(Interpreter& i, const Value& s, Arguments& a) { return call_method(i, s, "lower", a); }
Value capitalize(Interpreter& i, const Value& s, Arguments& a) { return call_method(i, s, "capitalize", a); }

Value trim(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_trim", arguments, {"chars"});
  Arguments plain;
  if (parameters.has(0)) plain.positional.push_back(parameters.at(0));
  return call_method(interpreter, subject, "strip", plain);
}

Value center(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_center", arguments, {"width"});
  Arguments plain;
  plain.positional.push_back(parameters.get(0, Value::integer(80)));
  return call_method(interpreter, subject, "center", plain);
}

// Words begin behind white space, dashes and opening brackets.
Value title(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_title", arguments, {});
  const Soft soft(interpreter, subject);
  std::string out;
  std::size_t word = 0;
  const auto end_word = [&](std::size_t end) {
    if (end == word) return;
    std::size_t second = word;
    next_character(soft.text, second);
    out += to_upper(std::string_view(soft.text).substr(word, second - word));
    out += to_lower(std::string_view(soft.text).substr(second, end - second));
  };
  for (std::size_t position = 0; position < soft.text.size();) {
    const std::size_t begin = position;
    const char32_t c = next_character(soft.text, position);
    if (!is_space(c) && std::u32string_view(U"-({[<").find(c) == std::u32string_view::npos) continue;
    end_word(begin);
    out += soft.text.substr(begin, position - begin);
    word = position;
  }
  end_word(soft.text.size());
  return interpreter.string(std::move(out));
}

Value replace(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_replace", arguments, {"old", "new", "count"});
  Arguments plain;
  plain.positional = {interpreter.string(interpreter.text_of(parameters.at(0))),
                      interpreter.string(interpreter.text_of(parameters.at(1)))};
  if (parameters.has(2) && !parameters.at(2).is_none()) plain.positional.push_back(parameters.at(2));
  return call_method(interpreter, interpreter.string(interpreter.text_of(subject)), "replace", plain);
}

Value to_string(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("soft_str", arguments, {});
  return subject.is_string() ? subject : interpreter.string(interpreter.text_of(subject));
}

Value truncate(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Integer length = parameters.integer(0, 255);
  const std::string end = parameters.text(interpreter, 2, "...");
  const Integer leeway = parameters.has(3) && parameters.at(3).is_none() ? 5 : parameters.integer(3, 5);
  const auto end_length = static_cast<Integer>(count_characters(end));
  if (length < end_length) fail("expected length >= " + decimal(end_length) + ", got " + decimal(length));
  if (leeway < 0) fail("expected leeway >= 0, got " + decimal(leeway));
  if (!subject.is_string()) fail("object of type '" + type_name(subject) + "' cannot be truncated");
  const std::string& text = subject.text();
  if (static_cast<Integer>(subject.as<StringObject>().characters()) <= length + leeway) return subject;
  std::string cut = text.substr(0, offset_of(text, static_cast<std::size_t>(length - end_length)));
  if (!parameters.flag(1)) {
    const std::size_t blank = cut.rfind(' ');
    if (blank != std::string::npos) cut.resize(blank);
  }
  return interpreter.string(cut + end);
}

Value indent(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_indent", arguments, {"width", "first", "blank"});
  Heap& heap = interpreter.heap();
  if (subject.is_undefined()) fail(subject.why_undefined());
  if (!subject.is_string()) fail("unsupported operand type(s) for +=: '" + type_name(subject) + "' and 'str'");
  std::string indention;
  if (parameters.has(0) && parameters.at(0).is_string()) {
    indention = parameters.at(0).text();
  } else {
    const Integer width = std::clamp<Integer>(parameters.integer(0, 4), 0, Integer(heap.bytes_left()));
    heap.require(static_cast<std::size_t>(width));
    indention.assign(static_cast<std::size_t>(width), ' ');
  }
  const bool blank = parameters.flag(2);
  heap.spend_on(8 * subject.text().size());
  std::string out = parameters.flag(1) ? indention : "";
  bool begun = false;
  each_line(subject.text() + "\n", [&](std::string_view line, std::string_view) {
    if (begun) out += '\n';
    if (begun && (blank || !line.empty())) out += indention;
    begun = true;
    out += line;
    heap.require(out.size());
  });
  return interpreter.string(std::move(out), subject.is_markup());
}

Value wordcount(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_wordcount", arguments, {});
  const Soft soft(interpreter, subject);
  Integer count = 0;
  bool inside = false;
  for (std::size_t position = 0; position < soft.text.size();) {
    const bool word = is_word(next_character(soft.text, position));
    if (word && !inside) ++count;
    inside = word;
  }
  return Value::integer(count);
}

Value escape(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("escape", arguments, {});
  if (subject.is_markup()) return subject;
  return interpreter.string(escaped(interpreter.text_of(subject)), true);
}
Value force_escape(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_forceescape", arguments, {});
  return interpreter.string(escaped(interpreter.text_of(subject)), true);
}
Value safe(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_mark_safe", arguments, {});
  return interpreter.string(interpreter.text_of(subject), true);
}

Value striptags(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_striptags", arguments, {});
  const Soft soft(interpreter, subject);
  const auto without = [](std::string_view text, std::string_view open, std::string_view close) {
    std::string out;
    std::size_t at = 0;
    while (true) {
      const std::size_t begin = find_text(text, open, at);
      const std::size_t end = begin == std::string_view::npos ? begin : find_text(text, close, begin);
      if (end == std::string_view::npos) return out + std::string(text.substr(at));
      out += text.substr(at, begin - at);
      at = end + close.size();
    }
  };
  const std::string bare = without(without(soft.text, "<!--", "-->"), "<", ">");
  std::string joined;
  std::string_view rest = trimmed_right(bare);
  while (!(rest = trimmed_left(rest)).empty()) {
    std::size_t end = 0;
    for (std::size_t next = 0; end < rest.size(); end = next) {
      if (is_space(next_character(rest, next))) break;
    }
    if (!joined.empty()) joined += ' ';
    joined += rest.substr(0, end);
    rest.remove_prefix(end);
  }
  constexpr std::array<std::pair<std::string_view, char>, 6> kEntities = {
      {{"&lt;", '<'}, {"&gt;", '>'}, {"&#34;", '"'}, {"&quot;", '"'}, {"&#39;", '\''}, {"&amp;", '&'}}};
  std::string out;
  for (std::size_t i = 0; i < joined.size();) {
    const auto* const entity = std::find_if(kEntities.begin(), kEntities.end(), [&](const auto& e) {
      return std::string_view(joined).substr(i).starts_with(e.first);
    });
    out += entity == kEntities.end() ? joined[i] : entity->second;
    i += entity == kEntities.end() ? 1 : entity->first.size();
  }
  return interpreter.string(std::move(out));
}

std::string quoted_url(std::string_view text, bool in_query) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && (is_alnum(byte) || std::string_view("_.-~").find(c) != std::string_view::npos)) {
      out += c;
    } else if (c == '/' && !in_query) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

Value urlencode(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_urlencode", arguments, {});
  const bool is_dict = subject.is(Kind::Dict);
  if (!is_dict && !subject.is_sequence() && !subject.is(Kind::Generator)) {
    return interpreter.string(quoted_url(interpreter.text_of(subject), false));
  }
  Heap& heap = interpreter.heap();
  const Value pairs = is_dict ? Value(heap.make<ViewObject>(subject, ViewObject::Of::Items)) : subject;
  std::string out;
  for_each(heap, pairs, [&](const Value& pair) {
    const std::vector<Value> parts = list_of(heap, pair);
    if (parts.size() != 2) fail("not enough values to unpack (expected 2, got " + std::to_string(parts.size()) + ")");
    if (!out.empty()) out += '&';
    out += quoted_url(interpreter.text_of(parts[0]), true) + "=" + quoted_url(interpreter.text_of(parts[1]), true);
    return true;
  });
  return interpreter.string(std::move(out));
}

Value format(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  Heap& heap = interpreter.heap();
  Value values;
  if (arguments.keyword.empty()) {
    values = heap.tuple(arguments.positional);
  } else {
    values = heap.dict();
    for (const auto& [name, value] : arguments.keyword) values.dict().set(name, value);
  }
  const Soft soft(interpreter, subject);
  return interpreter.string(percent_format(interpreter, soft.text, values), soft.markup);
}

// The digits of a Python number literal in text: without blanks around and underscores between digits.
std::optional<std::string> bare_number(std::string_view text) {
  text = trimmed_left(trimmed_right(text));
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      const bool between = i > 0 && i + 1 < text.size() && text[i - 1] != '_' && text[i + 1] != '_';
      if (!between) return std::nullopt;
      continue;
    }
    out += text[i];
  }
  if (out.empty()) return std::nullopt;
  return out;
}

std::optional<double> parse_real(std::string_view text) {
  const auto bare = bare_number(text);
  if (!bare) return std::nullopt;
  std::string_view number = *bare;
  if (number.starts_with('+') && !number.starts_with("+-")) number.remove_prefix(1);
  double out = 0;
  const auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), out);
  if (end != number.data() + number.size()) return std::nullopt;
  if (problem == std::errc::result_out_of_range) return std::strtod(std::string(number).c_str(), nullptr);
  return problem == std::errc() ? std::optional(out) : std::nullopt;
}

Value filesizeformat(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_filesizeformat", arguments, {"binary"});
  std::optional<double> number;
  if (subject.is_number()) number = subject.as_real();
  if (subject.is_string()) {
    number = parse_real(subject.text());
    if (!number) fail("could not convert string to float: " + repr_of(subject.text()));
  }
  if (!number) fail("float() argument must be a string or a real number, not '" + type_name(subject) + "'");
  const bool binary = parameters.flag(0);
  const double base = binary ? 1024 : 1000;
  const double bytes = *number;
  if (bytes == 1) return interpreter.string("1 Byte");
  if (bytes < base) return interpreter.string(decimal(static_cast<Integer>(bytes)) + " Bytes");
  constexpr std::string_view kLetters = "kMGTPEZY";
  double unit = base;
  std::string out;
  for (std::size_t i = 0; i < kLetters.size(); ++i) {
    unit *= base;
    if (bytes >= unit && i + 1 < kLetters.size()) continue;
    std::array<char, 400> digits{};
    std::snprintf(digits.data(), digits.size(), "%.1f", base * bytes / unit);
    const char letter = binary && i == 0 ? 'K' : kLetters[i];
    return interpreter.string(std::string(digits.data()) + " " + letter + (binary ? "iB" : "B"));
  }
  return interpreter.string(std::move(out));
}

Value xmlattr(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_xmlattr", arguments, {"autospace"});
  if (!subject.is(Kind::Dict)) fail("'" + type_name(subject) + "' object has no attribute 'items'");
  std::string out;
  for (const auto& [key, value] : subject.dict().entries) {
    if (value.is_none() || value.is_undefined()) continue;
    if (!key.is_string() || key.text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      fail("Invalid character in attribute name: " + repr_of(interpreter.heap(), key));
    }
    if (!out.empty() || parameters.flag(0, true)) out += ' ';
    out +=
        escaped(key.text()) + "=\"" + (value.is_markup() ? value.text() : escaped(interpreter.text_of(value))) + "\"";
  }
  return interpreter.string(std::move(out));
}

Value tojson(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  Heap& heap = interpreter.heap();
  JsonStyle style;
  style.ascii = parameters.flag(0);
  style.sort_keys = parameters.flag(3);
  if (parameters.has(1) && !parameters.at(1).is_none()) {
    const Value& indent = parameters.at(1);
    if (indent.is_string()) {
      style.indent = indent.text();
    } else {
      const Integer width = std::clamp<Integer>(parameters.integer(1, 0), 0, 1 << 20);
      style.indent = std::string(static_cast<std::size_t>(width), ' ');
    }
    style.item_separator = ",";
  }
  if (parameters.has(2) && !parameters.at(2).is_none()) {
    const std::vector<Value> separators = list_of(heap, parameters.at(2));
    if (separators.size() != 2) fail("separators are two: between items, and behind keys");
    style.item_separator = interpreter.text_of(separators[0]);
    style.key_separator = interpreter.text_of(separators[1]);
  }
  std::string out;
  append_json(heap, out, subject, style);
  return heap.string(std::move(out));
}

Value from_json(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("from_json", arguments, {});
  if (!subject.is_string()) fail("the JSON object must be str, not " + type_name(subject));
  return parse_json(interpreter.heap(), subject.text());
}

Value default_value(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_default", arguments, {"default_value", "boolean"});
  if (subject.is_undefined() || (parameters.flag(1) && !is_true(subject))) {
    return parameters.get(0, interpreter.string(""));
  }
  return subject;
}

Value attribute(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_attr", arguments, {"name"});
  const std::string name = interpreter.text_of(parameters.at(0));
  if (subject.is_undefined()) fail(subject.why_undefined());
  if (subject.is(Kind::Namespace)) return interpreter.get_attribute(subject, name);
  Value out;
  if (find_member(interpreter, subject, name, out)) return out;
  return Value::undefined(interpreter.heap(), "'" + type_name(subject) + " object' has no attribute " + repr_of(name));
}

// Its whole part; `fallback` for what is no number.
Value whole(double number, const Value& fallback) {
  if (std::isnan(number)) return fallback;
  if (std::isinf(number)) fail("cannot convert float infinity to integer");
  if (std::abs(number) >= 0x1p126) fail_limit("a number is too large");
  return Value::integer(static_cast<Integer>(number));
}

Value to_int(Interpreter&, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_int", arguments, {"default", "base"});
  const Value fallback = parameters.get(0, Value::integer(0));
  if (subject.is_undefined()) fail(subject.why_undefined());
  if (subject.is_integral()) return Value::integer(subject.as_integer());
  if (subject.is(Kind::Float)) return whole(subject.as_real(), fallback);
  if (!subject.is_string()) return fallback;
  if (auto bare = bare_number(subject.text())) {
    Integer base = parameters.integer(1, 10);
    const std::size_t sign = bare->starts_with('-') || bare->starts_with('+') ? 1 : 0;
    const std::string_view rest = std::string_view(*bare).substr(sign);
    const char kind = rest.size() > 2 && rest[0] == '0' ? static_cast<char>(rest[1] | 0x20) : '\0';
    const Integer prefix_base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (prefix_base != 0 && (base == prefix_base || base == 0)) {
      bare->erase(sign, 2);
      base = prefix_base;
    }
    if (base == 0) base = 10;
    if (base >= 2 && base <= 36) {
      if (const auto number = parse_integer(*bare, static_cast<int>(base))) return Value::integer(*number);
    }
  }
  const auto number = parse_real(subject.text());
  return number && std::isfinite(*number) ? whole(*number, fallback) : fallback;
}

Value to_float(Interpreter&, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_float", arguments, {"default"});
  const Value fallback = parameters.get(0, Value::real(0.0));
  if (subject.is_undefined()) fail(subject.why_undefined());
  if (subject.is_number()) return Value::real(subject.as_real());
  if (!subject.is_string()) return fallback;
  const auto number = parse_real(subject.text());
  return number ? Value::real(*number) : fallback;
}

Value absolute(Interpreter&, const Value& subject, Arguments& arguments) {
  const Parameters parameters("abs", arguments, {});
  if (subject.is_undefined()) fail(subject.why_undefined());
  if (subject.is(Kind::Float)) return Value::real(std::abs(subject.as_real()));
  if (!subject.is_integral()) fail("bad operand type for abs(): '" + type_name(subject) + "'");
  return subject.as_integer() < 0 ? negated(subject) : Value::integer(subject.as_integer());
}

// To the nearest, halves to even, of the number that the float is: printf rounds that way.
double rounded(double number, Integer precision) {
  if (!std::isfinite(number) || precision > 320) return number;
  if (precision < -310) return 0;
  if (precision >= 0) {
    std::array<char, 1024> text{};
    std::snprintf(text.data(), text.size(), "%.*f", static_cast<int>(precision), number);
    return std::strtod(text.data(), nullptr);
  }
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(number / unit) * unit;
}

Value round(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_round", arguments, {"precision", "method"});
  const std::string method = parameters.text(interpreter, 1, "common");
  const Integer precision = parameters.integer(0, 0);
  if (method != "common" && method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  if (subject.is_undefined()) fail(subject.why_undefined());
  if (!subject.is_number()) fail("type " + type_name(subject) + " doesn't define __round__ method");
  if (method == "common") {
    if (subject.is_integral() && precision >= 0) return Value::integer(subject.as_integer());
    const double out = rounded(subject.as_real(), precision);
    return subject.is_integral() ? Value::integer(static_cast<Integer>(out)) : Value::real(out);
  }
  const double unit = std::pow(10.0, static_cast<double>(std::clamp<Integer>(precision, -400, 400)));
  const double scaled = subject.as_real() * unit;
  return Value::real((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

constexpr FilterEntry kTextFilters[] = {
    {"abs", absolute},
    {"attr", attribute},
    {"capitalize", capitalize},
    {"center", center},
    {"d", default_value},
    {"default", default_value},
    {"e", escape},
    {"escape", escape},
    {"filesizeformat", filesizeformat},
    {"float", to_float},
    {"forceescape", force_escape},
    {"format", format},
    {"from_json", from_json},
    {"fromjson", from_json},
    {"indent", indent},
    {"int", to_int},
    {"lower", lower},
    {"replace", replace},
    {"round", round},
    {"safe", safe},
    {"string", to_string},
    {"striptags", striptags},
    {"title", title},
    {"tojson", tojson},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", upper},
    {"urlencode", urlencode},
    {"wordcount", wordcount},
    {"xmlattr", xmlattr},
};

}  // namespace

Filters text_filters() { return kTextFilters; }

}  // namespace loadline::chat::jinja

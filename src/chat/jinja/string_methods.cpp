// The methods of str.
#include <algorithm>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/text_search.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

using Method = Value (*)(Interpreter&, const Value& self, Arguments&);

Value same_kind(Interpreter& interpreter, const Value& self, std::string text) {
  return interpreter.string(std::move(text), self.is_markup());
}

// An argument that must be text. Into markup, other text goes escaped.
const std::string& text_argument(const Parameters& parameters, std::size_t i) {
  const Value& value = parameters.at(i);
  if (value.is_undefined()) fail(value.why_undefined());
  if (!value.is_string()) fail("a str is expected, not " + type_name(value));
  return value.text();
}
std::string inserted_text(const Value& self, const Value& value) {
  return self.is_markup() && !value.is_markup() ? escaped(value.text()) : value.text();
}

template <std::string (*kChange)(std::string_view)>
Value changed(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("str", arguments, {});
  interpreter.heap().spend_on(8 * self.text().size());
  return same_kind(interpreter, self, kChange(self.text()));
}

std::string_view stripped(std::string_view text, const Value& characters, bool left, bool right) {
  if (characters.is_none()) {
    if (left) text = trimmed_left(text);
    return right ? trimmed_right(text) : text;
  }
  std::u32string set;
  for (std::size_t position = 0; position < characters.text().size();) {
    set += next_character(characters.text(), position);
  }
  std::sort(set.begin(), set.end());
  const auto in_set = [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); };
  while (left && !text.empty()) {
    std::size_t next = 0;
    if (!in_set(next_character(text, next))) break;
    text.remove_prefix(next);
  }
  while (right && !text.empty()) {
    const std::size_t begin = previous_position(text, text.size());
    std::size_t next = begin;
    if (!in_set(next_character(text, next))) break;
    text = text.substr(0, begin);
  }
  return text;
}

Value strip_sides(Interpreter& interpreter, const Value& self, Arguments& arguments, bool left, bool right) {
  const Parameters parameters("strip", arguments, {"chars"});
  const Value characters = parameters.get(0, Value::none());
  if (characters.is_undefined()) fail(characters.why_undefined());
  if (!characters.is_none() && !characters.is_string()) {
    fail("strip arg must be None or str, not " + type_name(characters));
  }
  return same_kind(interpreter, self, std::string(stripped(self.text(), characters, left, right)));
}
Value strip(Interpreter& i, const Value& s, Arguments& a) { return strip_sides(i, s, a, true, true); }
Value lstrip(Interpreter& i, const Value& s, Arguments& a) { return strip_sides(i, s, a, true, false); }
Value rstrip(Interpreter& i, const Value& s, Arguments& a) { return strip_sides(i, s, a, false, true); }

// The bytes of the characters from start to stop, for the methods that look at a part of the text.
struct Part {
  std::size_t begin;
  std::size_t end;
  bool valid;  // start is not behind the end of the text
};
Part part_of(Heap& heap, const Value& self, const Value& start, const Value& stop) {
  const std::string& text = self.text();
  if (start.is_none() && stop.is_none()) return {0, text.size(), true};
  const std::size_t size = self.as<StringObject>().characters();
  const SliceRange range = slice_range(size, start, stop, Value::none());
  const bool behind = start.is_integral() && start.as_integer() > static_cast<Integer>(size);
  heap.spend_on(8 * text.size());
  Integer first = start.is_integral() ? start.as_integer() : 0;
  if (first < 0) first = std::max<Integer>(0, first + static_cast<Integer>(size));
  const std::size_t begin =
      offset_of(text, static_cast<std::size_t>(std::min<Integer>(first, static_cast<Integer>(size))));
  return {begin, begin + offset_of(std::string_view(text).substr(begin), range.count), !behind};
}

bool matches_affix(Interpreter& interpreter, const Value& self, Arguments& arguments, bool at_start) {
  const Parameters parameters(at_start ? "startswith" : "endswith", arguments, {"prefix", "start", "end"});
  const Part part =
      part_of(interpreter.heap(), self, parameters.get(1, Value::none()), parameters.get(2, Value::none()));
  const std::string_view text = std::string_view(self.text()).substr(part.begin, part.end - part.begin);
  const auto matches = [&](const Value& affix) {
    if (affix.is_undefined()) fail(affix.why_undefined());
    if (!affix.is_string()) {
      fail(std::string(at_start ? "startswith" : "endswith") + " first arg must be str or a tuple of str, not " +
           type_name(affix));
    }
    return part.valid && (at_start ? text.starts_with(affix.text()) : text.ends_with(affix.text()));
  };
  const Value& affix = parameters.at(0);
  if (!affix.is(Kind::Tuple)) return matches(affix);
  return std::any_of(affix.items().begin(), affix.items().end(), matches);
}
Value startswith(Interpreter& i, const Value& s, Arguments& a) { return Value::boolean(matches_affix(i, s, a, true)); }
Value endswith(Interpreter& i, const Value& s, Arguments& a) { return Value::boolean(matches_affix(i, s, a, false)); }

// ---- splitting ----

std::vector<std::string> split_blanks(std::string_view text, Integer most, bool from_right) {
  std::vector<std::string> parts;
  const auto word_end = [&](std::string_view rest) {
    std::size_t end = 0;
    for (std::size_t next = 0; end < rest.size(); end = next) {
      if (is_space(next_character(rest, next))) break;
    }
    return end;
  };
  const auto word_begin = [&](std::string_view rest) {
    std::size_t begin = rest.size();
    while (begin > 0) {
      const std::size_t previous = previous_position(rest, begin);
      std::size_t next = previous;
      if (is_space(next_character(rest, next))) break;
      begin = previous;
    }
    return begin;
  };
  while (!(text = from_right ? trimmed_right(text) : trimmed_left(text)).empty()) {
    if (most == 0) {
      parts.emplace_back(from_right ? trimmed_right(text) : text);
      break;
    }
    const std::size_t cut = from_right ? word_begin(text) : word_end(text);
    parts.emplace_back(from_right ? text.substr(cut) : text.substr(0, cut));
    text = from_right ? text.substr(0, cut) : text.substr(cut);
    --most;
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_at(std::string_view text, std::string_view separator, Integer most, bool from_right) {
  std::vector<std::size_t> places;
  for (std::size_t at = find_text(text, separator); at != std::string_view::npos && !from_right && most != 0;
       at = find_text(text, separator, at + separator.size())) {
    places.push_back(at);
    --most;
  }
  if (from_right) {
    const std::string reversed(text.rbegin(), text.rend());
    const std::string reversed_separator(separator.rbegin(), separator.rend());
    for (std::size_t at = find_text(reversed, reversed_separator); at != std::string_view::npos && most != 0;
         at = find_text(reversed, reversed_separator, at + separator.size())) {
      places.push_back(text.size() - at - separator.size());
      --most;
    }
    std::reverse(places.begin(), places.end());
  }
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (const std::size_t place : places) {
    parts.emplace_back(text.substr(begin, place - begin));
    begin = place + separator.size();
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

Value list_of_text(Interpreter& interpreter, const Value& self, std::vector<std::string> parts) {
  Heap& heap = interpreter.heap();
  heap.require(parts.size() * (sizeof(Value) + sizeof(StringObject)));
  std::vector<Value> items;
  items.reserve(parts.size());
  for (std::string& part : parts) items.push_back(same_kind(interpreter, self, std::move(part)));
  return heap.list(std::move(items));
}

Value split_either(Interpreter& interpreter, const Value& self, Arguments& arguments, bool from_right) {
  const Parameters parameters(from_right ? "rsplit" : "split", arguments, {"sep", "maxsplit"});
  Heap& heap = interpreter.heap();
  heap.spend_on(16 * self.text().size());
  const Integer most = parameters.integer(1, -1);
  if (!parameters.has(0) || parameters.at(0).is_none()) {
    return list_of_text(interpreter, self, split_blanks(self.text(), most, from_right));
  }
  const std::string& separator = text_argument(parameters, 0);
  if (separator.empty()) fail("empty separator");
  heap.require(self.text().size() / separator.size() * sizeof(std::string));
  return list_of_text(interpreter, self, split_at(self.text(), separator, most, from_right));
}
Value split(Interpreter& i, const Value& s, Arguments& a) { return split_either(i, s, a, false); }
Value rsplit(Interpreter& i, const Value& s, Arguments& a) { return split_either(i, s, a, true); }

Value splitlines(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("splitlines", arguments, {"keepends"});
  interpreter.heap().spend_on(16 * self.text().size());
  std::vector<std::string> lines;
  each_line(self.text(), [&](std::string_view line, std::string_view ending) {
    lines.emplace_back(line);
    if (parameters.flag(0)) lines.back() += ending;
  });
  return list_of_text(interpreter, self, std::move(lines));
}

Value partition_at(Interpreter& interpreter, const Value& self, Arguments& arguments, bool last) {
  const Parameters parameters(last ? "rpartition" : "partition", arguments, {"sep"});
  const std::string& separator = text_argument(parameters, 0);
  if (separator.empty()) fail("empty separator");
  const std::string& text = self.text();
  const std::size_t at = last ? find_last_text(text, separator) : find_text(text, separator);
  std::vector<std::string> parts = {text, "", ""};
  if (at != std::string_view::npos) {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  } else if (last) {
    parts = {"", "", text};
  }
  std::vector<Value> items;
  for (std::string& part : parts) items.push_back(same_kind(interpreter, self, std::move(part)));
  return interpreter.heap().tuple(std::move(items));
}
Value partition(Interpreter& i, const Value& s, Arguments& a) { return partition_at(i, s, a, false); }
Value rpartition(Interpreter& i, const Value& s, Arguments& a) { return partition_at(i, s, a, true); }

// ---- finding and replacing ----

Integer find_place(Interpreter& interpreter, const Value& self, Arguments& arguments, bool last) {
  const Parameters parameters("find", arguments, {"sub", "start", "end"});
  const std::string& what = text_argument(parameters, 0);
  const Part part =
      part_of(interpreter.heap(), self, parameters.get(1, Value::none()), parameters.get(2, Value::none()));
  if (!part.valid) return -1;
  interpreter.heap().spend_on(self.text().size());
  const std::string_view text = std::string_view(self.text()).substr(part.begin, part.end - part.begin);
  const std::size_t at = last ? find_last_text(text, what) : find_text(text, what);
  if (at == std::string_view::npos) return -1;
  return static_cast<Integer>(count_characters(std::string_view(self.text()).substr(0, part.begin + at)));
}
Value find(Interpreter& i, const Value& s, Arguments& a) { return Value::integer(find_place(i, s, a, false)); }
Value rfind(Interpreter& i, const Value& s, Arguments& a) { return Value::integer(find_place(i, s, a, true)); }
Value index_of(Interpreter& i, const Value& s, Arguments& a, bool last) {
  const Integer at = find_place(i, s, a, last);
  if (at < 0) fail("substring not found");
  return Value::integer(at);
}
Value index(Interpreter& i, const Value& s, Arguments& a) { return index_of(i, s, a, false); }
Value rindex(Interpreter& i, const Value& s, Arguments& a) { return index_of(i, s, a, true); }

Value count(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("count", arguments, {"sub", "start", "end"});
  const std::string& what = text_argument(parameters, 0);
  const Part part =
      part_of(interpreter.heap(), self, parameters.get(1, Value::none()), parameters.get(2, Value::none()));
  interpreter.heap().spend_on(4 * self.text().size());
  const std::string_view text = std::string_view(self.text()).substr(part.begin, part.end - part.begin);
  if (what.empty()) return Value::integer(part.valid ? static_cast<Integer>(count_characters(text)) + 1 : 0);
  Integer found = 0;
  for (std::size_t at = find_text(text, what); at != std::string_view::npos;
       at = find_text(text, what, at + what.size())) {
    ++found;
  }
  return Value::integer(found);
}

Value replace(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"});
  Heap& heap = interpreter.heap();
  text_argument(parameters, 0);
  text_argument(parameters, 1);
  const std::string old = inserted_text(self, parameters.at(0));
  const std::string with = inserted_text(self, parameters.at(1));
  Integer most = parameters.integer(2, -1);
  const std::string_view text = self.text();
  heap.spend_on(4 * text.size());
  std::string out;
  std::size_t begin = 0;
  if (old.empty()) {  // between all characters, and at both ends
    while (most != 0) {
      out += with;
      --most;
      heap.require(out.size());
      if (begin >= text.size()) break;
      std::size_t next = begin;
      next_character(text, next);
      out += text.substr(begin, next - begin);
      begin = next;
    }
  } else {
    for (std::size_t at = find_text(text, old); at != std::string_view::npos && most != 0;
         at = find_text(text, old, begin)) {
      out += text.substr(begin, at - begin);
      out += with;
      heap.require(out.size());
      begin = at + old.size();
      --most;
    }
  }
  if (begin < text.size()) out += text.substr(begin);
  return same_kind(interpreter, self, std::move(out));
}

Value remove_affix(Interpreter& interpreter, const Value& self, Arguments& arguments, bool prefix) {
  const Parameters parameters(prefix ? "removeprefix" : "removesuffix", arguments, {"affix"});
  const std::string& affix = text_argument(parameters, 0);
  std::string text = self.text();
  if (prefix && text.starts_with(affix)) text.erase(0, affix.size());
  if (!prefix && text.ends_with(affix)) text.resize(text.size() - affix.size());
  return same_kind(interpreter, self, std::move(text));
}
Value removeprefix(Interpreter& i, const Value& s, Arguments& a) { return remove_affix(i, s, a, true); }
Value removesuffix(Interpreter& i, const Value& s, Arguments& a) { return remove_affix(i, s, a, false); }

Value join(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("join", arguments, {"iterable"});
  Heap& heap = interpreter.heap();
  if (parameters.at(0).is_undefined()) return same_kind(interpreter, self, "");
  std::string out;
  Integer at = 0;
  for_each(heap, parameters.at(0), [&](const Value& item) {
    if (!item.is_string()) {
      if (item.is_undefined()) fail(item.why_undefined());
      fail("sequence item " + decimal(at) + ": expected str instance, " + type_name(item) + " found");
    }
    if (at++ > 0) out += self.text();
    out += inserted_text(self, item);
    heap.spend_on(self.text().size() + item.text().size());
    heap.require(out.size());
    return true;
  });
  return same_kind(interpreter, self, std::move(out));
}

// ---- padding ----

std::string padding(Heap& heap, const Parameters& parameters, Integer missing) {
  std::string fill = " ";
  if (parameters.has(1)) {
    fill = text_argument(parameters, 1);
    if (count_characters(fill) != 1) fail("The fill character must be exactly one character long");
  }
  if (missing <= 0) return {};
  if (missing > Integer(heap.bytes_left() / fill.size())) fail_limit("it needs more memory than a template may");
  heap.spend_on(static_cast<std::size_t>(missing) * fill.size());
  std::string out;
  for (Integer i = 0; i < missing; ++i) out += fill;
  return out;
}

Value padded(Interpreter& interpreter, const Value& self, Arguments& arguments, bool left, bool right) {
  const Parameters parameters("just", arguments, {"width", "fillchar"});
  const Integer width = parameters.required_integer(0);
  const auto length = static_cast<Integer>(self.as<StringObject>().characters());
  const Integer missing = std::max<Integer>(0, width - length);
  // CPython's rule for the odd one.
  const Integer before = !left ? 0 : !right ? missing : missing / 2 + (missing & width & 1);
  Heap& heap = interpreter.heap();
  return same_kind(interpreter, self,
                   padding(heap, parameters, before) + self.text() + padding(heap, parameters, missing - before));
}
Value center(Interpreter& i, const Value& s, Arguments& a) { return padded(i, s, a, true, true); }
Value ljust(Interpreter& i, const Value& s, Arguments& a) { return padded(i, s, a, false, true); }
Value rjust(Interpreter& i, const Value& s, Arguments& a) { return padded(i, s, a, true, false); }

Value zfill(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("zfill", arguments, {"width"});
  const Integer missing = parameters.required_integer(0) - static_cast<Integer>(self.as<StringObject>().characters());
  if (missing > Integer(interpreter.heap().bytes_left())) fail_limit("it needs more memory than a template may");
  const std::string& text = self.text();
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const std::string zeros(static_cast<std::size_t>(std::max<Integer>(0, missing)), '0');
  return same_kind(interpreter, self, text.substr(0, sign) + zeros + text.substr(sign));
}

Value expandtabs(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("expandtabs", arguments, {"tabsize"});
  const Integer size = std::min<Integer>(parameters.integer(0, 8), 1 << 20);
  std::string out;
  Integer column = 0;
  for (const char c : self.text()) {
    if (c == '\t') {
      const Integer blanks = size > 0 ? size - column % size : 0;
      out.append(static_cast<std::size_t>(blanks), ' ');
      interpreter.heap().require(out.size());
      column += blanks;
      continue;
    }
    out += c;
    column = c == '\n' || c == '\r' ? 0 : column + ((static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0);
  }
  return same_kind(interpreter, self, std::move(out));
}

Value format(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return same_kind(interpreter, self, brace_format(interpreter, self.text(), arguments));
}

Value format_map(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("format_map", arguments, {"mapping"});
  if (!parameters.at(0).is(Kind::Dict)) fail("format_map() needs a mapping");
  Arguments named;
  for (const auto& [key, value] : parameters.at(0).dict().entries) {
    if (key.is_string()) named.keyword.emplace_back(key.text(), value);
  }
  return format(interpreter, self, named);
}

// ---- what it consists of ----

template <bool (*kTest)(char32_t)>
Value all_are(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("str", arguments, {});
  interpreter.heap().spend_on(8 * self.text().size());
  const std::string& text = self.text();
  bool all = !text.empty() || kTest == is_printable;
  for (std::size_t position = 0; position < text.size() && all;) all = kTest(next_character(text, position));
  return Value::boolean(all);
}

bool is_ascii(char32_t c) { return c < 0x80; }
Value isascii(Interpreter& i, const Value& s, Arguments& a) {
  return s.text().empty() ? Value::boolean(true) : all_are<is_ascii>(i, s, a);
}

Value isidentifier(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  Arguments none;
  const bool starts_with_digit = !self.text().empty() && self.text()[0] >= '0' && self.text()[0] <= '9';
  return Value::boolean(!starts_with_digit && is_true(all_are<is_word>(interpreter, self, arguments)));
}

// Cased characters, all of them of the one case.
Value one_case(Interpreter& interpreter, const Value& self, Arguments& arguments, bool lower) {
  const Parameters parameters("str", arguments, {});
  interpreter.heap().spend_on(8 * self.text().size());
  bool any = false;
  for (std::size_t position = 0; position < self.text().size();) {
    const char32_t c = next_character(self.text(), position);
    if (lower ? is_upper(c) || is_title(c) : is_lower(c) || is_title(c)) return Value::boolean(false);
    any = any || (lower ? is_lower(c) : is_upper(c));
  }
  return Value::boolean(any);
}
Value islower(Interpreter& i, const Value& s, Arguments& a) { return one_case(i, s, a, true); }
Value isupper(Interpreter& i, const Value& s, Arguments& a) { return one_case(i, s, a, false); }

Value istitle(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Parameters parameters("istitle", arguments, {});
  interpreter.heap().spend_on(8 * self.text().size());
  bool any = false;
  bool inside = false;
  for (std::size_t position = 0; position < self.text().size();) {
    const char32_t c = next_character(self.text(), position);
    if (is_upper(c) || is_title(c)) {
      if (inside) return Value::boolean(false);
      inside = any = true;
    } else if (is_lower(c)) {
      if (!inside) return Value::boolean(false);
    } else {
      inside = false;
    }
  }
  return Value::boolean(any);
}

constexpr std::pair<std::string_view, Method> kMethods[] = {
    {"capitalize", changed<capitalized>},
    {"casefold", changed<folded>},
    {"center", center},
    {"count", count},
    {"endswith", endswith},
    {"expandtabs", expandtabs},
    {"find", find},
    {"format", format},
    {"format_map", format_map},
    {"index", index},
    {"isalnum", all_are<is_alnum>},
    {"isalpha", all_are<is_alpha>},
    {"isascii", isascii},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_digit>},
    {"isidentifier", isidentifier},
    {"islower", islower},
    {"isnumeric", all_are<is_numeric>},
    {"isprintable", all_are<is_printable>},
    {"isspace", all_are<is_space>},
    {"istitle", istitle},
    {"isupper", isupper},
    {"join", join},
    {"ljust", ljust},
    {"lower", changed<to_lower>},
    {"lstrip", lstrip},
    {"partition", partition},
    {"removeprefix", removeprefix},
    {"removesuffix", removesuffix},
    {"replace", replace},
    {"rfind", rfind},
    {"rindex", rindex},
    {"rjust", rjust},
    {"rpartition", rpartition},
    {"rsplit", rsplit},
    {"rstrip", rstrip},
    {"split", split},
    {"splitlines", splitlines},
    {"startswith", startswith},
    {"strip", strip},
    {"swapcase", changed<swapped_case>},
    {"title", changed<to_title>},
    {"upper", changed<to_upper>},
    {"zfill", zfill},
};

}  // namespace

bool find_string_method(Interpreter& interpreter, const Value& value, std::string_view name, Value& out) {
  const auto* const at =
      std::lower_bound(std::begin(kMethods), std::end(kMethods), name,
                       [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  if (at == std::end(kMethods) || at->first != name) return false;
  const Method method = at->second;
  out = interpreter.heap().function(std::string(name),
                                    [value, method](Interpreter& i, Arguments& a) { return method(i, value, a); });
  return true;
}

}  // namespace loadline::chat::jinja

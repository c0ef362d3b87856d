// "%s" % values, and "{}".format(values).
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

constexpr int kMostPrecision = 500;

std::string in_base(Integer number, int base, bool upper) {
  const std::string_view digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  const bool negative = number < 0;
  __extension__ using Unsigned = unsigned __int128;
  Unsigned rest = negative ? Unsigned(0) - static_cast<Unsigned>(number) : static_cast<Unsigned>(number);
  std::string out;
  do {
    out.insert(out.begin(), digits[static_cast<std::size_t>(rest % static_cast<Unsigned>(base))]);
    rest /= static_cast<Unsigned>(base);
  } while (rest > 0);
  return negative ? "-" + out : out;
}

// printf's e, f and g, as Python spells infinities.
std::string real_text(double number, char type, int precision, bool alternative) {
  if (!std::isfinite(number)) {
    std::string text = std::isnan(number) ? "nan" : number < 0 ? "-inf" : "inf";
    if (type >= 'A' && type <= 'Z') text = to_upper(text);
    return text;
  }
  const std::string format = std::string("%") + (alternative ? "#" : "") + ".*" + type;
  std::array<char, 1024> buffer{};
  const int written = std::snprintf(buffer.data(), buffer.size(), format.c_str(), precision, number);
  return {buffer.data(), static_cast<std::size_t>(std::min<int>(written, buffer.size() - 1))};
}

struct Spec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool alternative = false;
  bool zero = false;
  Integer width = 0;
  char grouping = '\0';
  int precision = -1;
  char type = '\0';
};

std::string aligned(Heap& heap, const std::string& sign, const std::string& body, const Spec& spec, char fallback) {
  const auto length = static_cast<Integer>(count_characters(sign) + count_characters(body));
  const Integer missing = std::max<Integer>(0, spec.width - length);
  if (missing == 0) return sign + body;
  if (missing > Integer(heap.bytes_left() / 4)) fail_limit("it needs more memory than a template may");
  const char align = spec.align != '\0' ? spec.align : fallback;
  const auto fill = [&](Integer count) {
    std::string out;
    for (Integer i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  heap.spend_on(static_cast<std::size_t>(missing));
  if (align == '=') return sign + fill(missing) + body;
  if (align == '<') return sign + body + fill(missing);
  if (align == '^') return fill(missing / 2) + sign + body + fill(missing - missing / 2);
  return fill(missing) + sign + body;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  std::size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!text.empty()) {
    std::size_t next = 0;
    next_character(text, next);
    if (next < text.size() && is_align(text[next])) {
      spec.fill = text.substr(0, next);
      spec.align = text[next];
      at = next + 1;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  const auto peek = [&] { return at < text.size() ? text[at] : '\0'; };
  if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = text[at++];
  if (peek() == '#') {
    spec.alternative = true;
    ++at;
  }
  if (peek() == '0') {
    ++at;
    spec.zero = true;
    if (spec.align == '\0') {
      spec.align = '=';
      spec.fill = "0";
    }
  }
  const auto number = [&] {
    Integer value = 0;
    while (peek() >= '0' && peek() <= '9') value = std::min<Integer>(value * 10 + (text[at++] - '0'), Integer(1) << 40);
    return value;
  };
  spec.width = number();
  if (peek() == ',' || peek() == '_') spec.grouping = text[at++];
  if (peek() == '.') {
    ++at;
    if (peek() < '0' || peek() > '9') fail("Format specifier missing precision");
    spec.precision = static_cast<int>(std::min<Integer>(number(), 1 << 30));
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) fail("Invalid format specifier");
  return spec;
}

std::string grouped_digits(std::string digits, char separator, std::size_t each) {
  const std::size_t point = std::min(digits.find_first_of(".e"), digits.size());
  for (std::size_t at = point; at > each;) {
    at -= each;
    digits.insert(at, 1, separator);
  }
  return digits;
}

std::string format_number(Heap& heap, const Value& value, const Spec& spec) {
  std::string body;
  const char type = spec.type;
  const bool integral = value.is_integral() && std::string_view("eEfFgG%").find(type) == std::string_view::npos;
  if (integral || type == 'd' || type == 'x' || type == 'X' || type == 'o' || type == 'b' || type == 'c') {
    if (!value.is_integral()) fail(std::string("Unknown format code '") + type + "' for object of type 'float'");
    const Integer number = value.as_integer();
    const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    if (type == 'c') {
      append_character(body, number >= 0 && number <= 0x10FFFF ? static_cast<char32_t>(number) : 0xFFFD);
      return aligned(heap, "", body, spec, '<');
    }
    body = in_base(number, base, type == 'X');
    std::string sign;
    if (body.starts_with('-')) {
      sign = "-";
      body.erase(0, 1);
    } else if (spec.sign != '-') {
      sign = std::string(1, spec.sign);
    }
    if (spec.grouping != '\0') body = grouped_digits(body, spec.grouping, base == 10 ? 3 : 4);
    if (spec.alternative && base != 10) sign += base == 16 ? (type == 'X' ? "0X" : "0x") : base == 8 ? "0o" : "0b";
    return aligned(heap, sign, body, spec, '>');
  }
  double number = value.as_real();
  if (type == '%') number *= 100;
  const int precision = std::min(spec.precision < 0 ? 6 : spec.precision, kMostPrecision);
  if (type == '\0' && spec.precision < 0) {
    body = repr_of(number);
  } else if (type == '\0') {
    body = real_text(number, 'g', std::max(precision, 1), spec.alternative);
    if (body.find_first_of(".en") == std::string::npos) body += ".0";
  } else {
    body = real_text(number, type == '%' ? 'f' : type == 'n' ? 'g' : type, precision, spec.alternative);
  }
  if (type == '%') body += '%';
  std::string sign;
  if (body.starts_with('-')) {
    sign = "-";
    body.erase(0, 1);
  } else if (spec.sign != '-') {
    sign = std::string(1, spec.sign);
  }
  if (spec.grouping != '\0') body = grouped_digits(body, spec.grouping, 3);
  return aligned(heap, sign, body, spec, '>');
}

// ---- % ----

class PercentFormat {
 public:
  PercentFormat(Interpreter& interpreter, std::string_view format, const Value& values)
      : interpreter_(interpreter), format_(format), values_(values) {}

  std::string run() {
    std::string out;
    while (at_ < format_.size()) {
      const std::size_t percent = std::min(format_.find('%', at_), format_.size());
      out += format_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ >= format_.size()) break;
      ++at_;
      append_conversion(out);
      interpreter_.heap().spend();
      interpreter_.heap().require(out.size());
    }
    const bool mapping = values_.is(Kind::Dict);
    const std::size_t given = values_.is(Kind::Tuple) ? values_.items().size() : 1;
    if (!mapping && !by_name_ && used_ < given && !(values_.is(Kind::List) && used_ == 0 && given == 0)) {
      fail("not all arguments converted during string formatting");
    }
    return out;
  }

 private:
  [[nodiscard]] char peek() const { return at_ < format_.size() ? format_[at_] : '\0'; }

  Value next_value() {
    if (!values_.is(Kind::Tuple)) {
      if (used_++ > 0) fail("not enough arguments for format string");
      return values_;
    }
    if (used_ >= values_.items().size()) fail("not enough arguments for format string");
    return values_.items()[used_++];
  }

  Integer number() {
    if (peek() == '*') {
      ++at_;
      const Value value = next_value();
      if (!value.is_integral()) fail("* wants int");
      return std::clamp<Integer>(value.as_integer(), -(Integer(1) << 40), Integer(1) << 40);
    }
    Integer value = 0;
    while (peek() >= '0' && peek() <= '9')
      value = std::min<Integer>(value * 10 + (format_[at_++] - '0'), Integer(1) << 40);
    return value;
  }

  void append_conversion(std::string& out) {
    Value value;
    bool has_value = false;
    if (peek() == '(') {
      const std::size_t close = format_.find(')', at_);
      if (close == std::string_view::npos) fail("incomplete format key");
      if (!values_.is(Kind::Dict)) fail("format requires a mapping");
      const std::string_view key = format_.substr(at_ + 1, close - at_ - 1);
      const Value* found = values_.dict().find(key);
      if (found == nullptr) fail("KeyError: " + repr_of(key));
      value = *found;
      has_value = by_name_ = true;
      at_ = close + 1;
    }
    Spec spec;
    bool left = false;
    for (;; ++at_) {
      const char c = peek();
      if (c == '-') {
        left = true;
      } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
        spec.sign = c;
      } else if (c == '#') {
        spec.alternative = true;
      } else if (c == '0') {
        spec.zero = true;
      } else if (c != ' ') {
        break;
      }
    }
    spec.width = number();
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = static_cast<int>(std::clamp<Integer>(number(), 0, 1 << 30));
    }
    while (peek() == 'h' || peek() == 'l' || peek() == 'L') ++at_;
    spec.type = peek();
    if (spec.type == '\0') fail("incomplete format");
    ++at_;
    if (spec.type == '%') {
      out += '%';
      return;
    }
    if (!has_value) value = next_value();
    spec.align = left ? '<' : '\0';
    out += converted(value, spec);
  }

  std::string converted(const Value& value, Spec spec) {
    Heap& heap = interpreter_.heap();
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a': {
        std::string text = spec.type == 's' ? interpreter_.text_of(value) : repr_of(heap, value);
        if (spec.precision >= 0) text.resize(offset_of(text, static_cast<std::size_t>(spec.precision)));
        return aligned(heap, "", text, spec, '>');
      }
      case 'c': {
        std::string text;
        if (value.is_integral() && value.as_integer() >= 0 && value.as_integer() <= 0x10FFFF) {
          append_character(text, static_cast<char32_t>(value.as_integer()));
        } else if (value.is_string() && count_characters(value.text()) == 1) {
          text = value.text();
        } else {
          fail("%c requires int or char");
        }
        return aligned(heap, "", text, spec, '>');
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': return converted_integer(value, spec);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G': break;
      default: fail("unsupported format character '" + std::string(1, spec.type) + "'");
    }
    if (!value.is_number()) fail("must be real number, not " + type_name(value));
    if (spec.zero && spec.align == '\0') {
      spec.align = '=';
      spec.fill = "0";
    }
    return format_number(heap, Value::real(value.as_real()), spec);
  }

  std::string converted_integer(const Value& value, Spec spec) {
    const bool decimal_type = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    if (!value.is_number() || (!decimal_type && !value.is_integral())) {
      fail("%" + std::string(1, spec.type) + " format: a real number is required, not " + type_name(value));
    }
    if (!value.is_integral() && !(std::abs(value.as_real()) < 0x1p126)) fail("cannot convert float to integer");
    const Integer number = value.is_integral() ? value.as_integer() : static_cast<Integer>(value.as_real());
    if (decimal_type) spec.type = 'd';
    if (spec.precision > static_cast<int>(interpreter_.heap().bytes_left() / 4)) {
      fail_limit("it needs more memory than a template may");
    }
    std::string digits = in_base(number, spec.type == 'd' ? 10 : spec.type == 'o' ? 8 : 16, spec.type == 'X');
    std::string sign = digits.starts_with('-') ? "-" : spec.sign != '-' ? std::string(1, spec.sign) : "";
    if (digits.starts_with('-')) digits.erase(0, 1);
    if (spec.precision > static_cast<int>(digits.size())) {
      digits.insert(0, static_cast<std::size_t>(spec.precision) - digits.size(), '0');
    }
    if (spec.alternative && spec.type != 'd') sign += spec.type == 'o' ? "0o" : spec.type == 'x' ? "0x" : "0X";
    if (spec.zero && spec.align == '\0') {
      spec.align = '=';
      spec.fill = "0";
    }
    return aligned(interpreter_.heap(), sign, digits, spec, '>');
  }

  Interpreter& interpreter_;
  std::string_view format_;
  const Value& values_;
  std::size_t at_ = 0;
  std::size_t used_ = 0;
  bool by_name_ = false;
};

// ---- {} ----

class BraceFormat {
 public:
  BraceFormat(Interpreter& interpreter, const Arguments& arguments)
      : interpreter_(interpreter), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) fail("Max string recursion exceeded");
    std::string out;
    for (std::size_t at = 0; at < format.size();) {
      const char c = format[at];
      interpreter_.heap().spend_on(1);
      if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        fail("Single '}' encountered in format string");
      } else if (c == '{') {
        const std::size_t end = field_end(format, at);
        append_field(out, format.substr(at + 1, end - at - 1), depth);
        at = end + 1;
      } else {
        out += c;
        ++at;
      }
      interpreter_.heap().require(out.size());
    }
    return out;
  }

 private:
  static std::size_t field_end(std::string_view format, std::size_t open) {
    int depth = 0;
    for (std::size_t at = open; at < format.size(); ++at) {
      if (format[at] == '{') ++depth;
      if (format[at] == '}' && --depth == 0) return at;
    }
    fail("expected '}' before end of string");
  }

  void append_field(std::string& out, std::string_view field, int depth) {
    // The name goes up to ! or :, which inside brackets are part of it.
    std::size_t end = 0;
    bool bracket = false;
    while (end < field.size() && (bracket || (field[end] != '!' && field[end] != ':'))) {
      if (field[end] == '[') bracket = true;
      if (field[end] == ']') bracket = false;
      ++end;
    }
    Value value = look_up(field.substr(0, end));
    std::string_view rest = field.substr(end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2) fail("end of string while looking for conversion specifier");
      const char conversion = rest[1];
      if (conversion != 's' && conversion != 'r' && conversion != 'a') fail("Unknown conversion specifier");
      value =
          interpreter_.string(conversion == 's' ? interpreter_.text_of(value) : repr_of(interpreter_.heap(), value));
      rest.remove_prefix(2);
      if (!rest.empty() && !rest.starts_with(':')) fail("expected ':' after conversion specifier");
    }
    const std::string spec = rest.empty() ? "" : run(rest.substr(1), depth + 1);
    out += format_value(interpreter_, value, spec);
  }

  Value look_up(std::string_view name) {
    const std::size_t first_end = std::min(name.find_first_of(".["), name.size());
    const std::string_view first = name.substr(0, first_end);
    Value value = first_value(first);
    for (std::size_t at = first_end; at < name.size();) {
      if (name[at] == '.') {
        const std::size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        if (end == at + 1) fail("Empty attribute in format string");
        value = interpreter_.get_attribute(value, name.substr(at + 1, end - at - 1));
        at = end;
      } else if (name[at] == '[') {
        const std::size_t close = name.find(']', at);
        if (close == std::string_view::npos) fail("Missing ']' in format string");
        const std::string_view key = name.substr(at + 1, close - at - 1);
        const bool digits = !key.empty() && key.find_first_not_of("0123456789") == std::string_view::npos;
        const auto number = digits ? parse_integer(key) : std::nullopt;
        value = interpreter_.get_item(value, number ? Value::integer(*number) : interpreter_.string(std::string(key)));
        at = close + 1;
      } else {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value first_value(std::string_view name) {
    std::optional<Integer> number;
    if (name.empty()) {
      number = next_++;
    } else if (name.find_first_not_of("0123456789") == std::string_view::npos) {
      number = parse_integer(name);
    }
    if (number) {
      if (*number >= static_cast<Integer>(arguments_.positional.size())) {
        fail("Replacement index " + decimal(*number) + " out of range for positional args tuple");
      }
      return arguments_.positional[static_cast<std::size_t>(*number)];
    }
    for (const auto& [key, value] : arguments_.keyword) {
      if (key == name) return value;
    }
    fail("KeyError: " + repr_of(name));
  }

  Interpreter& interpreter_;
  const Arguments& arguments_;
  Integer next_ = 0;
};

}  // namespace

std::string percent_format(Interpreter& interpreter, std::string_view format, const Value& arguments) {
  return PercentFormat(interpreter, format, arguments).run();
}

std::string brace_format(Interpreter& interpreter, std::string_view format, const Arguments& arguments) {
  return BraceFormat(interpreter, arguments).run(format, 0);
}

std::string format_value(Interpreter& interpreter, const Value& value, std::string_view specification) {
  if (specification.empty()) return interpreter.text_of(value);
  if (value.is_undefined()) fail(value.why_undefined());
  const Spec spec = parse_spec(specification);
  Heap& heap = interpreter.heap();
  if (value.is_number()) return format_number(heap, value, spec);
  if (value.is_string()) {
    if (spec.type != '\0' && spec.type != 's') {
      fail("Unknown format code '" + std::string(1, spec.type) + "' for object of type 'str'");
    }
    std::string text = interpreter.text_of(value);
    if (spec.precision >= 0) text.resize(offset_of(text, static_cast<std::size_t>(spec.precision)));
    Spec plain = spec;
    if (plain.align == '=') plain.align = '<';
    return aligned(heap, "", text, plain, '<');
  }
  fail("unsupported format string passed to " + type_name(value) + ".__format__");
}

}  // namespace loadline::chat::jinja

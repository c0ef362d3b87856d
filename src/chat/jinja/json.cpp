#include "chat/jinja/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

class Reader {
 public:
  Reader(Heap& heap, std::string_view text) : heap_(heap), text_(text) {}

  Value read() {
    Value value = read_value();
    skip_blanks();
    if (at_ < text_.size()) refuse("there is more after the value");
    return value;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail("not JSON: " + std::string(what) + " (byte " + std::to_string(at_ + 1) + ")");
  }

  void skip_blanks() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool take_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  Value read_value() {
    heap_.spend();
    skip_blanks();
    if (at_ >= text_.size()) refuse("it ends where a value should be");
    const Depth deeper(depth_);
    switch (text_[at_]) {
      case '{': return read_object();
      case '[': return read_array();
      case '"': return heap_.string(read_string());
      default: break;
    }
    if (take_word("null")) return Value::none();
    if (take_word("true")) return Value::boolean(true);
    if (take_word("false")) return Value::boolean(false);
    return read_number();
  }

  Value read_object() {
    ++at_;
    Value out = heap_.dict();
    if (take('}')) return out;
    while (true) {
      skip_blanks();
      if (at_ >= text_.size() || text_[at_] != '"') refuse("a key in double quotes is expected");
      std::string key = read_string();
      if (!take(':')) refuse("a colon is expected");
      Value value = read_value();
      out.dict().set(key, std::move(value));
      if (take('}')) return out;
      if (!take(',')) refuse("a comma or } is expected");
    }
  }

  Value read_array() {
    ++at_;
    std::vector<Value> items;
    if (take(']')) return heap_.list({});
    while (true) {
      heap_.require((items.size() + 1) * sizeof(Value));
      items.push_back(read_value());
      if (take(']')) return heap_.list(std::move(items));
      if (!take(',')) refuse("a comma or ] is expected");
    }
  }

  std::uint32_t read_hex() {
    std::uint32_t unit = 0;
    const char* begin = text_.data() + at_;
    const auto [end, problem] = std::from_chars(begin, text_.data() + std::min(text_.size(), at_ + 4), unit, 16);
    if (problem != std::errc() || end != begin + 4) refuse("four hexadecimal digits are expected");
    at_ += 4;
    return unit;
  }

  void read_escape(std::string& out) {
    if (at_ >= text_.size()) refuse("the string does not end");
    const char c = text_[at_++];
    switch (c) {
      case '"':
      case '\\':
      case '/': out += c; return;
      case 'b': out += '\b'; return;
      case 'f': out += '\f'; return;
      case 'n': out += '\n'; return;
      case 'r': out += '\r'; return;
      case 't': out += '\t'; return;
      case 'u': break;
      default: refuse("there is no such escape");
    }
    char32_t unit = read_hex();
    if (unit >= 0xD800 && unit < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
      const std::size_t before = at_;
      at_ += 2;
      const std::uint32_t low = read_hex();
      if (low >= 0xDC00 && low < 0xE000) {
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
      } else {
        at_ = before;
      }
    }
    append_character(out, unit >= 0xD800 && unit < 0xE000 ? 0xFFFD : unit);
  }

  std::string read_string() {
    ++at_;
    std::string out;
    while (true) {
      if (at_ >= text_.size()) refuse("the string does not end");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c == '\\') {
        ++at_;
        read_escape(out);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        refuse("there is a control character in a string");
      } else {
        const std::size_t length = utf8_length(text_.substr(at_, 4));
        if (length == 0) refuse("the text is not UTF-8");
        out += text_.substr(at_, length);
        at_ += length;
      }
    }
  }

  std::size_t count_digits(std::size_t from) const {
    std::size_t end = from;
    while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
    return end - from;
  }

  Value read_number() {
    std::size_t end = at_ + (text_[at_] == '-' ? 1 : 0);
    const std::size_t whole = count_digits(end);
    if (whole == 0) refuse("a value is expected");
    if (whole > 1 && text_[end] == '0') refuse("a number does not begin with 0");
    end += whole;
    bool real = false;
    if (end < text_.size() && text_[end] == '.') {
      const std::size_t digits = count_digits(end + 1);
      if (digits == 0) refuse("there is no digit after the point");
      end += 1 + digits;
      real = true;
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const std::size_t sign = end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-') ? 1 : 0;
      const std::size_t digits = count_digits(end + 1 + sign);
      if (digits == 0) refuse("there is no digit in the exponent");
      end += 1 + sign + digits;
      real = true;
    }
    const std::string_view text = text_.substr(at_, end - at_);
    at_ = end;
    if (real) {
      double number = 0;
      const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (problem == std::errc::result_out_of_range) number = std::strtod(std::string(text).c_str(), nullptr);
      return Value::real(number);
    }
    const auto number = parse_integer(text);
    if (!number) refuse("a number is too large");
    return Value::integer(*number);
  }

  Heap& heap_;
  std::string_view text_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

class Writer {
 public:
  Writer(Heap& heap, std::string& out, const JsonStyle& style) : heap_(heap), out_(out), style_(style) {}

  void append(const Value& value) {
    heap_.spend();
    heap_.require(out_.size());
    switch (value.kind()) {
      case Kind::None: out_ += "null"; return;
      case Kind::Bool: out_ += value.as_bool() ? "true" : "false"; return;
      case Kind::Int: out_ += decimal(value.as_integer()); return;
      case Kind::Float: append_real(value.as_real()); return;
      case Kind::String:
        heap_.spend_on(value.text().size());
        append_json_string(out_, value.text(), style_.ascii);
        return;
      default: break;
    }
    const Depth deeper(depth_);
    if (value.is_sequence()) {
      append_items(value.items());
    } else if (value.is(Kind::Dict)) {
      append_dict(value.dict());
    } else {
      fail("Object of type " + type_name(value) + " is not JSON serializable");
    }
  }

 private:
  void append_real(double number) {
    if (std::isnan(number)) {
      out_ += "NaN";
    } else if (std::isinf(number)) {
      out_ += number < 0 ? "-Infinity" : "Infinity";
    } else {
      out_ += repr_of(number);
    }
  }

  void new_line(int level) {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += *style_.indent;
    heap_.spend_on(style_.indent->size() * static_cast<std::size_t>(level));
  }

  void append_items(const std::vector<Value>& items) {
    out_ += '[';
    ++level_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(level_);
      append(items[i]);
    }
    --level_;
    if (!items.empty()) new_line(level_);
    out_ += ']';
  }

  void append_key(const Value& key) {
    if (key.is_string()) {
      append_json_string(out_, key.text(), style_.ascii);
    } else if (key.is_number() || key.is_none()) {
      out_ += '"';
      append(key);
      out_ += '"';
    } else {
      fail("keys must be str, int, float, bool or None, not " + type_name(key));
    }
  }

  void append_dict(const DictObject& dict) {
    std::vector<const DictObject::Entry*> entries;
    entries.reserve(dict.entries.size());
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      sort_by(heap_, entries, [](const DictObject::Entry* entry) -> const Value& { return entry->first; }, false);
    }
    out_ += '{';
    ++level_;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line(level_);
      append_key(entries[i]->first);
      out_ += style_.key_separator;
      append(entries[i]->second);
    }
    --level_;
    if (!entries.empty()) new_line(level_);
    out_ += '}';
  }

  Heap& heap_;
  std::string& out_;
  const JsonStyle& style_;
  int level_ = 0;
  int depth_ = 0;
};

void append_unit(std::string& out, char32_t unit) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kHex[unit >> shift & 0xF];
}

}  // namespace

Value parse_json(Heap& heap, std::string_view text) {
  heap.spend_on(text.size());
  return Reader(heap, text).read();
}

void append_json(Heap& heap, std::string& out, const Value& value, const JsonStyle& style) {
  Writer(heap, out, style).append(value);
}

std::string json_of(Heap& heap, const Value& value) {
  std::string out;
  append_json(heap, out, value);
  return out;
}

void append_json_string(std::string& out, std::string_view text, bool ascii) {
  out += '"';
  for (std::size_t position = 0; position < text.size();) {
    const std::size_t begin = position;
    const char32_t c = next_character(text, position);
    if (c == U'"' || c == U'\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c == U'\r') {
      out += "\\r";
    } else if (c == U'\t') {
      out += "\\t";
    } else if (c == U'\b') {
      out += "\\b";
    } else if (c == U'\f') {
      out += "\\f";
    } else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000)) {
      append_unit(out, c);
    } else if (ascii && c >= 0x10000) {
      append_unit(out, 0xD800 + ((c - 0x10000) >> 10));
      append_unit(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    } else if (c == 0xFFFD) {
      append_character(out, c);  // also for bytes that are no UTF-8
    } else {
      out += text.substr(begin, position - begin);
    }
  }
  out += '"';
}

}  // namespace loadline::chat::jinja

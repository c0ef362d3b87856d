#include "chat/python_literal.h"

#include <array>
#include <optional>
#include <utility>

#include "chat/jinja/unicode.h"

namespace loadline::chat {
namespace {

constexpr int kMostPythonNesting = 100;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

struct Brackets {
  char json_open;
  char json_close;
  char close;  // in the text
  bool comma_may_end;
};

// What stands between brackets, the opening one at `at`, with commas between items, each read and appended by `one`.
template <typename One>
Scan read_items(std::string_view text, std::size_t& at, const Brackets& brackets, std::string& json, const One& one) {
  ++at;
  json += brackets.json_open;
  bool first = true;
  while (true) {
    at = skip_json_blanks(text, at);
    if (at >= text.size()) return Scan::Unfinished;
    if (text[at] == brackets.close) break;
    if (!first) {
      if (text[at] != ',') return Scan::Invalid;
      ++at;
      if (brackets.comma_may_end) {
        at = skip_json_blanks(text, at);
        if (at >= text.size()) return Scan::Unfinished;
        if (text[at] == brackets.close) break;
      }
      json += ", ";
    }
    first = false;
    const Scan scan = one(json);
    if (scan != Scan::Complete) return scan;
  }
  ++at;
  json += brackets.json_close;
  return Scan::Complete;
}

class PythonReader {
 public:
  PythonReader(std::string_view text, std::size_t& at, bool final) : text_(text), at_(at), final_(final) {}

  Scan value(std::string& json, int depth = 0) {
    at_ = skip_json_blanks(text_, at_);
    if (at_ >= text_.size()) return Scan::Unfinished;
    if (depth > kMostPythonNesting) return Scan::Invalid;
    const char c = text_[at_];
    if (c == '"' || c == '\'') return string(json);
    if (c == '[') return list(json, ']', depth);
    if (c == '(') return list(json, ')', depth);
    if (c == '{') return dict(json, depth);
    if (c == '-' || c == '+' || (c >= '0' && c <= '9') || c == '.') return number(json);
    return word(json);
  }

  // Characters of a name, which something else must follow.
  Scan name(std::string& out) {
    const std::size_t begin = at_;
    std::size_t end = begin;
    while (end < text_.size() && is_name_character(text_[end])) ++end;
    if (end == begin) return begin >= text_.size() ? Scan::Unfinished : Scan::Invalid;
    out = text_.substr(begin, end - begin);
    at_ = end;
    return end < text_.size() ? Scan::Complete : Scan::Unfinished;
  }

 private:
  Scan word(std::string& json) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kWords = {{{"True", "true"},
                                                                                             {"False", "false"},
                                                                                             {"None", "null"},
                                                                                             {"true", "true"},
                                                                                             {"false", "false"},
                                                                                             {"null", "null"}}};
    const std::string_view rest = text_.substr(at_);
    for (const auto& [python, in_json] : kWords) {
      if (rest.starts_with(python)) {
        if (rest.size() > python.size() && is_name_character(rest[python.size()])) return Scan::Invalid;
        if (rest.size() == python.size() && !final_) return Scan::Unfinished;
        at_ += python.size();
        json += in_json;
        return Scan::Complete;
      }
      if (!final_ && python.starts_with(rest)) return Scan::Unfinished;
    }
    return Scan::Invalid;
  }

  Scan number(std::string& json) {
    std::size_t end = at_;
    while (end < text_.size() && (is_name_character(text_[end]) || text_[end] == '+')) ++end;
    if (end >= text_.size() && !final_) return Scan::Unfinished;
    std::string digits;
    for (const char c : text_.substr(at_, end - at_)) {
      if (c != '_') digits += c;
    }
    if (digits.starts_with('+')) digits.erase(0, 1);
    if (digits.starts_with('.')) digits.insert(0, "0");
    if (digits.ends_with('.')) digits += '0';
    digits += ' ';
    const ScanResult scan = scan_json(digits);
    if (scan.status != Scan::Complete || scan.end + 1 != digits.size()) return Scan::Invalid;
    json += digits.substr(0, digits.size() - 1);
    at_ = end;
    return Scan::Complete;
  }

  Scan string(std::string& json) {
    const char quote = text_[at_];
    const std::string triple(3, quote);
    const bool is_triple = text_.substr(at_).starts_with(triple);
    if (!is_triple && !final_ && text_.substr(at_) == triple.substr(0, 2)) return Scan::Unfinished;
    std::size_t at = at_ + (is_triple ? 3 : 1);
    std::string content;
    while (true) {
      if (at >= text_.size()) return Scan::Unfinished;
      if (is_triple ? text_.substr(at).starts_with(triple) : text_[at] == quote) break;
      if (is_triple && !final_ && triple.starts_with(text_.substr(at))) return Scan::Unfinished;
      if (text_[at] != '\\') {
        content += text_[at++];
        continue;
      }
      const Scan scan = escape(at, content);
      if (scan != Scan::Complete) return scan;
    }
    at_ = at + (is_triple ? 3 : 1);
    json += json_quoted(content);
    // Strings side by side are one.
    const std::size_t next = skip_json_blanks(text_, at_);
    if (next >= text_.size() && !final_) return Scan::Unfinished;
    if (next < text_.size() && (text_[next] == '"' || text_[next] == '\'')) {
      at_ = next;
      std::string more;
      const Scan scan = string(more);
      if (scan != Scan::Complete) return scan;
      json.pop_back();
      json += more.substr(1);
    }
    return Scan::Complete;
  }

  std::optional<char32_t> hex(std::size_t at, std::size_t count) const {
    if (at + count > text_.size()) return std::nullopt;
    char32_t value = 0;
    for (const char c : text_.substr(at, count)) {
      const char lower = static_cast<char>(c | 0x20);
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        return std::nullopt;
      }
    }
    return value;
  }

  Scan escape(std::size_t& at, std::string& content) {
    if (at + 1 >= text_.size()) return Scan::Unfinished;
    const char c = text_[at + 1];
    constexpr std::string_view kFrom = "\\'\"abfnrtv/";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v/";
    if (const std::size_t known = kFrom.find(c); known != std::string_view::npos) {
      content += kTo[known];
      at += 2;
    } else if (c == '\n') {
      at += 2;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      if (at + 2 + count > text_.size()) return final_ ? Scan::Invalid : Scan::Unfinished;
      auto value = hex(at + 2, count);
      if (!value || *value > 0x10FFFF) return Scan::Invalid;
      at += 2 + count;
      if (*value >= 0xD800 && *value < 0xDC00) {  // JSON's way of writing what lies beyond
        const auto low = text_.substr(at).starts_with("\\u") ? hex(at + 2, 4) : std::nullopt;
        if (!low && at + 6 > text_.size() && !final_) return Scan::Unfinished;
        if (low && *low >= 0xDC00 && *low < 0xE000) {
          value = 0x10000 + ((*value - 0xD800) << 10) + (*low - 0xDC00);
          at += 6;
        }
      }
      jinja::append_character(content, *value >= 0xD800 && *value < 0xE000 ? 0xFFFD : *value);
    } else {
      content += '\\';
      content += c;
      at += 2;
    }
    return Scan::Complete;
  }

  Scan list(std::string& json, char close, int depth) {
    return read_items(text_, at_, {'[', ']', close, true}, json,
                      [&](std::string& item) { return value(item, depth + 1); });
  }

  Scan dict(std::string& json, int depth) {
    return read_items(text_, at_, {'{', '}', '}', true}, json, [&](std::string& item) {
      std::string key;
      const Scan scan = value(key, depth + 1);
      if (scan != Scan::Complete) return scan;
      if (first_is_bracket(key)) return Scan::Invalid;
      item += key.starts_with('"') ? key : json_quoted(key);
      at_ = skip_json_blanks(text_, at_);
      if (at_ >= text_.size()) return Scan::Unfinished;
      if (text_[at_] != ':') return Scan::Invalid;
      ++at_;
      item += ": ";
      return value(item, depth + 1);
    });
  }

  std::string_view text_;
  std::size_t& at_;
  bool final_;
};

class GemmaReader {
 public:
  GemmaReader(std::string_view text, std::size_t& at, bool final) : text_(text), at_(at), final_(final) {}

  Scan value(std::string& json, int depth = 0) {
    at_ = skip_json_blanks(text_, at_);
    if (at_ >= text_.size()) return Scan::Unfinished;
    if (depth > kMostPythonNesting) return Scan::Invalid;
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with(kQuote)) return string(json);
    if (!final_ && kQuote.starts_with(rest)) return Scan::Unfinished;
    if (rest.front() == '{' || rest.front() == '[') return items(json, rest.front() == '{', depth);
    return bare(json);
  }

 private:
  static constexpr std::string_view kQuote = "<|\"|>";

  Scan string(std::string& json) {
    const std::size_t begin = at_ + kQuote.size();
    const std::size_t end = text_.find(kQuote, begin);
    if (end == std::string_view::npos) return Scan::Unfinished;
    json += json_quoted(text_.substr(begin, end - begin));
    at_ = end + kQuote.size();
    return Scan::Complete;
  }

  Scan bare(std::string& json) {
    const std::size_t end = text_.find_first_of(",}]", at_);
    if (end == std::string_view::npos) return Scan::Unfinished;
    const std::string word(text_.substr(at_, end - at_));
    const ScanResult scan = scan_json(word + " ");
    const bool good = scan.status == Scan::Complete && skip_json_blanks(word, scan.end) == word.size();
    if (!good) return Scan::Invalid;
    json += word.substr(0, scan.end);
    at_ = end;
    return Scan::Complete;
  }

  Scan items(std::string& json, bool is_object, int depth) {
    const Brackets brackets = is_object ? Brackets{'{', '}', '}', false} : Brackets{'[', ']', ']', false};
    return read_items(text_, at_, brackets, json, [&](std::string& item) {
      const Scan scan = is_object ? key(item) : Scan::Complete;
      return scan == Scan::Complete ? value(item, depth + 1) : scan;
    });
  }

  Scan key(std::string& json) {
    at_ = skip_json_blanks(text_, at_);
    if (text_.substr(at_).starts_with(kQuote)) {
      const Scan scan = string(json);
      if (scan != Scan::Complete) return scan;
      if (at_ >= text_.size()) return Scan::Unfinished;
      if (text_[at_] != ':') return Scan::Invalid;
    } else {
      const std::size_t end = text_.find_first_of(":,{}[]", at_);
      if (end == std::string_view::npos) return Scan::Unfinished;
      if (text_[end] != ':' || end == at_) return Scan::Invalid;
      json += json_quoted(text_.substr(at_, end - at_));
      at_ = end;
    }
    ++at_;
    json += ": ";
    return Scan::Complete;
  }

  std::string_view text_;
  std::size_t& at_;
  bool final_;
};

}  // namespace

Scan python_value(std::string_view text, std::size_t& at, bool final, std::string& json) {
  return PythonReader(text, at, final).value(json);
}

Scan gemma_value(std::string_view text, std::size_t& at, bool final, std::string& json) {
  return GemmaReader(text, at, final).value(json);
}

Scan python_call(std::string_view text, std::size_t& at, bool final, std::string& name, std::string& arguments) {
  PythonReader reader(text, at, final);
  const Scan named = reader.name(name);
  if (named != Scan::Complete) return named;
  if (name.front() >= '0' && name.front() <= '9') return Scan::Invalid;
  if (text[at] != '(') return Scan::Invalid;
  arguments.clear();
  return read_items(text, at, {'{', '}', ')', true}, arguments, [&](std::string& item) {
    std::string key;
    const Scan keyed = reader.name(key);
    if (keyed != Scan::Complete) return keyed;
    at = skip_json_blanks(text, at);
    if (at >= text.size()) return Scan::Unfinished;
    if (text[at] != '=') return Scan::Invalid;
    ++at;
    std::string value;
    const Scan scan = reader.value(value);
    if (scan == Scan::Complete) item += json_quoted(key) + ": " + value;
    return scan;
  });
}

}  // namespace loadline::chat

#include "chat/json_scan.h"

#include <cstdint>

#include "base/text.h"
#include "chat/jinja/json.h"
#include "chat/jinja/value.h"

namespace loadline::chat {
namespace {

constexpr int kMostNesting = 100;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  Scan value(std::size_t& at, int depth) {
    at = skip_json_blanks(text_, at);
    if (at >= text_.size()) return Scan::Unfinished;
    if (depth > kMostNesting) return Scan::Invalid;
    switch (text_[at]) {
      case '{': return object(at, depth, nullptr);
      case '[': return array(at, depth, nullptr);
      case '"': return string(at);
      case 't': return word(at, "true");
      case 'f': return word(at, "false");
      case 'n': return word(at, "null");
      default: return number(at);
    }
  }

  Scan object(std::size_t& at, int depth, std::vector<JsonMember>* members) {
    ++at;
    bool first = true;
    while (true) {
      at = skip_json_blanks(text_, at);
      if (at >= text_.size()) return Scan::Unfinished;
      if (text_[at] == '}' && first) break;
      if (!first) {
        if (text_[at] == '}') break;
        if (text_[at] != ',') return Scan::Invalid;
        at = skip_json_blanks(text_, at + 1);
        if (at >= text_.size()) return Scan::Unfinished;
      }
      first = false;
      if (text_[at] != '"') return Scan::Invalid;
      const std::size_t key_begin = at;
      if (const Scan key = string(at); key != Scan::Complete) return key;
      if (members != nullptr)
        members->push_back({json_string_content(text_.substr(key_begin, at - key_begin)), {}, false});
      at = skip_json_blanks(text_, at);
      if (at >= text_.size()) return Scan::Unfinished;
      if (text_[at] != ':') return Scan::Invalid;
      at = skip_json_blanks(text_, at + 1);
      const std::size_t value_begin = at;
      const Scan result = value(at, depth + 1);
      if (members != nullptr && result != Scan::Invalid) {
        members->back().value = text_.substr(value_begin, result == Scan::Complete ? at - value_begin : text_.npos);
        members->back().complete = result == Scan::Complete;
      }
      if (result != Scan::Complete) return result;
    }
    ++at;
    return Scan::Complete;
  }

  Scan array(std::size_t& at, int depth, std::vector<JsonElement>* elements) {
    ++at;
    bool first = true;
    while (true) {
      at = skip_json_blanks(text_, at);
      if (at >= text_.size()) return Scan::Unfinished;
      if (text_[at] == ']') {
        if (!first || elements == nullptr || elements->empty()) break;
        return Scan::Invalid;
      }
      if (!first) {
        if (text_[at] != ',') return Scan::Invalid;
        at = skip_json_blanks(text_, at + 1);
        if (at >= text_.size()) return Scan::Unfinished;
        if (text_[at] == ']') return Scan::Invalid;
      }
      first = false;
      const std::size_t begin = at;
      const Scan result = value(at, depth + 1);
      if (elements != nullptr && result != Scan::Invalid) {
        elements->push_back(
            {text_.substr(begin, result == Scan::Complete ? at - begin : text_.npos), result == Scan::Complete});
      }
      if (result != Scan::Complete) return result;
    }
    ++at;
    return Scan::Complete;
  }

 private:
  Scan word(std::size_t& at, std::string_view word) {
    for (std::size_t i = 0; i < word.size(); ++i, ++at) {
      if (at >= text_.size()) return Scan::Unfinished;
      if (text_[at] != word[i]) return Scan::Invalid;
    }
    return Scan::Complete;
  }

  Scan string(std::size_t& at) {
    ++at;
    while (at < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at]);
      if (c == '"') {
        ++at;
        return Scan::Complete;
      }
      if (c < 0x20) return Scan::Invalid;
      if (c == '\\') {
        if (at + 1 >= text_.size()) return Scan::Unfinished;
        const char escape = text_[at + 1];
        if (escape == 'u') {
          for (std::size_t i = 2; i < 6; ++i) {
            if (at + i >= text_.size()) return Scan::Unfinished;
            const char digit = text_[at + i];
            if (!is_digit(digit) && !((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')) return Scan::Invalid;
          }
          at += 6;
          continue;
        }
        if (std::string_view("\"\\/bfnrt").find(escape) == std::string_view::npos) return Scan::Invalid;
        at += 2;
        continue;
      }
      ++at;
    }
    return Scan::Unfinished;
  }

  Scan digits(std::size_t& at) {
    if (at >= text_.size()) return Scan::Unfinished;
    if (!is_digit(text_[at])) return Scan::Invalid;
    while (at < text_.size() && is_digit(text_[at])) ++at;
    return Scan::Complete;
  }

  Scan number(std::size_t& at) {
    if (text_[at] == '-') ++at;
    const std::size_t begin = at;
    if (const Scan whole = digits(at); whole != Scan::Complete) return whole;
    if (text_[begin] == '0' && at > begin + 1) return Scan::Invalid;
    if (at < text_.size() && text_[at] == '.') {
      ++at;
      if (const Scan fraction = digits(at); fraction != Scan::Complete) return fraction;
    }
    if (at < text_.size() && (text_[at] | 0x20) == 'e') {
      ++at;
      if (at < text_.size() && (text_[at] == '+' || text_[at] == '-')) ++at;
      if (const Scan exponent = digits(at); exponent != Scan::Complete) return exponent;
    }
    return at < text_.size() ? Scan::Complete : Scan::Unfinished;
  }

  std::string_view text_;
};

}  // namespace

std::size_t skip_json_blanks(std::string_view text, std::size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')) ++at;
  return at;
}

ScanResult scan_json(std::string_view text, std::size_t begin) {
  std::size_t at = begin;
  const Scan status = Scanner(text).value(at, 0);
  return {status, at};
}

ScanResult scan_members(std::string_view text, std::size_t begin, std::vector<JsonMember>& members) {
  std::size_t at = skip_json_blanks(text, begin);
  if (at >= text.size()) return {Scan::Unfinished, at};
  if (text[at] != '{') return {Scan::Invalid, at};
  const Scan status = Scanner(text).object(at, 0, &members);
  return {status, at};
}

ScanResult scan_elements(std::string_view text, std::size_t begin, std::vector<JsonElement>& elements) {
  std::size_t at = skip_json_blanks(text, begin);
  if (at >= text.size()) return {Scan::Unfinished, at};
  if (text[at] != '[') return {Scan::Invalid, at};
  const Scan status = Scanner(text).array(at, 0, &elements);
  return {status, at};
}

std::string json_string_content(std::string_view text) {
  jinja::Heap heap(text.size() * 4 + 4096, UINT64_MAX);
  try {
    const jinja::Value value = jinja::parse_json(heap, text);
    return value.is_string() ? value.text() : std::string();
  } catch (const jinja::Failure&) {  // not UTF-8
    return {};
  }
}

std::string json_quoted(std::string_view text) {
  std::string out;
  jinja::append_json_string(out, text);
  return out;
}

}  // namespace loadline::chat

#include "chat/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

// "\r\n" and "\r" as "\n", and one line end less at the end: jinja2's keep_trailing_newline is off.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_digit_in(char c, int base) {
  if (base == 16) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  return c >= '0' && c < '0' + base;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(normalized(source)) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) read_data();
    add(TokenType::End, "");
    return std::move(tokens_);
  }

 private:
  [[nodiscard]] std::string_view rest() const { return std::string_view(text_).substr(at_); }
  [[nodiscard]] bool next_is(std::string_view text) const { return rest().starts_with(text); }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  int line() {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(counted_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n'));
    counted_ = at_;
    return line_;
  }

  Token& add(TokenType type, std::string text) {
    Token token;
    token.type = type;
    token.line = line();
    token.text = std::move(text);
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  void skip_blanks() {
    while (at_ < text_.size()) {
      std::size_t next = at_;
      if (!is_space(next_character(text_, next))) return;
      at_ = next;
    }
  }

  // The text before a tag that begins at `end` with `sign`.
  [[nodiscard]] std::string_view before_tag(std::size_t end, char sign, bool is_print) const {
    std::string_view text = std::string_view(text_).substr(at_, end - at_);
    if (sign == '-') return trimmed_right(text);
    if (sign == '+' || is_print) return text;
    const std::size_t newline = text.rfind('\n');
    const std::size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (begin == 0 && !line_starts_) return text;
    if (begin < text.size() && trimmed_left(text.substr(begin)).empty()) return text.substr(0, begin);
    return text;
  }

  void add_data(std::string_view text) {
    if (!text.empty()) add(TokenType::Data, std::string(text));
  }

  // A sign or nothing at the beginning of `text`.
  static char sign_of(std::string_view text) {
    return !text.empty() && (text.front() == '-' || text.front() == '+') ? text.front() : '\0';
  }

  // Text up to the next tag, and the tag.
  void read_data() {
    std::size_t tag = at_;
    while (true) {
      tag = text_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= text_.size()) {
        add_data(rest());
        at_ = text_.size();
        return;
      }
      if (text_[tag + 1] == '%' || text_[tag + 1] == '{' || text_[tag + 1] == '#') break;
      ++tag;
    }
    const char kind = text_[tag + 1];
    const char sign = sign_of(std::string_view(text_).substr(tag + 2));
    add_data(before_tag(tag, sign, kind == '{'));
    at_ = tag + 2 + (sign == '\0' ? 0 : 1);
    line_starts_ = false;
    if (kind == '#') {
      read_comment();
    } else if (kind == '{') {
      add(TokenType::BeginPrint, "{{");
      read_expression(false);
    } else if (!read_raw()) {
      add(TokenType::BeginBlock, "{%");
      read_expression(true);
    }
  }

  // Behind "%}" or "#}": at most one line end goes with it, and all white space after a minus.
  void end_tag(std::size_t at, char sign) {
    at_ = at;
    if (sign == '-') {
      skip_blanks();
    } else if (sign == '\0' && peek() == '\n') {
      ++at_;
    }
    line_starts_ = at_ > 0 && text_[at_ - 1] == '\n';
  }

  void read_comment() {
    const int begin = line();
    const std::size_t end = text_.find("#}", at_);
    if (end == std::string::npos) fail_syntax(begin, "Missing end of comment tag");
    const char before = end > at_ ? text_[end - 1] : '\0';
    end_tag(end + 2, before == '-' || before == '+' ? before : '\0');
  }

  // {% raw %} ... {% endraw %}; false where it is another tag.
  bool read_raw() {
    const std::size_t begin = at_;
    const auto give_up = [&] {
      at_ = begin;
      return false;
    };
    skip_blanks();
    if (!next_is("raw")) return give_up();
    at_ += 3;
    skip_blanks();
    if (next_is("-%}")) {
      at_ += 3;
      skip_blanks();
    } else if (next_is("%}")) {
      at_ += 2;
    } else {
      return give_up();
    }
    line_starts_ = text_[at_ - 1] == '\n';
    const int opened = line();
    for (std::size_t tag = text_.find("{%", at_); tag != std::string::npos; tag = text_.find("{%", tag + 1)) {
      const char sign = sign_of(std::string_view(text_).substr(tag + 2));
      const std::size_t content = at_;
      at_ = tag + 2 + (sign == '\0' ? 0 : 1);
      skip_blanks();
      if (next_is("endraw")) {
        at_ += 6;
        skip_blanks();
        const char end_sign = sign_of(rest());
        const std::size_t close = at_ + (end_sign == '\0' ? 0 : 1);
        if (std::string_view(text_).substr(close).starts_with("%}")) {
          at_ = content;
          add_data(before_tag(tag, sign, false));
          end_tag(close + 2, end_sign);
          return true;
        }
      }
      at_ = content;
    }
    fail_syntax(opened, "Missing end of raw directive");
  }

  // Up to the end of the tag, which is not looked for inside brackets.
  void read_expression(bool is_block) {
    std::string open;
    const std::string_view close = is_block ? "%}" : "}}";
    while (true) {
      if (open.empty()) {
        const char sign = sign_of(rest());
        const bool signed_end = sign == '-' || (sign == '+' && is_block);
        const std::size_t ahead = signed_end && rest().substr(1).starts_with(close) ? 1 : 0;
        if (ahead == 1 || next_is(close)) {
          add(is_block ? TokenType::EndBlock : TokenType::EndPrint, std::string(close));
          if (is_block) {
            end_tag(at_ + 2 + ahead, ahead == 1 ? sign : '\0');
          } else {
            at_ += 2 + ahead;
            if (ahead == 1) skip_blanks();
            line_starts_ = text_[at_ - 1] == '\n';
          }
          return;
        }
      }
      if (at_ >= text_.size()) return;  // the parser says what is missing
      read_token(open);
    }
  }

  void read_token(std::string& open) {
    const char c = peek();
    std::size_t next = at_;
    const char32_t character = next_character(text_, next);
    if (is_space(character)) {
      at_ = next;
    } else if (c >= '0' && c <= '9') {
      read_number();
    } else if (is_word(character)) {
      read_name();
    } else if (c == '"' || c == '\'') {
      read_string(c);
    } else {
      read_operator(open);
    }
  }

  // Digits with single underscores between them, from `from` on; 0 where there are none.
  [[nodiscard]] std::size_t digits(std::size_t from, int base) const {
    std::size_t end = from;
    while (end < text_.size()) {
      if (is_digit_in(text_[end], base)) {
        ++end;
      } else if (text_[end] == '_' && end > from && end + 1 < text_.size() && is_digit_in(text_[end + 1], base)) {
        ++end;
      } else {
        break;
      }
    }
    return end - from;
  }

  // The length of a float here, or 0.
  [[nodiscard]] std::size_t float_length() const {
    if (at_ > 0 && text_[at_ - 1] == '.') return 0;
    std::size_t end = at_ + digits(at_, 10);
    bool is_float = false;
    if (end < text_.size() && text_[end] == '.' && digits(end + 1, 10) > 0) {
      end += 1 + digits(end + 1, 10);
      is_float = true;
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      const std::size_t sign = end + 1 < text_.size() && (text_[end + 1] == '+' || text_[end + 1] == '-') ? 1 : 0;
      const std::size_t exponent = digits(end + 1 + sign, 10);
      if (exponent > 0) {
        end += 1 + sign + exponent;
        is_float = true;
      }
    }
    return is_float ? end - at_ : 0;
  }

  void read_number() {
    if (const std::size_t length = float_length(); length > 0) {
      std::string number = text_.substr(at_, length);
      std::erase(number, '_');
      Token& token = add(TokenType::Real, number);
      const auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), token.real);
      if (problem == std::errc::result_out_of_range) token.real = std::strtod(number.c_str(), nullptr);
      at_ += length;
      return;
    }
    int base = 10;
    std::size_t prefix = 0;
    if (peek() == '0') {
      const char kind = static_cast<char>(peek(1) | 0x20);
      const int other = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
      if (other != 0) {
        const std::size_t underscore = peek(2) == '_' ? 1 : 0;
        if (digits(at_ + 2 + underscore, other) > 0) {
          base = other;
          prefix = 2 + underscore;
        }
      }
    }
    std::size_t length = prefix + digits(at_ + prefix, base);
    if (base == 10 && peek() == '0') {  // zeros only: "012" is 0 and then 12
      std::size_t zeros = 1;
      while (zeros < length && (peek(zeros) == '0' || peek(zeros) == '_')) ++zeros;
      length = zeros;
      while (peek(length - 1) == '_') --length;
    }
    std::string number = text_.substr(at_ + prefix, length - prefix);
    std::erase(number, '_');
    const auto value = parse_integer(number, base);
    if (!value) fail_syntax(line(), "the number is too large");
    add(TokenType::Whole, text_.substr(at_, length)).integer = *value;
    at_ += length;
  }

  void read_name() {
    std::size_t end = at_;
    while (end < text_.size()) {
      std::size_t next = end;
      if (!is_word(next_character(text_, next))) break;
      end = next;
    }
    add(TokenType::Name, text_.substr(at_, end - at_));
    at_ = end;
  }

  void read_string(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) {
      fail_syntax(line(), "unexpected char " + repr_of(std::string_view(&quote, 1)) + " at " +
                              std::to_string(count_characters(std::string_view(text_).substr(0, at_))));
    }
    const std::string_view inside = std::string_view(text_).substr(at_ + 1, end - at_ - 1);
    add(TokenType::Text, unescaped(inside));
    at_ = end + 1;
  }

  [[nodiscard]] std::optional<char32_t> hex(std::string_view text, std::size_t count) {
    char32_t value = 0;
    if (text.size() < count) return std::nullopt;
    for (const char c : text.substr(0, count)) {
      if (!is_digit_in(c, 16)) return std::nullopt;
      value = value * 16 + static_cast<char32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
  }

  // Python's escapes in a string literal.
  std::string unescaped(std::string_view text) {
    std::string out;
    constexpr std::string_view kFrom = "\\'\"abfnrtv";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 >= text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      if (c == '\n') continue;
      if (const std::size_t known = kFrom.find(c); known != std::string_view::npos) {
        out += kTo[known];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        const auto value = hex(text.substr(i + 1), count);
        if (!value || *value > 0x10FFFF) fail_syntax(line(), "the escape \\" + std::string(1, c) + " is cut short");
        append_character(out, *value >= 0xD800 && *value < 0xE000 ? 0xFFFD : *value);
        i += count;
      } else if (c >= '0' && c <= '7') {
        char32_t value = 0;
        std::size_t count = 0;
        while (count < 3 && i + count < text.size() && text[i + count] >= '0' && text[i + count] <= '7') {
          value = value * 8 + static_cast<char32_t>(text[i + count++] - '0');
        }
        append_character(out, value);
        i += count - 1;
      } else if (c == 'N') {
        fail_syntax(line(), "characters by name (\\N) are not known");
      } else {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void read_operator(std::string& open) {
    static constexpr std::array<std::string_view, 27> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const std::string_view op : kOperators) {
      if (op.empty() || !next_is(op)) continue;
      if (op == "(" || op == "[" || op == "{") open += op == "(" ? ')' : op == "[" ? ']' : '}';
      if (op == ")" || op == "]" || op == "}") {
        if (open.empty()) fail_syntax(line(), "unexpected '" + std::string(op) + "'");
        if (open.back() != op.front()) {
          fail_syntax(line(), "unexpected '" + std::string(op) + "', expected '" + open.back() + "'");
        }
        open.pop_back();
      }
      add(TokenType::Operator, std::string(op));
      at_ += op.size();
      return;
    }
    std::size_t next = at_;
    next_character(text_, next);
    fail_syntax(line(), "unexpected char " + repr_of(rest().substr(0, next - at_)) + " at " +
                            std::to_string(count_characters(std::string_view(text_).substr(0, at_))));
  }

  std::string text_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::size_t counted_ = 0;  // lines before here are in line_
  bool line_starts_ = true;  // nothing but what was dropped stands between the last line end and here
  std::vector<Token> tokens_;
};

}  // namespace

void fail_syntax(int line, const std::string& message) {
  Failure failure(Failure::Kind::Runtime, message);
  failure.line = line;
  throw failure;
}

std::vector<Token> tokens_of(std::string_view source) { return Lexer(source).run(); }

}  // namespace loadline::chat::jinja

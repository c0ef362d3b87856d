// Filters that lay text out: wordwrap and pprint, as Python's textwrap and pprint do it.
#include <algorithm>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

// ---- wordwrap ----

// textwrap's white space; what is white space elsewhere belongs to words.
bool is_blank(char32_t c) { return c == U' ' || (c >= U'\t' && c <= U'\r'); }
bool is_letter(char32_t c) { return is_word(c) && !is_decimal(c); }
bool is_word_or_mark(char32_t c) {
  return is_word(c) || std::u32string_view(U"!\"'&.,?").find(c) != std::u32string_view::npos;
}

// A text cut where lines may be broken.
class Chunks {
 public:
  Chunks(std::u32string_view text, bool at_hyphens) : text_(text), at_hyphens_(at_hyphens) {}

  std::vector<std::u32string> all() const {
    std::vector<std::u32string> out;
    for (std::size_t begin = 0; begin < text_.size();) {
      const std::size_t end = end_of(begin);
      out.emplace_back(text_.substr(begin, end - begin));
      begin = end;
    }
    return out;
  }

 private:
  [[nodiscard]] bool holds(std::size_t at, bool (*is)(char32_t)) const { return at < text_.size() && is(text_[at]); }
  // Whether a dash of two hyphens or more begins here, between words; its end.
  [[nodiscard]] std::size_t dash_end(std::size_t at) const {
    if (at == 0 || !is_word_or_mark(text_[at - 1])) return 0;
    std::size_t end = at;
    while (end < text_.size() && text_[end] == U'-') ++end;
    return end >= at + 2 && holds(end, is_word) ? end : 0;
  }
  // Whether the hyphen here is one within a word.
  [[nodiscard]] bool is_inner_hyphen(std::size_t at) const {
    if (text_[at] != U'-') return false;
    const bool two_letters = at >= 2 && is_letter(text_[at - 1]) && is_letter(text_[at - 2]);
    const bool between = at >= 3 && is_letter(text_[at - 3]) && text_[at - 2] == U'-' && is_word_or_mark(text_[at - 1]);
    if (!two_letters && !between) return false;
    if (!holds(at + 1, is_letter)) return false;
    return holds(at + 2, is_letter) || (at + 2 < text_.size() && text_[at + 2] == U'-' && holds(at + 3, is_letter));
  }
  [[nodiscard]] std::size_t end_of(std::size_t begin) const {
    std::size_t end = begin + 1;
    if (is_blank(text_[begin])) {
      while (holds(end, is_blank)) ++end;
      return end;
    }
    if (at_hyphens_) {
      if (const std::size_t dash = dash_end(begin)) return dash;
    }
    for (; end < text_.size() && !is_blank(text_[end]); ++end) {
      if (!at_hyphens_) continue;
      if (is_inner_hyphen(end)) return end + 1;
      if (dash_end(end) != 0) return end;
    }
    return end;
  }

  std::u32string_view text_;
  bool at_hyphens_;
};

bool is_all_space(const std::u32string& text) { return std::ranges::all_of(text, is_space); }

// How much of a word that is too long stands on a line with so much room: up to its last hyphen there, if anything is
// before that.
std::size_t cut_of(const std::u32string& word, std::size_t room, bool at_hyphens) {
  if (!at_hyphens || word.size() <= room || room == 0) return room;
  const std::size_t hyphen = word.rfind(U'-', room - 1);
  if (hyphen == std::u32string::npos || hyphen == 0) return room;
  return word.find_first_not_of(U'-') < hyphen ? hyphen + 1 : room;
}

std::vector<std::string> wrapped(std::u32string_view text, std::size_t width, bool break_words, bool at_hyphens) {
  std::vector<std::u32string> chunks = Chunks(text, at_hyphens).all();
  std::ranges::reverse(chunks);  // the next one is at the back
  std::vector<std::string> lines;
  while (!chunks.empty()) {
    std::vector<std::u32string> line;
    std::size_t length = 0;
    if (!lines.empty() && is_all_space(chunks.back())) chunks.pop_back();
    while (!chunks.empty() && length + chunks.back().size() <= width) {
      length += chunks.back().size();
      line.push_back(std::move(chunks.back()));
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size() > width) {
      if (break_words) {
        const std::size_t cut = cut_of(chunks.back(), width - length, at_hyphens);
        line.push_back(chunks.back().substr(0, cut));
        chunks.back().erase(0, cut);
      } else if (line.empty()) {
        line.push_back(std::move(chunks.back()));
        chunks.pop_back();
      }
    }
    if (!line.empty() && is_all_space(line.back())) line.pop_back();
    if (line.empty()) continue;
    std::string out;
    for (const std::u32string& chunk : line) out += bytes_of(chunk);
    lines.push_back(std::move(out));
  }
  return lines;
}

Value wordwrap(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_wordwrap", arguments,
                              {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const Integer width = parameters.integer(0, 79);
  if (width <= 0) fail("invalid width " + decimal(width) + " (must be > 0)");
  if (!subject.is_string()) fail("'" + type_name(subject) + "' object has no attribute 'splitlines'");
  const std::string newline =
      parameters.has(2) && parameters.at(2).is_none() ? "\n" : parameters.text(interpreter, 2, "\n");
  const auto columns = static_cast<std::size_t>(std::min<Integer>(width, 1 << 30));
  Heap& heap = interpreter.heap();
  std::string out;
  bool begun = false;
  each_line(subject.text(), [&](std::string_view line, std::string_view) {
    heap.spend_on(64 * line.size());
    heap.require(96 * line.size());
    if (begun) out += newline;
    begun = true;
    bool first = true;
    for (const std::string& one :
         wrapped(characters_of(line), columns, parameters.flag(1, true), parameters.flag(3, true))) {
      if (!first) out += newline;
      first = false;
      out += one;
      heap.require(out.size());
    }
  });
  return interpreter.string(std::move(out));
}

// ---- pprint ----

// Python's pprint.pformat with its defaults: 80 columns, an indent of 1, dicts in the order of their keys.
class PrettyPrinter {
 public:
  explicit PrettyPrinter(Heap& heap) : heap_(heap) {}

  std::string print(const Value& value) {
    format(value, 0, 0, 0);
    return std::move(out_);
  }

 private:
  static constexpr std::size_t kWidth = 80;
  using Entries = std::vector<std::pair<Value, Value>>;

  // Keys that have no order are ordered by their types.
  [[nodiscard]] Entries sorted(const Value& dict) const {
    Entries entries(dict.dict().entries.begin(), dict.dict().entries.end());
    heap_.spend(entries.size() * 8 + 1);
    std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
      const bool ordered =
          (a.first.is_string() && b.first.is_string()) || (a.first.is_integral() && b.first.is_integral());
      return ordered ? less(heap_, a.first, b.first) : type_name(a.first) < type_name(b.first);
    });
    return entries;
  }

  // On one line.
  std::string flat(const Value& value) {
    const Depth depth(depth_);
    if (value.is(Kind::Dict)) {
      std::string out = "{";
      for (const auto& [key, item] : sorted(value)) {
        if (out.size() > 1) out += ", ";
        out += flat(key) + ": " + flat(item);
      }
      return out + "}";
    }
    if (!value.is_sequence()) return repr_of(heap_, value);
    std::string out = value.is(Kind::List) ? "[" : "(";
    for (const Value& item : value.items()) {
      if (out.size() > 1) out += ", ";
      out += flat(item);
    }
    if (value.is(Kind::Tuple) && value.items().size() == 1) out += ',';
    heap_.require(out.size());
    return out + (value.is(Kind::List) ? "]" : ")");
  }

  // `after`: what stands behind the value on its last line.
  void format(const Value& value, std::size_t indent, std::size_t after, int level) {
    const Depth depth(depth_);
    const std::string line = flat(value);
    heap_.spend_on(line.size() * 8);
    if (count_characters(line) + indent + after <= kWidth) {
      out_ += line;
    } else if (value.is(Kind::Dict)) {
      format_dict(value, indent, after + 1, level + 1);
    } else if (value.is_sequence()) {
      format_items(value, indent, after, level + 1);
    } else if (value.is_string()) {
      format_text(value.text(), indent, after, level + 1);
    } else {
      out_ += line;
    }
    heap_.require(out_.size());
  }

  void next_line(std::size_t indent) { out_ += "\n" + std::string(indent, ' '); }

  void format_dict(const Value& dict, std::size_t indent, std::size_t after, int level) {
    out_ += '{';
    const Entries entries = sorted(dict);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) {
        out_ += ',';
        next_line(indent + 1);
      }
      const std::string key = flat(entries[i].first);
      out_ += key + ": ";
      format(entries[i].second, indent + 1 + count_characters(key) + 2, i + 1 == entries.size() ? after : 1, level);
    }
    out_ += '}';
  }

  void format_items(const Value& list, std::size_t indent, std::size_t after, int level) {
    const bool is_list = list.is(Kind::List);
    const std::string end = is_list ? "]" : list.items().size() == 1 ? ",)" : ")";
    out_ += is_list ? '[' : '(';
    const std::vector<Value> items = list.items();
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        out_ += ',';
        next_line(indent + 1);
      }
      format(items[i], indent + 1, i + 1 == items.size() ? after + end.size() : 1, level);
    }
    out_ += end;
  }

  // As literals side by side, one a line: each line of the text, and words of those that are too long.
  void format_text(const std::string& text, std::size_t indent, std::size_t after, int level) {
    if (level == 1) {
      ++indent;
      ++after;
    }
    const auto length = [](const std::string& part) { return count_characters(repr_of(std::string_view(part))); };
    const auto fits = [&](const std::string& part, bool is_last) {
      return length(part) + indent + (is_last ? after : 0) <= kWidth;
    };
    std::vector<std::string> chunks;
    each_line(text, [&](std::string_view words, std::string_view ending) {
      const std::string line = std::string(words) + std::string(ending);
      const bool is_last = ending.data() + ending.size() == text.data() + text.size();
      if (fits(line, is_last)) {
        chunks.push_back(line);
        return;
      }
      std::string current;
      for (std::size_t at = 0; at < line.size();) {
        const std::size_t part_end = end_of_word(line, at);
        const std::string candidate = current + line.substr(at, part_end - at);
        heap_.spend_on(candidate.size() * 8);
        if (fits(candidate, is_last && part_end == line.size())) {
          current = candidate;
        } else {
          if (!current.empty()) chunks.push_back(current);
          current = line.substr(at, part_end - at);
        }
        at = part_end;
      }
      if (!current.empty()) chunks.push_back(current);
    });
    if (chunks.size() > 1 && level == 1) out_ += '(';
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      if (i > 0) next_line(indent);
      out_ += repr_of(std::string_view(chunks[i]));
    }
    if (chunks.size() > 1 && level == 1) out_ += ')';
  }

  // Behind a word and the white space that follows it.
  static std::size_t end_of_word(std::string_view text, std::size_t at) {
    bool space = false;
    while (at < text.size()) {
      std::size_t next = at;
      const bool is = is_space(next_character(text, next));
      if (space && !is) break;
      space = is;
      at = next;
    }
    return at;
  }

  Heap& heap_;
  std::string out_;
  int depth_ = 0;
};

Value pprint(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_pprint", arguments, {});
  return interpreter.string(PrettyPrinter(interpreter.heap()).print(subject));
}

constexpr FilterEntry kLayoutFilters[] = {{"pprint", pprint}, {"wordwrap", wordwrap}};

}  // namespace

Filters layout_filters() { return kLayoutFilters; }

}  // namespace loadline::chat::jinja

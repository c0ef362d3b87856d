// str() and repr() as Python writes them.
#include <charconv>
#include <cmath>
#include <string>

#include "chat/jinja/unicode.h"
#include "chat/jinja/value.h"

namespace loadline::chat::jinja {
namespace {

void append_string_repr(std::string& out, std::string_view text) {
  const bool doubled = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = doubled ? '"' : '\'';
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto append_hex = [&](char32_t c, char kind, int digits) {
    out += '\\';
    out += kind;
    for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += kHex[c >> shift & 0xF];
  };
  out += quote;
  for (std::size_t position = 0; position < text.size();) {
    const char32_t c = next_character(text, position);
    if (c == static_cast<unsigned char>(quote) || c == U'\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == U'\n') {
      out += "\\n";
    } else if (c == U'\r') {
      out += "\\r";
    } else if (c == U'\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_character(out, c);
    } else if (c < 0x100) {
      append_hex(c, 'x', 2);
    } else if (c < 0x10000) {
      append_hex(c, 'u', 4);
    } else {
      append_hex(c, 'U', 8);
    }
  }
  out += quote;
}

class Printer {
 public:
  Printer(Heap& heap, std::string& out) : heap_(heap), out_(out) {}

  void append(const Value& value) {
    heap_.spend();
    heap_.require(out_.size());
    switch (value.kind()) {
      case Kind::Undefined: out_ += "Undefined"; return;
      case Kind::None: out_ += "None"; return;
      case Kind::Bool: out_ += value.as_bool() ? "True" : "False"; return;
      case Kind::Int: out_ += decimal(value.as_integer()); return;
      case Kind::Float: out_ += repr_of(value.as_real()); return;
      case Kind::String:
        heap_.spend_on(value.text().size());
        if (value.is_markup()) out_ += "Markup(";
        append_string_repr(out_, value.text());
        if (value.is_markup()) out_ += ')';
        return;
      default: break;
    }
    const Depth deeper(depth_);
    append_object(value);
  }

 private:
  void append_object(const Value& value) {
    switch (value.kind()) {
      case Kind::List: append_items(value.items(), '[', ']'); return;
      case Kind::Tuple: append_items(value.items(), '(', ')'); return;
      case Kind::Dict: append_dict(value.dict()); return;
      case Kind::Namespace:
        out_ += "<Namespace ";
        append_dict(value.dict());
        out_ += '>';
        return;
      case Kind::Range: {
        const auto& range = value.as<RangeObject>();
        out_ += "range(" + decimal(range.start) + ", " + decimal(range.stop);
        if (range.step != 1) out_ += ", " + decimal(range.step);
        out_ += ')';
        return;
      }
      case Kind::View: append_view(value.as<ViewObject>()); return;
      case Kind::Generator: out_ += "<generator object " + value.as<GeneratorObject>().name + ">"; return;
      case Kind::Function: out_ += "<function " + value.as<FunctionObject>().name + ">"; return;
      default: out_ += "<" + type_name(value) + ">"; return;
    }
  }

  void append_items(const std::vector<Value>& items, char open, char close) {
    out_ += open;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      append(items[i]);
    }
    if (open == '(' && items.size() == 1) out_ += ',';
    out_ += close;
  }

  void append_dict(const DictObject& dict) {
    out_ += '{';
    for (std::size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) out_ += ", ";
      append(dict.entries[i].first);
      out_ += ": ";
      append(dict.entries[i].second);
    }
    out_ += '}';
  }

  void append_view(const ViewObject& view) {
    out_ += type_name(Value(const_cast<ViewObject*>(&view))) + "([";
    bool first = true;
    for (const auto& [key, value] : view.dict.dict().entries) {
      if (!first) out_ += ", ";
      first = false;
      if (view.part == ViewObject::Of::Items) out_ += '(';
      if (view.part != ViewObject::Of::Values) append(key);
      if (view.part == ViewObject::Of::Items) out_ += ", ";
      if (view.part != ViewObject::Of::Keys) append(value);
      if (view.part == ViewObject::Of::Items) out_ += ')';
    }
    out_ += "])";
  }

  Heap& heap_;
  std::string& out_;
  int depth_ = 0;
};

}  // namespace

std::string decimal(Integer number) {
  const bool negative = number < 0;
  __extension__ using Unsigned = unsigned __int128;
  Unsigned rest = negative ? Unsigned(0) - static_cast<Unsigned>(number) : static_cast<Unsigned>(number);
  std::string out;
  do {
    out.insert(out.begin(), static_cast<char>('0' + static_cast<int>(rest % 10)));
    rest /= 10;
  } while (rest > 0);
  return negative ? "-" + out : out;
}

// The fewest digits that give the number back; an exponent below 1e-4 and from 1e16 on (Python's float_repr_style).
std::string repr_of(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[64];
  const auto shortest = std::to_chars(std::begin(buffer), std::end(buffer), number, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<std::size_t>(shortest.ptr - buffer));
  const std::size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + 2, text.data() + text.size(), exponent);
  if (text[e + 1] == '-') exponent = -exponent;
  if (exponent < -4 || exponent >= 16) {
    std::string out(text.substr(0, e));
    out += exponent < 0 ? "e-" : "e+";
    const std::string digits = std::to_string(std::abs(exponent));
    return out + (digits.size() < 2 ? "0" : "") + digits;
  }
  const auto plain = std::to_chars(std::begin(buffer), std::end(buffer), number, std::chars_format::fixed);
  std::string out(buffer, static_cast<std::size_t>(plain.ptr - buffer));
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string repr_of(std::string_view text) {
  std::string out;
  append_string_repr(out, text);
  return out;
}

void append_repr(Heap& heap, std::string& out, const Value& value) { Printer(heap, out).append(value); }

void append_text(Heap& heap, std::string& out, const Value& value) {
  if (value.is_undefined()) return;
  if (value.is_string()) {
    heap.spend_on(value.text().size());
    out += value.text();
    return;
  }
  append_repr(heap, out, value);
}

std::string text_of(Heap& heap, const Value& value) {
  std::string out;
  append_text(heap, out, value);
  return out;
}

std::string repr_of(Heap& heap, const Value& value) {
  std::string out;
  append_repr(heap, out, value);
  return out;
}

}  // namespace loadline::chat::jinja

// Where in a rendered prompt the things stand that somebody typed and that a tokenizer would take for more than text.
//
// A template may do anything with a message's text, so its output alone does not say. The places are replaced by marks
// that no message has, which a template carries along like letters, and the prompt is rendered once more.
#include <algorithm>

#include "base/error.h"
#include "chat/conversation.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat {
namespace {

using jinja::Kind;
using jinja::Value;

// Letters to every test that a template can make, of a script that nobody writes prompts in: Egyptian hieroglyphs.
constexpr char32_t kFirstMark = 0x13000;
constexpr char32_t kLastMark = 0x133FF;

std::string mark_text(char32_t mark, std::size_t number) {
  std::string sign;
  jinja::append_character(sign, mark);
  return sign + std::to_string(number) + sign;
}

struct Typed {
  std::string text;
  bool whole = true;
};

// Copies values to another heap, the places replaced.
class Marker {
 public:
  Marker(jinja::Heap& heap, const FindTyped& find, char32_t mark) : heap_(heap), find_(find), mark_(mark) {}

  Value copy(const Value& value, std::string_view role) {
    const jinja::Depth depth(depth_);
    heap_.spend();
    switch (value.kind()) {
      case Kind::String: return marked(value.text(), role);
      case Kind::List:
      case Kind::Tuple: {
        std::vector<Value> items;
        for (const Value& item : value.items()) items.push_back(copy(item, role));
        return value.is(Kind::List) ? heap_.list(std::move(items)) : heap_.tuple(std::move(items));
      }
      case Kind::Dict: {
        Value out = heap_.dict();
        for (const auto& [key, item] : value.dict().entries) {
          out.dict().set(heap_.string(key.is_string() ? key.text() : std::string()), copy(item, role));
        }
        return out;
      }
      default: return value;
    }
  }
  Value copy_messages(const Value& list) {
    std::vector<Value> items;
    for (const Value& message : list.items()) {
      const Value* role = message.is(Kind::Dict) ? message.dict().find("role") : nullptr;
      items.push_back(copy(message, role != nullptr && role->is_string() ? role->text() : std::string_view("user")));
    }
    return heap_.list(std::move(items));
  }

  [[nodiscard]] const std::vector<Typed>& typed() const { return typed_; }

 private:
  Value marked(const std::string& text, std::string_view role) {
    std::string out;
    std::size_t done = 0;
    for (const TextSpan& place : find_(text, role)) {
      out += std::string_view(text).substr(done, place.begin - done);
      out += mark_text(mark_, typed_.size());
      typed_.push_back({text.substr(place.begin, place.end - place.begin), place.whole});
      done = place.end;
    }
    if (done == 0) return heap_.string(text);
    return heap_.string(out + text.substr(done));
  }

  jinja::Heap& heap_;
  const FindTyped& find_;
  char32_t mark_;
  std::vector<Typed> typed_;
  int depth_ = 0;
};

// What stood in the places put back, and where that is.
Rendering put_back(std::string_view text, char32_t mark, const std::vector<Typed>& typed) {
  std::string sign;
  jinja::append_character(sign, mark);
  Rendering out;
  std::size_t done = 0;
  while (true) {
    const std::size_t begin = text.find(sign, done);
    const std::size_t end = begin == std::string_view::npos ? begin : text.find(sign, begin + sign.size());
    if (end == std::string_view::npos) break;
    const std::size_t digits = begin + sign.size();
    std::size_t number = 0;
    for (std::size_t i = digits; i < end; ++i) number = number * 10 + static_cast<std::size_t>(text[i] - '0');
    if (end - digits > 9 || number >= typed.size()) break;  // the template took it apart
    out.text += text.substr(done, begin - done);
    out.typed.push_back({out.text.size(), out.text.size() + typed[number].text.size()});
    out.text += typed[number].text;
    done = end + sign.size();
  }
  out.text += text.substr(done);
  return out;
}

// For a template that does something else with marks than with what stood there: every place that reads like one typed
// stays letters, in doubt one that the template wrote too.
Rendering by_search(std::string plain, const std::vector<Typed>& typed) {
  std::vector<std::string_view> sought;
  for (const Typed& one : typed) {
    if (one.whole && std::ranges::find(sought, one.text) == sought.end()) sought.push_back(one.text);
  }
  Rendering out;
  for (std::size_t at = 0; at < plain.size();) {
    std::size_t longest = 0;
    for (const std::string_view one : sought) {
      if (std::string_view(plain).substr(at).starts_with(one)) longest = std::max(longest, one.size());
    }
    if (longest > 0) out.typed.push_back({at, at + longest});
    at += std::max<std::size_t>(longest, 1);
  }
  out.text = std::move(plain);
  return out;
}

}  // namespace

Rendering Conversation::render_apart(const Template& chat_template, const RenderOptions& options, bool continue_last,
                                     const FindTyped& find) {
  std::string plain = render(chat_template, options, continue_last);
  char32_t mark = kFirstMark;
  while (mark < kLastMark) {
    std::string sign;
    jinja::append_character(sign, mark);
    if (plain.find(sign) == std::string::npos) break;
    ++mark;
  }
  Conversation apart(options.limits);
  Marker marker(apart.heap_, find, mark);
  try {
    for (const auto& [key, value] : variables_.dict().entries) {
      const std::string& name = key.text();
      const bool is_said = name != "bos_token" && name != "eos_token";  // which are meant to be tokens
      Value copied = value;
      if (name == "messages" && value.is(Kind::List))
        copied = marker.copy_messages(value);
      else if (is_said)
        copied = marker.copy(value, "");
      apart.variables_.dict().set(name, copied);
    }
  } catch (const jinja::Failure& failure) {
    throw bad_input(std::string("the conversation cannot be prepared: ") + failure.what());
  }
  if (marker.typed().empty()) return {std::move(plain), {}};
  try {
    Rendering out = put_back(apart.render(chat_template, options, continue_last), mark, marker.typed());
    if (out.text == plain) return out;
  } catch (const Error&) {  // it refuses the marks
  }
  return by_search(std::move(plain), marker.typed());
}

}  // namespace loadline::chat

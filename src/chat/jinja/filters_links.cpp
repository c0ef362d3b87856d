// The filter that makes links of what looks like an address, by jinja2's rules.
#include <algorithm>

#include "chat/jinja/builtins.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/text_search.h"
#include "chat/jinja/unicode.h"

namespace loadline::chat::jinja {
namespace {

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  return out;
}

bool is_name_character(char32_t c) { return is_word(c) || c == U'%' || c == U'-'; }

// "a.b.c" without its last part: whether it is names with a dot behind each, and how many.
bool are_names(std::u32string_view text, std::size_t least, std::size_t most) {
  while (!text.empty()) {
    const std::size_t dot = text.find(U'.');
    if (dot == std::u32string_view::npos || dot < least || dot > most) return false;
    if (!std::ranges::all_of(text.substr(0, dot), is_name_character)) return false;
    text.remove_prefix(dot + 1);
  }
  return true;
}

// Numbers in brackets with colons, or four with dots between: an address as jinja2 knows it.
bool is_address(std::u32string_view host) {
  if (host.starts_with(U'[') && host.ends_with(U']')) {
    host = host.substr(1, host.size() - 2);
    int parts = 0;
    std::size_t digits = 0;
    for (const char32_t c : host) {
      if (c == U':') {
        ++parts;
        digits = 0;
      } else if ((c < U'0' || c > U'9') && ((c | 0x20) < U'a' || (c | 0x20) > U'f')) {
        return false;
      } else if (++digits > 4) {
        return false;
      }
    }
    return parts >= 2 && parts <= 8 && host.size() > 2;
  }
  int numbers = 0;
  while (true) {
    const std::size_t dot = std::min(host.find(U'.'), host.size());
    if (dot < 1 || dot > 3 || !std::ranges::all_of(host.substr(0, dot), is_decimal)) return false;
    ++numbers;
    if (dot == host.size()) return numbers == 4;
    host.remove_prefix(dot + 1);
  }
}

bool is_web_host(std::u32string_view host, bool has_scheme) {
  const std::size_t dot = host.rfind(U'.');
  const std::u32string_view last = dot == std::u32string_view::npos ? host : host.substr(dot + 1);
  const std::u32string_view before = dot == std::u32string_view::npos ? std::u32string_view() : host.substr(0, dot + 1);
  if (!has_scheme) {
    static constexpr std::u32string_view kKnown[] = {U"com", U"net", U"int", U"edu", U"gov", U"org", U"info", U"mil"};
    return !before.empty() && are_names(before, 2, 63) && std::ranges::find(kKnown, last) != std::end(kKnown);
  }
  if (!are_names(before, 1, SIZE_MAX)) return false;
  const bool letters = std::ranges::all_of(last, [](char32_t c) { return c >= U'a' && c <= U'z'; });
  if (letters && last.size() >= 2 && last.size() <= 63) return true;
  if (!last.starts_with(U"xn--")) return false;
  const std::u32string_view rest = last.substr(4);
  return rest.size() >= 2 && rest.size() <= 59 &&
         std::ranges::all_of(rest, [](char32_t c) { return is_word(c) || c == U'%'; });
}

bool is_web_address(std::string_view text) {
  const std::u32string lower = characters_of(lowered(text));
  std::u32string_view rest = lower;
  const bool http = rest.starts_with(U"http://") || rest.starts_with(U"https://");
  const bool www = rest.starts_with(U"www.");
  if (http) rest.remove_prefix(rest.find(U"//") + 2);
  if (www) rest.remove_prefix(4);
  const std::size_t path = std::min(rest.find_first_of(U"/?#"), rest.size());
  if (!std::ranges::none_of(rest.substr(path), is_space)) return false;
  rest = rest.substr(0, path);
  const std::size_t colon = rest.rfind(U':');
  const auto is_port = [](std::u32string_view port) {
    return !port.empty() && port.size() <= 5 && std::ranges::all_of(port, is_decimal);
  };
  const auto fits = [&](std::u32string_view host) {
    return is_web_host(host, http || www) || (http && is_address(host));
  };
  return fits(rest) ||
         (colon != std::u32string_view::npos && is_port(rest.substr(colon + 1)) && fits(rest.substr(0, colon)));
}

bool is_mail_address(std::string_view text) {
  const std::u32string all = characters_of(text);
  if (!std::ranges::none_of(all, is_space)) return false;
  const std::size_t at = all.rfind(U'@');
  const std::size_t dot = all.rfind(U'.');
  if (at == std::u32string::npos || at == 0 || dot == std::u32string::npos || dot < at + 2) return false;
  const std::u32string_view host = std::u32string_view(all).substr(at + 1);
  const std::u32string_view end = std::u32string_view(all).substr(dot + 1);
  return is_word(host[0]) && !end.empty() && std::ranges::all_of(end, is_word) &&
         std::ranges::all_of(host, [](char32_t c) { return is_word(c) || c == U'.' || c == U'-'; });
}

// A word as what stands before a link, the link, and what stands behind.
struct LinkParts {
  std::string_view head;
  std::string middle;
  std::string_view tail;
};

std::size_t count_text(std::string_view text, std::string_view what) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; at += what.size()) ++count;
  return count;
}

LinkParts link_parts(std::string_view word) {
  constexpr std::string_view kOpening[] = {"(", "<", "&lt;"};
  constexpr std::string_view kClosing[] = {")", ">", ".", ",", "\n", "&gt;"};
  std::string_view middle = word;
  const auto skip = [&](const auto& marks, bool front) {
    const auto fits = [&](std::string_view mark) { return front ? middle.starts_with(mark) : middle.ends_with(mark); };
    while (true) {
      const auto* const mark = std::find_if(std::begin(marks), std::end(marks), fits);
      if (mark == std::end(marks)) return;
      front ? middle.remove_prefix(mark->size()) : middle.remove_suffix(mark->size());
    }
  };
  skip(kOpening, true);
  const std::string_view head = word.substr(0, word.size() - middle.size());
  skip(kClosing, false);
  LinkParts parts{head, std::string(middle), word.substr(head.size() + middle.size())};
  // A bracket that the link opens is closed in it.
  constexpr std::pair<std::string_view, std::string_view> kPairs[] = {{"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
  for (const auto& [open, close] : kPairs) {
    const std::size_t opened = count_text(parts.middle, open);
    if (opened <= count_text(parts.middle, close)) continue;
    for (std::size_t i = std::min(opened, count_text(parts.tail, close)); i > 0; --i) {
      const std::size_t end = parts.tail.find(close) + close.size();
      parts.middle += parts.tail.substr(0, end);
      parts.tail.remove_prefix(end);
    }
  }
  return parts;
}

Value urlize(Interpreter& interpreter, const Value& subject, Arguments& arguments) {
  const Parameters parameters("do_urlize", arguments, {"trim_url_limit", "nofollow", "target", "rel", "extra_schemes"});
  if (parameters.has(4) && !parameters.at(4).is_none()) fail("urlize knows no further schemes here");
  const Integer limit = parameters.has(0) && parameters.at(0).is_none() ? -1 : parameters.integer(0, -1);
  const auto option = [&](std::size_t i) {
    return parameters.has(i) && !parameters.at(i).is_none() ? parameters.text(interpreter, i, "") : std::string();
  };
  std::vector<std::string> rel = {"noopener"};
  if (parameters.flag(1)) rel.emplace_back("nofollow");
  const std::u32string names = characters_of(option(3));
  for (std::size_t at = 0; at < names.size();) {
    std::size_t end = at;
    while (end < names.size() && !is_space(names[end])) ++end;
    if (end > at) rel.push_back(bytes_of(std::u32string_view(names).substr(at, end - at)));
    at = end + 1;
  }
  std::ranges::sort(rel);
  rel.erase(std::unique(rel.begin(), rel.end()), rel.end());
  std::string attributes = " rel=\"";
  for (const std::string& one : rel) attributes += (attributes.ends_with('"') ? "" : " ") + escaped(one);
  attributes += '"';
  if (const std::string target = option(2); !target.empty()) attributes += " target=\"" + escaped(target) + "\"";
  const auto shown = [&](const std::string& url) {
    if (limit < 0 || static_cast<Integer>(count_characters(url)) <= limit) return url;
    return url.substr(0, offset_of(url, static_cast<std::size_t>(limit))) + "...";
  };
  const std::string text = subject.is_markup() ? subject.text() : escaped(interpreter.text_of(subject));
  interpreter.heap().spend_on(16 * text.size());
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    for (std::size_t next = at; end < text.size(); end = next) {
      if (is_space(next_character(text, next))) break;
    }
    if (end == at) {
      next_character(text, end);
      out += text.substr(at, end - at);
      at = end;
      continue;
    }
    const LinkParts parts = link_parts(std::string_view(text).substr(at, end - at));
    const std::string& middle = parts.middle;
    out += parts.head;
    if (is_web_address(middle)) {
      const bool has_scheme = middle.starts_with("https://") || middle.starts_with("http://");
      out += "<a href=\"" + std::string(has_scheme ? "" : "https://") + middle + "\"" + attributes + ">" +
             shown(middle) + "</a>";
    } else if (middle.starts_with("mailto:") && is_mail_address(std::string_view(middle).substr(7))) {
      out += "<a href=\"" + middle + "\">" + middle.substr(7) + "</a>";
    } else if (middle.find(':') == std::string::npos && !middle.starts_with("www.") && is_mail_address(middle)) {
      out += "<a href=\"mailto:" + middle + "\">" + middle + "</a>";
    } else {
      out += middle;
    }
    out += parts.tail;
    interpreter.heap().require(out.size());
    at = end;
  }
  return interpreter.string(std::move(out));
}

constexpr FilterEntry kLinkFilters[] = {{"urlize", urlize}};

}  // namespace

Filters link_filters() { return kLinkFilters; }

}  // namespace loadline::chat::jinja

#include "serve/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/json_text.h"

namespace loadline::serve {
namespace {

// Arrays and objects inside one another; values, which are at most one more than what separates them; and at most how
// much memory they take once they are parsed: lists grow by doubling, and each string may be an allocation.
struct Extent {
  int depth = 0;
  std::size_t values = 1;
  std::size_t members = 0, lists = 0, strings = 0;

  [[nodiscard]] Bytes memory() const {
    constexpr std::size_t kAllocation = 32;
    constexpr std::size_t kMember = sizeof(Json) + sizeof(std::string);
    return Bytes(3 * (values * sizeof(Json) + members * kMember) + (strings + 2 * lists) * kAllocation);
  }
};

// A bound that is no more than what a program can count is told only where a number is beyond it.
std::string whole_number(std::int64_t least, std::int64_t most, double given) {
  const bool far = std::abs(given) > INT32_MAX;
  const bool from = far || least > INT32_MIN;
  const bool to = far || most < INT32_MAX;
  if (from && to) return fmt::format("a whole number from {} to {}", least, most);
  if (from) return fmt::format("a whole number of at least {}", least);
  return to ? fmt::format("a whole number of at most {}", most) : "a whole number";
}

Extent extent_of(std::string_view text) {
  Extent extent;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
      ++extent.strings;
    } else if (c == '[' || c == '{') {
      extent.depth = std::max(extent.depth, ++depth);
      ++extent.values;
      ++extent.lists;
    } else if (c == ':') {
      ++extent.members;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

// The code unit of "\\uXXXX" at `at`; -1 where there is none.
std::int32_t unit_at(std::string_view text, std::size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return -1;
  std::int32_t unit = 0;
  const auto [end, problem] = std::from_chars(text.data() + at + 2, text.data() + at + 6, unit, 16);
  return problem == std::errc() && end == text.data() + at + 6 ? unit : -1;
}

// Clients cut texts anywhere, through a surrogate pair too.
std::string with_whole_pairs(std::string_view text) {
  constexpr std::string_view kReplacement = "\\uFFFD";
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i++];
      continue;
    }
    const std::int32_t unit = unit_at(text, i);
    const bool high = unit >= 0xD800 && unit < 0xDC00;
    const std::int32_t next = high ? unit_at(text, i + 6) : -1;
    if (high && next >= 0xDC00 && next < 0xE000) {
      out += text.substr(i, 12);
      i += 12;
    } else if (unit >= 0xD800 && unit < 0xE000) {
      out += kReplacement;
      i += 6;
    } else {
      out += text.substr(i, 2);
      i += 2;
    }
  }
  return out;
}

}  // namespace

Error wrong_field(std::string_view field, std::string_view wanted) {
  return bad_input(fmt::format("\"{}\" must be {}", field, wanted));
}

const Json* find(const Json& object, std::string_view field) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const Json* find_object(const Json& object, std::string_view field) {
  const Json* value = find(object, field);
  if (value != nullptr && !value->is_object()) throw wrong_field(field, "an object");
  return value;
}

const Json* find_array(const Json& object, std::string_view field) {
  const Json* value = find(object, field);
  if (value != nullptr && !value->is_array()) throw wrong_field(field, "an array");
  return value;
}

const Json* find(const Json& object, std::string_view field, std::string_view inner) {
  const Json* outer = find(object, field);
  return outer == nullptr ? nullptr : find(*outer, inner);
}

Json parse_body(std::string_view body) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) return Json::object();
  const Extent extent = extent_of(body);
  if (extent.depth > kDeepestJson) {
    throw bad_input(fmt::format("the request's JSON is nested more than {} levels deep", kDeepestJson));
  }
  if (extent.values > kMostJsonValues) {
    throw bad_input(fmt::format("the request's JSON has more than {} values", kMostJsonValues));
  }
  if (extent.memory() > kMostJson) {
    throw bad_input(fmt::format("the request's JSON would take more than {} of memory", to_string(kMostJson)));
  }
  const bool pairs = body.find("\\uD") != std::string_view::npos || body.find("\\ud") != std::string_view::npos;
  constexpr std::string_view kBody = "the request's body";
  // Pairs that were made whole are as long as before.
  Json json = pairs ? parse_json<Json>(with_whole_pairs(body), kBody) : parse_json<Json>(body, kBody);
  if (!json.is_object()) throw bad_input(fmt::format("{} must be a JSON object", kBody));
  return json;
}

Json number_json(float number) {
  std::array<char, 32> text{};
  double out = number;
  (void)std::from_chars(text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr, out);
  return out;
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::optional<std::string> get_string(const Json& object, std::string_view field) {
  const Json* value = find(object, field);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) throw wrong_field(field, "a string");
  return value->get<std::string>();
}

std::optional<bool> get_bool(const Json& object, std::string_view field) {
  const Json* value = find(object, field);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_string() && (*value == "true" || *value == "false")) return *value == "true";
  if (value->is_number() && (*value == 0 || *value == 1)) return *value == 1;
  throw wrong_field(field, "true or false");
}

std::optional<double> get_number(const Json& object, std::string_view field, double least, double most) {
  const Json* value = find(object, field);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(number >= least && number <= most))
    throw wrong_field(field, fmt::format("a number from {} to {}", least, most));
  return number;
}

std::optional<std::int64_t> get_integer(const Json& object, std::string_view field, std::int64_t least,
                                        std::int64_t most) {
  const Json* value = find(object, field);
  if (value == nullptr) return std::nullopt;
  const double number = value->is_number() ? value->get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most)) || std::floor(number) != number) {
    throw wrong_field(field, whole_number(least, most, number));
  }
  return value->is_number_integer() ? value->get<std::int64_t>() : static_cast<std::int64_t>(number);
}

std::vector<std::string> get_strings(const Json& object, std::string_view field) {
  const Json* value = find(object, field);
  std::vector<std::string> out;
  if (value == nullptr) return out;
  const auto add = [&](const Json& one) {
    if (!one.is_string()) throw wrong_field(field, "a string or an array of strings");
    if (!one.get_ref<const std::string&>().empty()) out.push_back(one.get<std::string>());
  };
  if (value->is_array()) {
    for (const Json& one : *value) add(one);
  } else {
    add(*value);
  }
  return out;
}

}  // namespace loadline::serve

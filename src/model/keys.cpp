#include "model/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace loadline::model {
namespace {

std::uint32_t checked(const std::string& name, std::int64_t count, std::uint64_t limit, std::uint64_t least) {
  if (count < 0 || static_cast<std::uint64_t>(count) < least || static_cast<std::uint64_t>(count) > limit) {
    throw bad_input(fmt::format("{} is {}, which is outside {} to {}", name, count, least, limit));
  }
  return static_cast<std::uint32_t>(count);
}

}  // namespace

std::string Keys::key(std::string_view suffix) const { return fmt::format("{}.{}", architecture_, suffix); }

std::string Keys::take(std::string_view suffix) {
  read_.emplace(suffix);
  return key(suffix);
}

bool Keys::is_array(std::string_view suffix) const {
  const gguf::Value* value = metadata_.find(key(suffix));
  return value != nullptr && value->type() == gguf::ValueType::Array;
}

void Keys::check_length(const std::string& name, std::size_t length, std::uint32_t layers) const {
  if (length != layers) {
    throw bad_input(fmt::format("{} has {} entries, but the model has {} layers", name, length, layers));
  }
}

std::optional<std::uint32_t> Keys::find_count(std::string_view suffix, std::uint64_t limit, std::uint64_t least) {
  const std::string name = take(suffix);
  const auto count = metadata_.get_signed(name);
  if (!count) return std::nullopt;
  return checked(name, *count, limit, least);
}

std::uint32_t Keys::count(std::string_view suffix, std::uint64_t limit, std::uint64_t least) {
  if (const auto found = find_count(suffix, limit, least)) return *found;
  throw bad_input(fmt::format("the model has no {}", key(suffix)), "The file is not a complete model of this family.");
}

std::vector<std::uint32_t> Keys::find_counts(std::string_view suffix, std::uint32_t layers, std::uint64_t limit,
                                             std::uint64_t least) {
  if (!is_array(suffix)) {
    const auto one = find_count(suffix, limit, least);
    return one ? std::vector<std::uint32_t>(layers, *one) : std::vector<std::uint32_t>();
  }
  const std::string name = take(suffix);
  const auto items = metadata_.get_integers(name);
  check_length(name, items->size(), layers);
  std::vector<std::uint32_t> counts;
  counts.reserve(items->size());
  for (const std::int64_t item : *items) counts.push_back(checked(name, item, limit, least));
  return counts;
}

std::optional<std::vector<bool>> Keys::find_flags(std::string_view suffix, std::uint32_t layers) {
  const std::string name = take(suffix);
  const gguf::Array* array = metadata_.get_array(name);
  if (array == nullptr) return std::nullopt;
  std::vector<bool> flags;
  if (const auto* items = std::get_if<std::vector<bool>>(&array->items)) {
    flags = *items;
  } else {
    const auto numbers = metadata_.get_integers(name);
    for (const std::int64_t item : *numbers) flags.push_back(item != 0);
  }
  check_length(name, flags.size(), layers);
  return flags;
}

std::optional<bool> Keys::find_flag(std::string_view suffix) { return metadata_.get_bool(take(suffix)); }

std::optional<float> Keys::find_number(std::string_view suffix) {
  const std::string name = take(suffix);
  const auto number = metadata_.get_number(name);
  if (!number) return std::nullopt;
  if (!std::isfinite(static_cast<float>(*number))) throw bad_input(fmt::format("{} is {}", name, *number));
  return static_cast<float>(*number);
}

std::optional<float> Keys::find_positive(std::string_view suffix, double limit) {
  const std::string name = take(suffix);
  const auto number = metadata_.get_number(name);
  if (!number) return std::nullopt;
  if (!std::isfinite(*number) || *number <= 0 || *number > limit) {
    throw bad_input(fmt::format("{} is {}, which is outside 0 to {}", name, *number, limit));
  }
  return static_cast<float>(*number);
}

std::vector<float> Keys::bare_numbers(const std::string& name, std::uint32_t layers) const {
  const gguf::Value* value = metadata_.find(name);
  if (value == nullptr) {
    throw bad_input(fmt::format("the model has no {}", name), "The file is not a complete model of this family.");
  }
  std::vector<float> numbers;
  if (value->type() == gguf::ValueType::Array) {
    const auto* items = std::get_if<std::vector<float>>(&metadata_.get_array(name)->items);
    if (items == nullptr) throw bad_input(fmt::format("{} is not a list of float32", name));
    check_length(name, items->size(), layers);
    numbers = *items;
  } else {
    numbers.assign(layers, static_cast<float>(*metadata_.get_number(name)));
  }
  for (const float number : numbers) {
    if (!std::isfinite(number)) throw bad_input(fmt::format("{} is {}", name, number));
  }
  return numbers;
}

const std::string* Keys::find_text(std::string_view suffix) { return metadata_.get_string(take(suffix)); }

void Keys::ignore(std::string_view suffix, std::string_view because) {
  if (read_.contains(suffix)) return;
  read_.emplace(suffix);
  if (has(suffix)) remarks_.push_back(fmt::format("{} is ignored: {}.", key(suffix), because));
}

std::vector<std::string> Keys::unread() const {
  std::vector<std::string> unread;
  const std::string prefix = architecture_ + ".";
  for (const auto& [name, value] : metadata_.entries()) {
    if (name.starts_with(prefix) && !read_.contains(std::string_view(name).substr(prefix.size()))) {
      unread.push_back(name);
    }
  }
  return unread;
}

}  // namespace loadline::model

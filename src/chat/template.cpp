#include "chat/template.h"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <ctime>

#include "base/text.h"
#include "chat/jinja/interpreter.h"
#include "chat/jinja/json.h"
#include "chat/jinja/parser.h"

namespace loadline::chat {
namespace {

// Templates of real models have up to 40 KiB.
constexpr std::size_t kLongestSource = std::size_t{4} << 20;
constexpr std::size_t kLongestMessage = 2000;

TemplateError render_error(const jinja::Failure& failure) {
  const std::string message = failure.what();
  switch (failure.kind()) {
    case jinja::Failure::Kind::Raised:
      return {TemplateError::Kind::Refused,
              fmt::format("the chat template refuses this conversation: \"{}\"", printable(message, kLongestMessage)),
              message, failure.line};
    case jinja::Failure::Kind::Limit:
      return {TemplateError::Kind::TooLarge,
              fmt::format("the chat template was stopped in line {}: {}", failure.line,
                          printable(message, kLongestMessage)),
              message, failure.line};
    default:
      return {TemplateError::Kind::Failed,
              fmt::format("the chat template fails in line {}: {}", failure.line, printable(message, kLongestMessage)),
              message, failure.line};
  }
}

}  // namespace

std::int64_t local_time() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  ::localtime_r(&now, &local);
  return static_cast<std::int64_t>(now) + local.tm_gmtoff;
}

std::int64_t parse_time(std::string_view text) {
  int parts[6] = {0, 1, 1, 0, 0, 0};
  std::size_t count = 0;
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  constexpr std::string_view kSeparators = "--T::";
  bool good = !text.empty();
  while (good && at < end && count < 6) {
    const auto [stop, problem] = std::from_chars(at, end, parts[count]);
    good = problem == std::errc() && *at != '-';
    at = stop;
    ++count;
    if (at == end || count == 6) break;
    good = good && (*at == kSeparators[count - 1] || (count == 3 && *at == ' ')) && at + 1 < end;
    ++at;
  }
  using std::chrono::day;
  using std::chrono::month;
  using std::chrono::year;
  const std::chrono::year_month_day date(year(parts[0]), month(static_cast<unsigned>(parts[1])),
                                         day(static_cast<unsigned>(parts[2])));
  const bool in_range =
      parts[0] >= 1 && parts[0] <= 9999 && date.ok() && parts[3] < 24 && parts[4] < 60 && parts[5] < 60;
  if (!good || at != end || count < 3 || !in_range) {
    throw bad_input(fmt::format("\"{}\" is not a date and time", printable(text)), "Write it as 2026-01-02T03:04:05.");
  }
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return static_cast<std::int64_t>(days) * 86400 + parts[3] * 3600 + parts[4] * 60 + parts[5];
}

jinja::Heap make_heap(const RenderLimits& limits) { return {limits.memory.value, limits.steps}; }

Template::Template(std::string_view source) : source_(source) {
  try {
    if (source.size() > kLongestSource) {
      jinja::Failure failure(jinja::Failure::Kind::Runtime, fmt::format("it has {} bytes", source.size()));
      failure.line = 1;
      throw failure;
    }
    tree_ = jinja::parse(source);
  } catch (const jinja::Failure& failure) {
    throw TemplateError(TemplateError::Kind::Unparsable,
                        fmt::format("the chat template cannot be read, line {}: {}", failure.line,
                                    printable(failure.what(), kLongestMessage)),
                        failure.what(), failure.line);
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::render(jinja::Heap& heap, const jinja::Value& variables, const RenderOptions& options) const {
  try {
    const jinja::RenderSettings settings{options.limits.output.value, options.limits.calls, options.now};
    return jinja::Interpreter(*tree_, heap, settings).run(variables);
  } catch (const jinja::Failure& failure) {
    throw render_error(failure);
  }
}

std::string Template::render(std::string_view variables_json, const RenderOptions& options) const {
  jinja::Heap heap = make_heap(options.limits);
  jinja::Value variables;
  try {
    variables = jinja::parse_json(heap, variables_json);
  } catch (const jinja::Failure& failure) {
    throw bad_input(fmt::format("the variables of the chat template are {}", failure.what()));
  }
  if (!variables.is(jinja::Kind::Dict)) throw bad_input("the variables of the chat template are no JSON object");
  return render(heap, variables, options);
}

bool Template::mentions(std::string_view word) const {
  const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (std::size_t at = source_.find(word); at != std::string::npos; at = source_.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    if ((at == 0 || !is_part(source_[at - 1])) && (end == source_.size() || !is_part(source_[end]))) return true;
  }
  return false;
}

}  // namespace loadline::chat

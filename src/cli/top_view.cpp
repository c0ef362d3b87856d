#include "cli/top_view.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "base/bytes.h"
#include "base/text.h"
#include "cli/redraw.h"
#include "cli/server_options.h"

namespace loadline::cli {

using Json = nlohmann::ordered_json;

namespace {

std::uint64_t count_in(const Json& object, const char* name) { return bytes_in(object, name).value; }

// Names from elsewhere, in so many columns: what is not plain is shown as such.
std::string name_of(const std::string& text, std::size_t most) {
  std::string out = printable(text, 400);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) >= 0x80U) c = '?';  // whose width a terminal may see otherwise
  }
  if (out.size() > most) out = out.substr(0, most - 1) + "~";
  return out;
}

std::string bar(double share, double of, std::size_t width) {
  const auto cells = [&](double part) {
    return std::min(width, static_cast<std::size_t>(std::max(0.0, part) * static_cast<double>(width) + 0.5));
  };
  const std::size_t full = cells(share);
  const std::size_t budget = std::max(full, cells(of));
  std::string out;
  for (std::size_t i = 0; i < width; ++i) out += i < full ? "█" : i < budget ? "▒" : "░";
  return out;
}

// In as many lines as it takes.
void add_purposes(const Json& tier, std::size_t width, std::vector<std::string>& lines) {
  constexpr std::size_t kIndent = 15;
  std::size_t used = width;  // columns of the last line
  for (const auto& [name, value] : object_in(tier, "purposes").items()) {
    if (!value.is_number()) continue;
    const Bytes bytes(value.is_number_unsigned() ? value.get<std::uint64_t>() : 0);
    const std::string one = fmt::format("{} {}", name_of(name, 10), to_string(bytes));
    if (used + 3 + one.size() > width) {
      lines.push_back(std::string(kIndent, ' ') + one);
      used = kIndent + one.size();
    } else {
      lines.back() += " · " + one;
      used += 3 + one.size();
    }
  }
}

// Without an exponent.
std::string rate_text(double rate) { return rate >= 100 ? fmt::format("{:.0f}", rate) : fmt::format("{:.3g}", rate); }

void add_tiers(const Json& state, std::size_t width, std::vector<std::string>& lines) {
  for (const Json& tier : list_in(state, "tiers")) {
    const bool disk = text_in(tier, "kind") == "disk";
    const Bytes planned = bytes_in(tier, "planned");
    if (disk && planned.value == 0) continue;
    const Bytes budget = bytes_in(tier, "budget");
    const double whole =
        std::max({1.0, static_cast<double>(bytes_in(tier, "capacity").value), static_cast<double>(budget.value)});
    const bool ram = text_in(tier, "kind") == "ram";
    const std::string held = ram ? fmt::format(" · held {}", to_string(bytes_in(state, "held"))) : std::string();
    lines.push_back(disk ? fmt::format("{:<14} {}", name_of(text_in(tier, "name"), 14), to_string(planned))
                         : fmt::format("{:<14} {} {} of {}{}", name_of(text_in(tier, "name"), 14),
                                       bar(static_cast<double>(planned.value) / whole,
                                           static_cast<double>(budget.value) / whole, 20),
                                       to_string(planned), to_string(budget), held));
    add_purposes(tier, width, lines);
  }
}

std::string sessions_line(const Json& state) {
  std::size_t generating = 0;
  std::size_t idle = 0;
  std::string reading;
  std::size_t readers = 0;
  for (const Json& place : list_in(state, "places")) {
    const std::string what = text_in(place, "state");
    generating += what == "generating" ? 1 : 0;
    idle += what == "idle" ? 1 : 0;
    if (what != "reading") continue;
    ++readers;
    reading = fmt::format(" ({} of {} tokens)", count_in(place, "prompt_read"), count_in(place, "prompt_tokens"));
  }
  const Json& cache = object_in(state, "cache");
  return fmt::format("sessions       {} generating, {} reading{}, {} waiting, {} free · cache {} of {} pages",
                     generating, readers, readers == 1 ? reading : "", count_in(state, "waiting"), idle,
                     count_in(cache, "held_pages"), count_in(cache, "pages"));
}

std::string speed_line(const Json& state, const std::optional<TopRates>& now) {
  const Json& predicted = object_in(state, "predicted");
  const Json& rates = object_in(state, "rates");
  const double generation = now ? now->generation : number_in(rates, "generation");
  const double prompt = now ? now->prompt : number_in(rates, "prompt");
  return fmt::format("speed          {} tok/s{} ({} predicted alone) · prompt {} ({} predicted)", rate_text(generation),
                     now ? " now" : "", rate_text(number_in(predicted, "generation")), rate_text(prompt),
                     rate_text(number_in(predicted, "prompt")));
}

void add_watch(const Json& state, std::vector<std::string>& lines) {
  const Json& verdicts = list_in(object_in(state, "watch"), "verdicts");
  if (verdicts.empty()) lines.emplace_back("watch          nothing unusual");
  for (const Json& verdict : verdicts) {
    lines.push_back(fmt::format("watch          {}: {}", name_of(text_in(verdict, "kind"), 14),
                                name_of(text_in(verdict, "evidence"), 300)));
    if (const std::string remedy = text_in(verdict, "remedy"); !remedy.empty()) {
      lines.push_back("               " + name_of(remedy, 300));
    }
  }
  if (const std::string trouble = text_in(state, "trouble"); !trouble.empty()) {
    lines.push_back("plan           " + name_of(trouble, 300));
  }
}

void add_change(const Json& state, std::vector<std::string>& lines) {
  const Json& change = object_in(state, "change");
  const std::string what = text_in(change, "state");
  if (what.empty()) return;
  if (what == "loading") {
    lines.push_back(fmt::format("change         loading another plan: {} of {}", to_string(bytes_in(change, "loaded")),
                                to_string(bytes_in(change, "of"))));
    return;
  }
  lines.push_back(fmt::format("change         {} ({}): {:.2f} s without tokens, {:.2f} s predicted", name_of(what, 10),
                              name_of(text_in(change, "why"), 60), number_in(change, "seconds"),
                              number_in(change, "predicted_seconds")));
}

}  // namespace

std::vector<std::string> top_lines(const Json& state, const std::string& url, const std::optional<TopRates>& now,
                                   std::size_t width) {
  std::vector<std::string> lines;
  const std::string model = text_in(state, "model");
  const std::uint64_t up = count_in(state, "uptime");
  lines.push_back(fmt::format("loadline top · {} · {} · up {}:{:02}:{:02}",
                              model.empty() ? "no model" : name_of(model, 30), url, up / 3600, up / 60 % 60, up % 60));
  if (!model.empty()) {
    add_tiers(state, width, lines);
    lines.push_back(sessions_line(state));
    lines.push_back(speed_line(state, now));
    add_watch(state, lines);
    add_change(state, lines);
  }
  for (std::string& line : lines) line = cut_to_columns(line, std::max<std::size_t>(width, 20));
  return lines;
}

std::optional<TopRates> rates_between(const Json& before, const Json& after, double seconds) {
  const Json& was = object_in(before, "activity");
  const Json& is = object_in(after, "activity");
  const double prompt = number_in(is, "prompt_tokens") - number_in(was, "prompt_tokens");
  const double generated = number_in(is, "generated_tokens") - number_in(was, "generated_tokens");
  if (seconds <= 0 || prompt < 0 || generated < 0 || was.empty() || is.empty()) return std::nullopt;
  return TopRates{prompt / seconds, generated / seconds};
}

}  // namespace loadline::cli

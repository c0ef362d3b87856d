#include "selftest/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "base/version.h"

namespace loadline::selftest {
namespace {

std::size_t count(const Card& card, Verdict verdict) {
  return static_cast<std::size_t>(std::ranges::count(card.rows, verdict, &Row::verdict));
}

std::string names(const Card& card, Verdict verdict) {
  std::vector<std::string> all;
  for (const Row& row : card.rows) {
    if (row.verdict == verdict) all.push_back(fmt::format("{} {}", row.section, row.name));
  }
  return fmt::format("{}", fmt::join(all, ", "));
}

nlohmann::ordered_json json_of(const Row& row) {
  nlohmann::ordered_json json;
  json["section"] = row.section;
  json["check"] = row.name;
  json["verdict"] = name_of(row.verdict);
  json["said"] = row.said;
  json["seconds"] = row.seconds;
  nlohmann::ordered_json figures = nlohmann::ordered_json::array();
  for (const Figure& figure : row.figures) {
    figures.push_back({{"name", figure.name}, {"value", figure.value}, {"unit", figure.unit}});
  }
  json["figures"] = std::move(figures);
  return json;
}

nlohmann::ordered_json json_of(const Card& card) {
  nlohmann::ordered_json json;
  json["id"] = card.id;
  json["name"] = card.name;
  json["driver"] = card.driver;
  json["software"] = card.software;
  json["memory"] = card.memory.value;
  json["free"] = card.free.value;
  for (const Verdict verdict :
       {Verdict::Passed, Verdict::Failed, Verdict::Missed, Verdict::Measured, Verdict::NotHere, Verdict::LeftOut}) {
    json["counts"][std::string(name_of(verdict))] = count(card, verdict);
  }
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Row& row : card.rows) rows.push_back(json_of(row));
  json["rows"] = std::move(rows);
  return json;
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::Passed: return "ok";
    case Verdict::Failed: return "FAILED";
    case Verdict::Missed: return "missed";
    case Verdict::Measured: return "seen";
    case Verdict::NotHere: return "not here";
    case Verdict::LeftOut: return "left out";
  }
  return "";
}

bool any_failed(const Report& report) {
  return std::ranges::any_of(report.cards, [](const Card& card) { return count(card, Verdict::Failed) != 0; });
}

std::string heading_of(const Card& card) {
  return fmt::format("{}: {} ({}){} · {}, {} free", card.id, printable(card.name), printable(card.driver),
                     card.software ? ", software" : "", to_string(card.memory), to_string(card.free));
}

std::string line_of(const Row& row) {
  return fmt::format("{:<8}  {:<6}  {:<24}  {}", name_of(row.verdict), row.section, row.name,
                     printable(row.said, std::string::npos));
}

std::string summary_of(const Card& card, const Report& report) {
  std::string text =
      fmt::format("{} ok, {} failed, {} missed, {} seen, {} not here, {} left out", count(card, Verdict::Passed),
                  count(card, Verdict::Failed), count(card, Verdict::Missed), count(card, Verdict::Measured),
                  count(card, Verdict::NotHere), count(card, Verdict::LeftOut));
  if (count(card, Verdict::Failed) != 0) text += fmt::format("\nfailed: {}", names(card, Verdict::Failed));
  if (count(card, Verdict::Missed) != 0) text += fmt::format("\nmissed: {}", names(card, Verdict::Missed));
  if (count(card, Verdict::LeftOut) != 0) {
    const std::string why = report.interrupted ? "left out, stopped by the user"
                                               : fmt::format("left out of {:.3g} minutes", report.minutes);
    text += fmt::format("\n{}: {}", why, names(card, Verdict::LeftOut));
  }
  return text;
}

std::string to_json(const Report& report) {
  nlohmann::ordered_json json;
  json["program"] = fmt::format("loadline {}", kVersion);
  json["processor"] = report.processor;
  json["ram"] = report.ram.value;
  json["minutes"] = report.minutes;
  json["seconds"] = report.seconds;
  json["interrupted"] = report.interrupted;
  json["failed"] = any_failed(report);
  nlohmann::ordered_json cards = nlohmann::ordered_json::array();
  for (const Card& card : report.cards) cards.push_back(json_of(card));
  json["cards"] = std::move(cards);
  // What a driver calls itself need not be UTF-8.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace loadline::selftest

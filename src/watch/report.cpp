#include "watch/report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace loadline::watch {
namespace {

using nlohmann::ordered_json;

ordered_json json_of(const Verdict& verdict) {
  ordered_json figures = ordered_json::object();
  for (const Figure& figure : verdict.figures) figures[std::string(figure.name)] = figure.value;
  return {{"kind", key_of(verdict.kind)}, {"device", verdict.device}, {"slowdown", verdict.slowdown},
          {"evidence", verdict.evidence}, {"remedy", verdict.remedy}, {"figures", std::move(figures)},
          {"line", line(verdict)}};
}

ordered_json json_of(const Event& event) {
  ordered_json json = json_of(event.change.verdict);
  json["number"] = event.number;
  json["at"] = event.at;
  json["sample"] = event.sample;
  json["begins"] = event.change.begins;
  return json;
}

std::string dump(const ordered_json& json) { return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace); }

}  // namespace

std::string to_json(const Event& event) { return dump(json_of(event)); }

ordered_json json_of(const Status& status) {
  ordered_json json;
  json["degraded"] = !status.verdicts.empty();
  json["verdicts"] = ordered_json::array();
  for (const Verdict& verdict : status.verdicts) json["verdicts"].push_back(json_of(verdict));
  json["lost"] = ordered_json::object();
  for (const Kind kind : kAllKinds) json["lost"][std::string(key_of(kind))] = status.losses.share(kind);
  json["measured_over_predicted"] = status.ratio ? ordered_json(*status.ratio) : ordered_json(nullptr);
  json["events"] = ordered_json::array();
  for (const Event& event : status.events) json["events"].push_back(json_of(event));
  json["samples"] = status.samples;
  json["own_seconds"] = status.own_seconds;
  json["not_told"] = status.missing;
  return json;
}

std::string to_json(const Status& status) { return dump(json_of(status)); }

std::string metrics(const Status& status) {
  std::string text =
      "# HELP loadline_watch_verdict Whether the machine is in this trouble now.\n"
      "# TYPE loadline_watch_verdict gauge\n";
  for (const Kind kind : kAllKinds) {
    const bool holds = std::ranges::any_of(status.verdicts, [&](const Verdict& v) { return v.kind == kind; });
    text += fmt::format("loadline_watch_verdict{{kind=\"{}\"}} {}\n", key_of(kind), holds ? 1 : 0);
  }
  text +=
      "# HELP loadline_watch_lost_seconds_total Time of passes beyond what they should take, by cause.\n"
      "# TYPE loadline_watch_lost_seconds_total counter\n";
  for (const Kind kind : kAllKinds) {
    text += fmt::format("loadline_watch_lost_seconds_total{{kind=\"{}\"}} {}\n", key_of(kind),
                        status.losses.lost[static_cast<std::size_t>(kind)]);
  }
  text += fmt::format(
      "# HELP loadline_watch_pass_seconds_total Time of passes.\n"
      "# TYPE loadline_watch_pass_seconds_total counter\n"
      "loadline_watch_pass_seconds_total {}\n"
      "# HELP loadline_watch_measured_over_predicted Time of the last passes, measured over predicted.\n"
      "# TYPE loadline_watch_measured_over_predicted gauge\n"
      "loadline_watch_measured_over_predicted {}\n"
      "# HELP loadline_watch_own_seconds_total Processor time that watching took.\n"
      "# TYPE loadline_watch_own_seconds_total counter\n"
      "loadline_watch_own_seconds_total {}\n",
      status.losses.passes, status.ratio ? fmt::format("{}", *status.ratio) : std::string("NaN"), status.own_seconds);
  return text;
}

std::string lost_line(const Losses& losses) {
  std::string text;
  for (const Kind kind : kAllKinds) {
    const double share = losses.share(kind);
    if (share < 0.01) continue;
    text += fmt::format("{}{:.0f} %{} to {}", text.empty() ? "lost " : ", ", 100 * share,
                        text.empty() ? " of the time" : "", cause_of(kind));
  }
  return text;
}

std::string missing_memory(const Status& status) {
  for (const Verdict& verdict : status.verdicts) {
    if (verdict.kind != Kind::Squeezed && verdict.kind != Kind::Spilled && verdict.kind != Kind::Thrashing) continue;
    return fmt::format("{}: {}", name_of(verdict.kind), verdict.evidence);
  }
  return {};
}

}  // namespace loadline::watch

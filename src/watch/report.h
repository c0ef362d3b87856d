// What watching found, as others read it: JSON, metrics, and a line at the end of a run.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include "watch/watcher.h"

namespace loadline::watch {

// {"degraded": bool, "verdicts": [...], "lost": {"starved": share, ...}, "measured_over_predicted": number|null, ...}
nlohmann::ordered_json json_of(const Status& status);
std::string to_json(const Status& status);
// One change, as an event: {"kind", "begins", "evidence", "remedy", ...}
std::string to_json(const Event& event);

// Lines of Prometheus' text format, names beginning with loadline_watch_.
std::string metrics(const Status& status);

// "lost 23 % of the time to others' use of the processors, 4 % to a slow disk"; empty where nothing was lost.
std::string lost_line(const Losses& losses);

// Of the verdicts that hold, the one that says that the plan's memory is not there, in a clause; empty: none does.
std::string missing_memory(const Status& status);

}  // namespace loadline::watch

// What a self-test found, as plain data: a row for each check, and how it becomes a table or JSON. It checks nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace loadline::selftest {

enum class Verdict : std::uint8_t {
  Passed,
  Failed,    // a wrong result, or an error
  Missed,    // right, but slower or larger than it should be
  Measured,  // a figure that has no bound
  NotHere,   // this card has not got what it is about
  LeftOut,   // not done, or not to its end
};
std::string_view name_of(Verdict verdict);

struct Figure {
  std::string name;  // "generation"
  double value = 0;
  std::string unit;  // "tokens/s", "bytes/s", "1" for a share
};

struct Row {
  std::string section;  // "card", "shader", "model", "memory" or "speed"
  std::string name;     // of the check; of a shader its name
  Verdict verdict = Verdict::Passed;
  std::string said;  // what was seen, a clause
  std::vector<Figure> figures;
  double seconds = 0;  // that the check took
};

// Of one GPU.
struct Card {
  std::string id, name, driver;
  bool software = false;
  Bytes memory, free;
  std::vector<Row> rows;
};

struct Report {
  std::string processor;
  Bytes ram;
  double minutes = 0;  // that it was given
  double seconds = 0;  // that it took
  bool interrupted = false;
  std::vector<Card> cards;
};

bool any_failed(const Report& report);

// The table: its lines without an end, as a person reads them.
std::string heading_of(const Card& card);
std::string line_of(const Row& row);
// How many of each verdict, what failed and what was left out.
std::string summary_of(const Card& card, const Report& report);

std::string to_json(const Report& report);

}  // namespace loadline::selftest

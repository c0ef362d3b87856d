// What a grammar says of a whole text, by bytes.
#pragma once

#include <string_view>

#include "grammar/grammar.h"

namespace loadline::test {

struct Verdict {
  bool accepted = false;  // the text is complete
  bool prefix = false;    // it is, or some text begins with it
};

Verdict check_text(const grammar::Grammar& grammar, std::string_view text);

}  // namespace loadline::test

#include "grammar/text_check.h"

#include "grammar/session.h"

namespace loadline::test {

Verdict check_text(const grammar::Grammar& grammar, std::string_view text) {
  static const grammar::TokenIndex kNoTokens{std::vector<grammar::TokenIndex::Entry>()};
  grammar::Session session(grammar, kNoTokens);
  if (!session.accept_text(text)) return {};
  return {session.is_complete(), true};
}

}  // namespace loadline::test

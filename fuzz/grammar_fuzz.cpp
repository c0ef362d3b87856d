// Any bytes as GBNF, as a JSON schema and as a regular expression: reading and compiling must end with a grammar or an
// Error, and a grammar must say of every token the same by its mask as by taking it, and take back what it took.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/languages.h"
#include "grammar/session.h"

namespace {

using namespace loadline;
using grammar::Token;

void require(bool holds) {
  if (!holds) std::abort();
}

const grammar::TokenIndex& index() {
  static const auto kIndex = [] {
    std::vector<grammar::TokenIndex::Entry> entries;
    for (int byte = 1; byte < 256; ++byte) entries.push_back({std::string(1, static_cast<char>(byte)), false});
    for (const char* text : {"ab", "abc", "\"", "\",\"", "\":", "{\"", "}}", "true", "12", "1.5", "\xE4\xBD", "\\u00",
                             "a\"b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ",\"a\":[1"}) {
      entries.push_back({text, false});
    }
    entries.push_back({"", true});
    return grammar::TokenIndex(entries);
  }();
  return kIndex;
}

void check(const grammar::Grammar& compiled, std::string_view choices) {
  grammar::SessionLimits limits;
  limits.matcher.configurations = 300;  // so that it must tidy up
  limits.matcher.items = 3000;
  limits.matcher.nodes = 500;
  limits.matcher.callers = 2000;
  limits.matcher.parallel_items = 500;
  grammar::Session session(compiled, index(), limits);
  for (const char choice : choices) {
    std::vector<std::uint64_t> mask;
    for (const std::uint64_t word : session.mask()) mask.push_back(word);
    std::vector<Token> allowed;
    for (Token token = 0; token < static_cast<Token>(index().size()); ++token) {
      const bool bit = (mask[static_cast<std::size_t>(token) / 64] >> (token & 63) & 1) != 0;
      require(session.allows(token) == bit);
      if (bit) allowed.push_back(token);
    }
    // What can be reached can be completed, but by a zero byte, for which there is no token.
    if (allowed.empty()) {
      std::string forced;
      session.forced_text(forced, 1);
      require(forced == std::string_view("\0", 1));
      return;
    }
    const Token token = allowed[static_cast<unsigned char>(choice) % allowed.size()];
    require(session.accept(token));
    session.rollback(1);
    require(std::ranges::equal(session.mask(), mask));
    require(session.accept(token));
    if (session.has_ended()) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 10) return 0;
  const std::string_view choices(reinterpret_cast<const char*>(data) + 1, 8);
  const std::string_view text(reinterpret_cast<const char*>(data) + 9, size - 9);
  try {
    switch (data[0] % 3) {
      case 0: check(grammar::compile_gbnf(text), choices); break;
      case 1: check(grammar::compile_json_schema(text), choices); break;
      default: check(grammar::compile_regex(text), choices); break;
    }
  } catch (const Error& error) {
    require(error.code() == ErrorCode::BadInput);
  }
  return 0;
}

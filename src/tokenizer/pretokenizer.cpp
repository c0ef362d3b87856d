#include "tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>
#include <string>

#include "base/error.h"
#include "base/text.h"

namespace loadline::tokenizer {
namespace {

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr const char* kPunctuation = R"([\p{P}$+<=>^~|]+)";
constexpr const char* kFalconPunctuation = R"([\p{P}$+<=>^~|`]+)";

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kMiniCpm5 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kBailing =
    R"((?i:'[sdmt]|'ll|'ve|'re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";

// The model says `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+` for a word, which is this, without its many ways to match.
constexpr const char* kExaoneMoe =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}\p{M}*+(?: ?\p{L}\p{M}*+)*+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";

// White space in powers of two, the longest first.
constexpr const char* kJais2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
    R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S))"
    R"(|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)";

// Words between blanks and the signs that end sentences, in the writing of several languages.
constexpr const char* kBloom = R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";

// Stretches without a line break, and stretches of line breaks.
constexpr const char* kLines = R"([^\n]+|\n+)";

constexpr const char* kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                                R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                                R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// GPT-4o's, but that a digit stands alone, and contractions are of ASCII letters in either case.
constexpr const char* kYoutu =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kYoutuEastAsian =
    R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+)"
    R"(|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+)"
    R"(|[\x{3105}-\x{312F}]+|[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";

// Kimi's own writes "letters of this case that are not Han" with `&&` inside a class, which PCRE2 does not have: what
// is in no other category, and not Han. (`sc:`, since PCRE2 otherwise counts signs that are used with Han.)
constexpr const char* kKimi = R"(\p{sc:Han}+)"
                              R"(|[^\r\n\p{L}\p{N}]?[^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]*)"
                              R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                              R"(|[^\r\n\p{L}\p{N}]?[^\p{Ll}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]+)"
                              R"([^\p{Lu}\p{Lt}\p{N}\p{P}\p{S}\p{Z}\p{C}\p{sc:Han}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                              R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kAfmoeScripts =
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F})"
    R"(\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F})"
    R"(\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+)";

constexpr const char* kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The models say `\s+$`. Searched for as it stands, that can cost the square of a long run of blanks that is not at the
// end, because every blank of it is tried as a beginning; a match always begins with the first blank of a run.
constexpr const char* kTrailingBlanks = R"((?<!\s)\s++$)";

constexpr const char* kDeepSeekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";

constexpr const char* kDeepSeekIdeographs = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";

constexpr const char* kDeepSeekLetters =
    R"(\s?[)"
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77})"
    R"(\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"
    R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE})"
    R"(\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC})"
    R"(\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124})"
    R"(\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E})"
    R"(\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D})"
    R"(\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF})"
    R"(\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F})"
    R"(\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF})"
    R"(\x{1E900}-\x{1E943})"
    R"(]+)";

struct Rule {
  // NOLINTNEXTLINE(google-explicit-constructor): nearly every rule of the table is an expression alone
  Rule(const char* pattern, bool threes = false) : expression(pattern), in_threes(threes) {}

  const char* expression;
  bool in_threes;  // what it matches is cut into threes, counted from its end
};
// Runs of digits in threes from the right: the models say it by looking ahead to the end of the run from every digit.
Rule threes(const char* expression) { return {expression, true}; }

// What a name implies besides its expressions.
constexpr unsigned kIgnoreMerges = 1;
constexpr unsigned kAddBos = 2;
constexpr unsigned kPlainText = 4;   // no byte alphabet
constexpr unsigned kLineBreaks = 8;  // a run of line breaks that is a token is taken whole
constexpr unsigned kForceBos = 16;

struct Row {
  std::string_view names;
  std::vector<Rule> rules;
  unsigned traits;
};

const std::vector<Row>& table() {
#define PRETOKENIZER_LIST(...) {__VA_ARGS__}
#define PRETOKENIZER(names, rules, traits) {names, PRETOKENIZER_LIST rules, traits},
  static const std::vector<Row> kRows = {
#include "tokenizer/pretokenizers.inc"
  };
#undef PRETOKENIZER
#undef PRETOKENIZER_LIST
  return kRows;
}

bool has_name(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(' '), names.size());
    if (names.substr(0, end) == name) return true;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return false;
}

// In PCRE2, `\s` has U+180E besides the Unicode white space that the models' own engines mean by it.
std::string with_unicode_blanks(std::string_view expression) {
  std::string out;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    if (expression[i] != '\\') {
      out.push_back(expression[i]);
      continue;
    }
    const char escaped = expression[++i];  // no expression ends in a backslash
    if (escaped == 's') {
      out += R"(\p{White_Space})";
    } else if (escaped == 'S') {
      out += R"(\P{White_Space})";
    } else {
      out.push_back('\\');
      out.push_back(escaped);
    }
  }
  return out;
}

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

Error engine_failure(std::string_view doing, int code) {
  std::array<PCRE2_UCHAR, 128> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return {ErrorCode::Internal,
          fmt::format("{} the pre-tokeniser failed: {}", doing, reinterpret_cast<char*>(text.data()))};
}

}  // namespace

struct PreTokenizer::Expression {
  std::unique_ptr<pcre2_code, FreeCode> code;
  bool in_threes;

  Expression(const Rule& rule, Matching matching) : in_threes(rule.in_threes) {
    const std::string expression = with_unicode_blanks(rule.expression);
    const std::uint32_t counting = matching == Matching::Counted ? PCRE2_AUTO_CALLOUT : 0;
    int error = 0;
    PCRE2_SIZE error_at = 0;
    code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | counting, &error, &error_at, nullptr));
    if (!code) throw engine_failure("Compiling", error);
    // Where the system forbids code made at run time this fails, and the expression is interpreted.
    if (matching == Matching::Compiled) pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  }
};

PreTokenizer::PreTokenizer(std::string_view name, Matching matching) {
  for (const Row& row : table()) {
    if (!has_name(row.names, name)) continue;
    ignore_merges_ = (row.traits & kIgnoreMerges) != 0;
    adds_bos_ = (row.traits & (kAddBos | kForceBos)) != 0;
    forces_bos_ = (row.traits & kForceBos) != 0;
    plain_text_ = (row.traits & kPlainText) != 0;
    keeps_line_breaks_ = (row.traits & kLineBreaks) != 0;
    for (const Rule& rule : row.rules) expressions_.emplace_back(rule, matching);
    return;
  }
  throw bad_input(fmt::format("tokenizer.ggml.pre is \"{}\", a pre-tokeniser that is not known", printable(name)));
}

PreTokenizer::~PreTokenizer() = default;

Bytes PreTokenizer::resident_bytes() const {
  Bytes total(expressions_.capacity() * sizeof(Expression));
  for (const Expression& expression : expressions_) {
    std::size_t size = 0;
    if (pcre2_pattern_info(expression.code.get(), PCRE2_INFO_SIZE, &size) == 0) total += Bytes(size);
    if (pcre2_pattern_info(expression.code.get(), PCRE2_INFO_JITSIZE, &size) == 0) total += Bytes(size);
  }
  return total;
}

struct Splitter::Scratch {
  std::uint64_t steps = 0;
  std::unique_ptr<pcre2_match_data, FreeMatchData> match{pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context{pcre2_match_context_create(nullptr)};
};

Splitter::Splitter(const PreTokenizer& pretokenizer) : pretokenizer_(pretokenizer), scratch_(new Scratch) {
  if (!scratch_->match || !scratch_->context) throw std::bad_alloc();
  const auto count = [](pcre2_callout_block*, void* steps) {
    ++*static_cast<std::uint64_t*>(steps);
    return 0;  // go on
  };
  pcre2_set_callout(scratch_->context.get(), count, &scratch_->steps);
}

Splitter::~Splitter() = default;

std::uint64_t Splitter::steps() const { return scratch_->steps; }

const std::vector<std::uint32_t>& Splitter::split(std::string_view text) {
  pieces_.clear();
  if (text.empty()) return pieces_;
  // No expression of the table goes back and forth more than a few times a character; should one ever, this makes an
  // error of what would otherwise not end.
  const std::uint64_t limit = 1000 + 16 * std::uint64_t{text.size()};
  pcre2_set_match_limit(scratch_->context.get(),
                        static_cast<std::uint32_t>(std::min<std::uint64_t>(limit, UINT32_MAX)));
  pieces_.push_back(static_cast<std::uint32_t>(text.size()));
  for (const PreTokenizer::Expression& expression : pretokenizer_.expressions_) {
    next_.clear();
    std::size_t begin = 0;
    for (const std::uint32_t length : pieces_) {
      split_piece(expression, text.substr(begin, length));
      begin += length;
    }
    pieces_.swap(next_);
  }
  return pieces_;
}

// The first piece has one to three characters, every other three.
void Splitter::add_threes(std::string_view digits) {
  const auto begins = [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; };
  auto left = static_cast<std::size_t>(std::ranges::count_if(digits, begins));
  std::uint32_t length = 0;
  for (const char byte : digits) {
    if (begins(byte)) {
      if (left % 3 == 0 && length > 0) {
        next_.push_back(length);
        length = 0;
      }
      --left;
    }
    ++length;
  }
  if (length > 0) next_.push_back(length);
}

void Splitter::split_piece(const PreTokenizer::Expression& expression, std::string_view piece) {
  std::size_t done = 0;
  while (done < piece.size()) {
    const int found = pcre2_match(expression.code.get(), reinterpret_cast<PCRE2_SPTR>(piece.data()), piece.size(), done,
                                  PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, scratch_->match.get(), scratch_->context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (found < 0) throw engine_failure("Splitting with", found);
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch_->match.get());
    if (bounds[0] > done) next_.push_back(static_cast<std::uint32_t>(bounds[0] - done));
    if (expression.in_threes) {
      add_threes(piece.substr(bounds[0], bounds[1] - bounds[0]));
    } else {
      next_.push_back(static_cast<std::uint32_t>(bounds[1] - bounds[0]));
    }
    done = bounds[1];
  }
  if (done < piece.size()) next_.push_back(static_cast<std::uint32_t>(piece.size() - done));
}

}  // namespace loadline::tokenizer

// How a schema becomes rules. Internal to the module.
//
// Schemas are taken apart into alternatives: an alternative is a list of schema objects that all hold, none of which
// has a reference or a combination left ("allOf", "anyOf", "oneOf" and "$ref" have become members and alternatives).
// What a property must satisfy is again a list of schemas that all hold, so that nothing ever needs to be merged as
// text.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "grammar/json_schema.h"
#include "grammar/regex.h"

namespace loadline::grammar {

using Schemas = std::vector<const Json*>;  // all of them hold

struct JsonType {
  enum Bits : std::uint8_t {
    Null = 1,
    Boolean = 2,
    Integer = 4,
    Fraction = 8,  // numbers that are no integers
    String = 16,
    Array = 32,
    Object = 64,
    Number = Integer | Fraction,
    AnyType = 127,
  };
};

// A bound of numbers, exactly: value = digits / 10^scale, negative or not.
struct Decimal {
  bool negative = false;
  std::string whole;     // digits without leading zeros; empty for 0
  std::string fraction;  // digits without trailing zeros
  [[nodiscard]] bool is_zero() const { return whole.empty() && fraction.empty(); }
};
struct Bound {
  Decimal value;
  bool exclusive = false;
};
struct Range {
  std::optional<Bound> low;
  std::optional<Bound> high;
};
Decimal decimal_of(const Json& number);
int compare(const Decimal& a, const Decimal& b);
[[nodiscard]] bool is_empty(const Range& range);
// Number texts in a range that are multiples of `step`. Integers alone, or fractions too, also as 2.5e-07.
NodeId number_in(Expressions& out, const Range& range, bool integers, const std::optional<Decimal>& step);
// Number texts without sign and exponent that are multiples of `step`.
CharDfa multiples_of(const Decimal& step, bool integers);

// The texts of a format; nullopt for formats that say nothing of the text here. Throws Error(BadInput) for those that
// the specification defines and this cannot honour.
std::optional<CharDfa> format_texts(std::string_view format);
// Whether the specification defines it.
bool is_text_format(std::string_view format);

// Names that stand without quotes in styles that have such.
bool is_word(std::string_view name);
const CharDfa& words();

class SchemaCompiler {
 public:
  // `style` and `members` (null: all of it is written as a value) must outlive it.
  SchemaCompiler(Expressions& out, const Json& root, const ValueStyle& style, const MemberStyle* members);
  RuleId compile();

 private:
  using Alternative = Schemas;
  using Alternatives = std::vector<Alternative>;
  struct OtherProperties;

  // schema_resolve.cpp
  [[noreturn]] void refuse(const Json& schema, std::string_view keyword, std::string_view problem) const;
  [[noreturn]] void unsupported(const Json& schema, std::string_view keyword, std::string_view why = {}) const;
  const Json& child(const Json& schema, std::string_view keyword, const Json& at, std::string_view name = {});
  const Json& target_of(const Json& schema);
  Alternatives expand(const Json& schema, int depth);
  Alternatives expand_all(const Schemas& schemas, int depth);
  Alternatives product(const Json& schema, const Alternatives& a, const Alternatives& b) const;
  void add_one_of(const Json& schema, Alternatives& so_far, int depth);
  void check_keywords(const Json& schema);
  [[nodiscard]] std::uint8_t types_of(const Alternative& all) const;
  bool is_impossible(const Alternative& all, int depth);
  bool exclude_each_other(const Schemas& schemas, int depth);

  // schema_values.cpp
  bool satisfies(const Json& value, const Json& schema, int depth);
  bool satisfies_own(const Json& value, const Json& schema, int depth);
  bool satisfies_object(const Json& value, const Json& schema, int depth);
  bool satisfies_array(const Json& value, const Json& schema, int depth);
  std::optional<std::vector<Json>> values_of(const Alternative& all);
  NodeId write_values(const std::vector<Json>& values);
  [[nodiscard]] bool is_clean(const Json& value) const;
  [[nodiscard]] std::string styled(const Json& value) const;

  // schema_compiler.cpp
  RuleId rule_for(const Schemas& schemas);
  NodeId write(const Alternative& all, std::uint8_t among = JsonType::AnyType);
  NodeId write_number(const Alternative& all, bool integers);
  NodeId write_string(const Alternative& all);
  NodeId blank();
  NodeId write_array(const Alternative& all);
  NodeId write_object(const Alternative& all);
  NodeId write_text(CharDfa texts);
  NodeId write_name(const std::string& name);
  NodeId write_other_names(OtherProperties& other);

  // schema_members.cpp
  NodeId write_members(const Alternative& all);
  NodeId write_member(const Json& schema, const std::string& name, const Schemas& schemas);
  NodeId write_tagged(NodeId name, std::string_view known_name, const Schemas& schemas);
  struct TagTexts {
    CharDfa texts;
    RuleId rule = 0;  // all of them
  };
  NodeId tag_value(NodeId name, const Alternative& one, const TagTexts& texts);
  const TagTexts& tag_texts(const ReadAs& read);

  // What several of these ask.
  struct Lengths {
    std::uint32_t least = 0;
    std::uint32_t most = kUnbounded;
    [[nodiscard]] bool impossible() const { return least > most; }
  };
  Lengths lengths(const Alternative& all, const char* least, const char* most);
  Range range_of(const Alternative& all);
  std::optional<CharDfa> text_of(const Alternative& all, bool with_length);
  struct Property {
    std::string name;
    Schemas schemas;
    bool required = false;
  };
  struct OtherProperties {
    CharDfa names;
    bool any_name = false;
    Schemas schemas;
  };
  std::vector<Property> properties_of(const Alternative& all);
  std::vector<OtherProperties> others_of(const Alternative& all, const std::vector<Property>& known);
  Schemas item_at(const Alternative& all, std::size_t place);
  std::size_t prefix_of(const Alternative& all);
  const CharDfa& pattern(const Json& schema, const std::string& text);
  std::optional<CharDfa> name_texts(const Schemas& schemas, const Json& schema);
  std::uint32_t count_at(const Json& schema, const char* keyword, std::uint32_t otherwise);

  static constexpr std::size_t kMostAlternatives = 512;
  static constexpr int kDeepestExpansion = 100;
  static constexpr std::size_t kMostRules = 20'000;

  Expressions& out_;
  const Json& root_;
  const ValueStyle& style_;
  const MemberStyle* members_;
  std::optional<CharDfa> clean_;  // texts without what `style_` forbids
  std::optional<RuleId> any_clean_;
  std::map<int, TagTexts> tag_texts_;
  std::unordered_map<const Json*, std::string> places_;
  std::set<const Json*> checked_;
  std::set<const Json*> open_;  // schemas that are being expanded
  std::map<Schemas, RuleId> rules_;
  std::unordered_map<std::string, CharDfa> patterns_;
  std::unordered_map<std::string, CharDfa> formats_;
  std::vector<std::pair<RuleId, Schemas>> to_write_;
  bool spoken_only_ = false;     // schemas without type mean only the types that their keywords speak of: the root's
  std::set<const Json*> outer_;  // schemas that are being expanded, of which a part is probed
  std::size_t work_ = 0;
};

}  // namespace loadline::grammar

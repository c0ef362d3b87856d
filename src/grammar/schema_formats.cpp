// The formats of JSON schema (draft 2020-12, section 7.3 of its validation vocabulary), as regular expressions.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "grammar/schema_compiler.h"

namespace loadline::grammar {
namespace {

// RFC 3339, section 5.6, with the days that months have, and leap years as it counts them. Leap seconds are left out.
#define LOADLINE_DATE                                                                                                 \
  "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))" \
  "|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define LOADLINE_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define LOADLINE_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define LOADLINE_IPV4 LOADLINE_OCTET "(\\." LOADLINE_OCTET "){3}"
// RFC 4291, section 2.2: eight groups, of which "::" stands for one or more; the last two may be an IPv4 address.
#define LOADLINE_H16 "[0-9A-Fa-f]{1,4}"
#define LOADLINE_IPV6                                                                                                 \
  "((" LOADLINE_H16 ":){7}" LOADLINE_H16 "|(" LOADLINE_H16 ":){1,7}:|(" LOADLINE_H16 ":){1,6}:" LOADLINE_H16          \
  "|(" LOADLINE_H16 ":){1,5}(:" LOADLINE_H16 "){1,2}|(" LOADLINE_H16 ":){1,4}(:" LOADLINE_H16 "){1,3}|(" LOADLINE_H16 \
  ":){1,3}(:" LOADLINE_H16 "){1,4}|(" LOADLINE_H16 ":){1,2}(:" LOADLINE_H16 "){1,5}|" LOADLINE_H16 ":(:" LOADLINE_H16 \
  "){1,6}|:((:" LOADLINE_H16 "){1,7}|:)|(" LOADLINE_H16 ":){6}" LOADLINE_IPV4 "|::(" LOADLINE_H16                     \
  ":){0,5}" LOADLINE_IPV4 "|" LOADLINE_H16 "::(" LOADLINE_H16 ":){0,4}" LOADLINE_IPV4 "|" LOADLINE_H16                \
  "(:" LOADLINE_H16 "){0,1}::(" LOADLINE_H16 ":){0,3}" LOADLINE_IPV4 "|" LOADLINE_H16 "(:" LOADLINE_H16               \
  "){0,2}::(" LOADLINE_H16 ":){0,2}" LOADLINE_IPV4 "|" LOADLINE_H16 "(:" LOADLINE_H16 "){0,3}::(" LOADLINE_H16        \
  ":)?" LOADLINE_IPV4 "|" LOADLINE_H16 "(:" LOADLINE_H16 "){0,4}::" LOADLINE_IPV4 ")"
// RFC 5321, section 4.1.2: Mailbox, without quotes and in a domain of two labels and more, as validators have it.
#define LOADLINE_ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define LOADLINE_LABEL "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
#define LOADLINE_EMAIL LOADLINE_ATOM "(\\." LOADLINE_ATOM ")*@" LOADLINE_LABEL "(\\." LOADLINE_LABEL ")+"
// RFC 3986, appendix A, with something behind the scheme.
#define LOADLINE_PCHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define LOADLINE_REG "([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
#define LOADLINE_USER "([A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})"
#define LOADLINE_URI                                                                                                   \
  "[A-Za-z][A-Za-z0-9+.-]*:(//(" LOADLINE_USER "*@)?(\\[(" LOADLINE_IPV6                                               \
  "|[vV][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\\]|" LOADLINE_REG "*)(:[0-9]*)?(/" LOADLINE_PCHAR                 \
  "*)*|/(" LOADLINE_PCHAR "+(/" LOADLINE_PCHAR "*)*)?|" LOADLINE_PCHAR "+(/" LOADLINE_PCHAR "*)*)(\\?(" LOADLINE_PCHAR \
  "|[/?])*)?(#(" LOADLINE_PCHAR "|[/?])*)?"

struct Format {
  std::string_view name;
  std::string_view pattern;
};
constexpr std::array kFormats = {
    Format{"date", LOADLINE_DATE},
    Format{"time", LOADLINE_TIME},
    Format{"date-time", LOADLINE_DATE "T" LOADLINE_TIME},
    Format{"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
    Format{"ipv4", LOADLINE_IPV4},
    Format{"ipv6", LOADLINE_IPV6},
    Format{"email", LOADLINE_EMAIL},
    Format{"uri", LOADLINE_URI},
    // RFC 3339, appendix A.
    Format{"duration",
           "P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)"
           "(T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))?"
           "|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))"},
};

// Defined by the specification, but not regular, or not here.
constexpr std::array<std::string_view, 10> kUnsupported = {
    "idn-email",     "hostname",     "idn-hostname", "uri-reference",         "iri",
    "iri-reference", "uri-template", "json-pointer", "relative-json-pointer", "regex"};

}  // namespace

bool is_text_format(std::string_view format) {
  return std::ranges::find(kUnsupported, format) != kUnsupported.end() ||
         std::ranges::find(kFormats, format, &Format::name) != kFormats.end();
}

std::optional<CharDfa> format_texts(std::string_view format) {
  for (const std::string_view name : kUnsupported) {
    if (name == format) throw bad_input(fmt::format("the format \"{}\" cannot be honoured", format));
  }
  for (const Format& known : kFormats) {
    if (known.name == format) return Regex(known.pattern).whole();
  }
  return std::nullopt;
}

}  // namespace loadline::grammar

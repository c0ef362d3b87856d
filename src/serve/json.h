// JSON of requests: parsed within bounds, and fields read the way clients write them (null is absent, whole numbers may
// be written as floats). A field of a wrong type is an Error that names it.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace loadline::serve {

using Json = nlohmann::ordered_json;

// What a request's JSON may be: deeper and longer is refused before anything is kept of it.
inline constexpr int kDeepestJson = 100;
inline constexpr std::size_t kMostJsonValues = std::size_t{1} << 19;
inline constexpr Bytes kMostJson{std::uint64_t{32} << 20};  // parsed, beside its texts

// The object of a body; an empty body is an empty object. Half a surrogate pair becomes U+FFFD. Throws Error(BadInput).
Json parse_body(std::string_view body);

// One line, what is no UTF-8 as U+FFFD.
std::string dump(const Json& json);

// The shortest number that is this float, which must be finite.
Json number_json(float number);

// Error(BadInput): "FIELD" must be WANTED.
Error wrong_field(std::string_view field, std::string_view wanted);

// Null where the field is absent or null.
const Json* find(const Json& object, std::string_view field);
// The same; throws Error(BadInput) where it is no object, or no array.
const Json* find_object(const Json& object, std::string_view field);
const Json* find_array(const Json& object, std::string_view field);

// nullopt where the field is absent or null. Each throws Error(BadInput) naming the field.
std::optional<std::string> get_string(const Json& object, std::string_view field);
std::optional<bool> get_bool(const Json& object, std::string_view field);
std::optional<double> get_number(const Json& object, std::string_view field, double least, double most);
std::optional<std::int64_t> get_integer(const Json& object, std::string_view field, std::int64_t least,
                                        std::int64_t most);
// A string or an array of them; empty ones are left out.
std::vector<std::string> get_strings(const Json& object, std::string_view field);

// A member of a member; null where either is missing.
const Json* find(const Json& object, std::string_view field, std::string_view inner);

}  // namespace loadline::serve

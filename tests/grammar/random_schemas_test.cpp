// Schemas made at random of all the keywords that must be honoured: whatever is drawn satisfies them, and what
// satisfies them can be written, if its keys are in the schema's order. ajv, an independent validator, says what does.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "base/error.h"
#include "grammar/json_schema.h"
#include "grammar/random_walk.h"
#include "grammar/text_check.h"
#include "support/process.h"
#include "support/test_data.h"

namespace loadline::grammar {
namespace {

class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  // A schema with definitions that it may refer to, and that may refer to themselves.
  Json schema() {
    recursive_ = chance(30);
    draft_7_ = chance(30);
    definitions_ = draft_7_ ? "definitions" : "$defs";
    Json out = of_depth(3);
    if (!out.is_object()) out = Json::object();
    if (recursive_) {
      Json& tree = out[definitions_]["tree"];
      tree["type"] = "object";
      tree["properties"]["v"] = of_depth(0);
      tree["properties"]["next"]["anyOf"] = Json::array({reference("tree"), Json{{"type", "null"}}});
      tree["required"] = Json::array({"v", "next"});
      tree["additionalProperties"] = false;
    }
    root_ = out;
    return out;
  }

  // A value that satisfies the schema most of the time.
  Json instance(const Json& schema, int depth = 0) {
    if (depth > 6 || chance(2)) return anything();
    if (schema.is_boolean()) return anything();
    if (schema.contains("$ref")) {
      return instance(schema["$ref"] == "#" ? root_ : root_[definitions_]["tree"], depth + 1);
    }
    if (schema.contains("const")) return schema["const"];
    if (schema.contains("enum")) return pick(schema["enum"]);
    if (schema.contains("anyOf")) return instance(pick(schema["anyOf"]), depth + 1);
    if (schema.contains("allOf")) {
      Json merged = Json::object();
      for (const Json& part : schema["allOf"]) merged.update(part);
      return instance(merged, depth);
    }
    if (!schema.contains("type")) return anything();
    const Json& type = schema["type"];
    const std::string name = type.is_array() ? pick(type).get<std::string>() : type.get<std::string>();
    if (name == "string") return text(schema);
    if (name == "integer" || name == "number") return number(schema, name == "number");
    if (name == "boolean") return chance(50);
    if (name == "null") return nullptr;
    return name == "array" ? array(schema, depth) : object(schema, depth);
  }

  [[nodiscard]] Json draft() const { return draft_7_ ? Json("7") : Json("2020-12"); }
  std::mt19937& random() { return random_; }

 private:
  int below(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  bool chance(int percent) { return below(100) < percent; }
  Json pick(const Json& list) { return list[static_cast<std::size_t>(below(static_cast<int>(list.size())))]; }
  std::string word() {
    static const std::vector<std::string> kWords = {"a",    "b", "ab", "name", "é",         "你好", "x y",
                                                    "q\"q", "",  "0",  "a\\b", "line\nend", "𝕏"};
    return kWords[static_cast<std::size_t>(below(static_cast<int>(kWords.size())))];
  }
  Json anything() {
    switch (below(7)) {
      case 0: return word();
      case 1: return below(20) - 5;
      case 2: return 0.5 + below(9);
      case 3: return Json::array({1, "a"});
      case 4: return Json{{"zz", true}};
      case 5: return nullptr;
      default: return chance(50);
    }
  }

  Json reference(const std::string& name) {
    Json out{{"$ref", "#/" + definitions_ + "/" + name}};
    if (!draft_7_ && chance(30)) out["description"] = "beside it";
    return out;
  }
  // Says nothing of the value.
  Json annotated(Json schema) {
    static const std::vector<std::string> kNotes = {"title", "description", "$comment", "x-unknown"};
    if (chance(20)) schema[kNotes[static_cast<std::size_t>(below(4))]] = word();
    if (chance(10)) schema["default"] = anything();
    return schema;
  }

  Json of_depth(int depth) { return annotated(bare_of_depth(depth)); }
  Json bare_of_depth(int depth) {
    const int kinds = depth == 0 ? 5 : 12;
    switch (below(kinds)) {
      case 0: return text_schema();
      case 1: return number_schema("integer");
      case 2: return number_schema("number");
      case 3: return Json{{"type", chance(50) ? "boolean" : "null"}};
      case 4:
        return chance(50) ? Json{{"enum", {"red", "grün", 5, nullptr, true, "a\"b"}}} : Json{{"const", anything()}};
      case 5:
      case 6: return array_schema(depth - 1);
      case 7: return Json{{"anyOf", {of_depth(depth - 1), of_depth(depth - 1)}}};
      case 8: return Json{{"allOf", {number_schema("integer"), number_schema("integer")}}};
      case 9: return recursive_ ? reference("tree") : Json{{"type", {"string", "null", "integer"}}};
      default: return object_schema(depth - 1);
    }
  }
  Json text_schema() {
    Json out{{"type", "string"}};
    switch (below(5)) {
      case 0: {
        static const std::vector<std::string> kPatterns = {"^[a-z]{2,4}$", "ab",    "^(x|yz)+$", "^\\d+(\\.\\d+)?$",
                                                           "^a.*b$",       "[^é]$", "^$",        "^\\w+\\s\\w+$"};
        out["pattern"] = kPatterns[static_cast<std::size_t>(below(static_cast<int>(kPatterns.size())))];
        break;
      }
      case 1: out["minLength"] = below(4); break;
      case 2: out["maxLength"] = below(40); break;
      case 3: {
        out["minLength"] = below(3);
        out["maxLength"] = 3 + below(4);
        break;
      }
      default: {
        static const std::vector<std::string> kFormats = {"date", "time", "date-time", "uuid", "ipv4"};
        if (chance(50)) out["format"] = kFormats[static_cast<std::size_t>(below(static_cast<int>(kFormats.size())))];
      }
    }
    return out;
  }
  Json text(const Json& schema) {
    if (schema.contains("format")) {
      const std::string format = schema["format"];
      if (format == "date") return chance(80) ? "2024-02-29" : "2023-02-29";
      if (format == "time") return chance(80) ? "23:59:59Z" : "24:00:00Z";
      if (format == "date-time") return chance(80) ? "2024-12-31T01:02:03.5+01:30" : "2024-12-31";
      if (format == "uuid") return "123e4567-e89b-12d3-a456-42661417400" + std::string(chance(80) ? "0" : "g");
      return chance(80) ? "192.168.0.255" : "192.168.0.256";
    }
    static const std::vector<std::string> kTexts = {
        "abc", "xxab", "xyz", "xyzx", "12", "12.5", "aXb", "a\nb", "one two", "zzzz", "abcdefghijklmnopqrstuvwxyz"};
    return chance(60) ? kTexts[static_cast<std::size_t>(below(static_cast<int>(kTexts.size())))] : word();
  }
  Json number_schema(const std::string& type) {
    Json out{{"type", type}};
    const int low = below(2000) - 1000;
    const bool real = type == "number";
    if (chance(50)) out[chance(70) ? "minimum" : "exclusiveMinimum"] = real && chance(50) ? Json(low / 8.0) : Json(low);
    if (chance(50))
      out[chance(70) ? "maximum" : "exclusiveMaximum"] =
          real && chance(50) ? Json((low + below(900)) / 4.0) : Json(low + 2 + below(900));
    return out;
  }
  Json number(const Json& schema, bool real) {
    double around = 0;
    for (const char* key : {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
      if (schema.contains(key) && chance(60)) around = schema[key].get<double>();
    }
    const int offset = below(7) - 3;
    if (real && chance(50)) {
      const double value = around + 0.25 * offset;
      if (value != static_cast<double>(static_cast<int>(value))) return value;
    }
    return static_cast<int>(around) + offset;  // never -0
  }
  Json array_schema(int depth) {
    Json out{{"type", "array"}};
    if (chance(30)) {
      out[draft_7_ ? "items" : "prefixItems"] = Json::array({of_depth(depth), of_depth(depth)});
      const char* others = draft_7_ ? "additionalItems" : "items";
      if (chance(80)) out[others] = chance(40) ? Json(false) : of_depth(depth);
    } else if (chance(80)) {
      out["items"] = of_depth(depth);
    }
    if (chance(40)) out["minItems"] = below(3);
    if (chance(40)) out["maxItems"] = 2 + below(4);
    return out;
  }
  Json array(const Json& schema, int depth) {
    Json out = Json::array();
    Json prefix = schema.value("prefixItems", Json::array());
    Json items = schema.value("items", Json(true));
    if (items.is_array()) {
      prefix = items;
      items = schema.value("additionalItems", Json(true));
    }
    const int count = schema.value("minItems", 0) + below(4);
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (at >= prefix.size() && items == Json(false) && chance(90)) break;
      out.push_back(instance(at < prefix.size() ? prefix[at] : items, depth + 1));
    }
    return out;
  }
  Json object_schema(int depth) {
    static const std::vector<std::string> kNames = {"a",     "b", "ab",   "a b", "é",      "q\"",
                                                    "items", "",  "type", "n1",  "back\\", "tab\t"};
    Json out{{"type", "object"}};
    const int count = below(5);
    for (int i = 0; i < count; ++i) {
      const std::string name = kNames[static_cast<std::size_t>(below(static_cast<int>(kNames.size())))];
      if (out.contains("properties") && out["properties"].contains(name)) continue;
      out["properties"][name] = of_depth(depth);
      if (chance(50) && !name.empty()) out["required"].push_back(name);  // ajv overlooks the empty name
    }
    if (chance(10)) out["properties"]["self"] = Json{{"$ref", "#"}};
    const int more = below(4);
    if (more == 0) out["additionalProperties"] = of_depth(0);
    if (more == 1) out["additionalProperties"] = chance(30);
    return out;
  }
  Json object(const Json& schema, int depth) {
    Json out = Json::object();
    const Json required = schema.value("required", Json::array());
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [name, one] : properties.items()) {
      const bool is_required = std::ranges::find(required, Json(name)) != required.end();
      if (is_required ? chance(97) : chance(50)) out[name] = instance(one, depth + 1);
    }
    const Json more = schema.value("additionalProperties", Json(true));
    if (chance(25)) out["zz" + std::to_string(below(3))] = instance(more, depth + 1);
    return out;
  }

  std::mt19937 random_;
  bool recursive_ = false;
  bool draft_7_ = false;
  std::string definitions_;
  Json root_;
};

TEST(RandomSchemas, AreKeptToExactly) {
  const auto folder = test::source_dir() / "tests/grammar";
  if (!std::filesystem::exists(folder / "node_modules/ajv"))
    GTEST_SKIP() << "ajv is not installed; ./dev setup does it";
  const char* more = std::getenv("LOADLINE_RANDOM_SCHEMAS");  // how many, and the first's number
  int count = 120;
  unsigned seed = 1;
  if (more != nullptr) std::sscanf(more, "%d,%u", &count, &seed);
  const test::TemporaryFolder scratch;
  const auto file = scratch.path() / "texts.jsonl";
  std::ofstream out(file);
  const TokenIndex index = small_index();
  std::size_t texts = 0;
  std::size_t accepted = 0;
  for (int i = 0; i < count; ++i) {
    Maker maker(seed + static_cast<unsigned>(i));
    const Json schema = maker.schema();
    std::optional<Grammar> grammar;
    try {
      const Source source = read_json_schema(schema);
      grammar.emplace(Grammar::compile(source.expressions, source.root));
    } catch (const Error& error) {
      // Nothing satisfies it, or it is too large; all of its keywords are among those that must be honoured.
      EXPECT_EQ(std::string(error.what()).find("cannot"), std::string::npos) << error.what() << "\n" << schema.dump();
      if (more != nullptr) std::cout << error.what() << "  " << schema.dump().substr(0, 200) << "\n";
      continue;
    }
    const auto write = [&](const std::string& text, bool is_accepted) {
      ++texts;
      accepted += is_accepted ? 1 : 0;
      out << Json{{"schema", schema}, {"draft", maker.draft()}, {"text", text}, {"accepted", is_accepted}}.dump()
          << "\n";
    };
    for (int k = 0; k < 10; ++k) {
      const std::string text = maker.instance(schema).dump();
      write(text, test::check_text(*grammar, text).accepted);
    }
    Session session(*grammar, index);
    for (int k = 0; k < 2; ++k) {
      session.reset();
      if (const auto text = random_walk(session, index, maker.random())) write(*text, true);
    }
  }
  out.close();
  EXPECT_GT(accepted, texts / 3);
  const auto result = test::run_process({"/usr/bin/env", "node", folder / "check_walks.mjs", file});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "checked " + std::to_string(texts) + "\n");
  if (more != nullptr) std::cout << texts << " texts, " << accepted << " of them accepted\n";
}

}  // namespace
}  // namespace loadline::grammar

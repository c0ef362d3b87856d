// What keeping to a grammar costs: compiling the schemas of shared/data/grammar, and for every token of their valid
// instances the mask over Llama 3's vocabulary. Times are of the processor, so that other programs do not show.
//   grammar_bench [VOCABULARY.gguf [SCHEMAS.jsonl]]
// With LOADLINE_SLOWEST set, the masks that took longest, too. In the repository's root. Without a vocabulary the npm
// package in tests/tokenizer writes one (./dev setup installs it).
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "gguf/gguf.h"
#include "grammar/json_schema.h"
#include "grammar/session.h"

namespace {

using namespace loadline;
using grammar::Json;
using grammar::Session;

// Microseconds of this thread's processor time.
double now() { return 1e6 * thread_processor_seconds(); }

void print(const char* what, std::vector<double> times) {
  if (times.empty()) return;
  std::ranges::sort(times);
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
  };
  const double mean = std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  std::fputs(fmt::format(
                 "{:<10} {:>7}  mean {:8.1f}  50% {:8.1f}  90% {:8.1f}  99% {:8.1f}  99.9% {:8.1f}  worst {:9.1f} us\n",
                 what, times.size(), mean, at(0.5), at(0.9), at(0.99), at(0.999), times.back())
                 .c_str(),
             stdout);
}

// A mask, and how long it took.
struct Slow {
  double time;          // us
  std::uint64_t nodes;  // of the tree of tokens
  std::string schema;
  std::string written;  // before it
};

// By schema, those that took most of the time first, each with its slowest mask.
void print_slowest(const std::vector<Slow>& all) {
  struct Sum {
    double time = 0;
    std::size_t masks = 0;
    const Slow* worst = nullptr;
  };
  std::map<std::string, Sum> sums;
  double total = 0;
  for (const Slow& one : all) {
    Sum& sum = sums[one.schema];
    total += one.time;
    sum.time += one.time;
    ++sum.masks;
    if (sum.worst == nullptr || one.time > sum.worst->time) sum.worst = &one;
  }
  std::vector<std::pair<std::string, Sum>> order(sums.begin(), sums.end());
  std::ranges::sort(order, [](const auto& a, const auto& b) { return a.second.time > b.second.time; });
  for (std::size_t i = 0; i < order.size() && i < 25; ++i) {
    const auto& [schema, sum] = order[i];
    const std::string& written = sum.worst->written;
    std::fputs(
        fmt::format("{:4.1f} %  {:6} masks of {:6.1f} us, the slowest {:7.1f} us, {:6} nodes, behind {}: {}\n",
                    100 * sum.time / total, sum.masks, sum.time / static_cast<double>(sum.masks), sum.worst->time,
                    sum.worst->nodes, written.substr(written.size() - std::min<std::size_t>(written.size(), 30)),
                    schema.substr(0, 150))
            .c_str(),
        stdout);
  }
}

grammar::Grammar compile(const std::string& text) {
  const grammar::Source source = grammar::read_json_schema(grammar::parse_json(text, "the schema"));
  return grammar::Grammar::compile(source.expressions, source.root);
}

std::string llama3_vocabulary() {
  const auto root = std::filesystem::current_path();
  const auto folder = std::filesystem::temp_directory_path() / "loadline_grammar_bench";
  std::filesystem::create_directories(folder);
  const auto vocabulary = folder / "llama3.gguf";
  if (!std::filesystem::exists(vocabulary)) {
    const std::string command = fmt::format("node {} {} {}", (root / "tests/tokenizer/llama3_reference.mjs").string(),
                                            vocabulary.string(), (folder / "cases.json").string());
    if (std::system(command.c_str()) != 0) throw bad_input("node could not write Llama 3's vocabulary");
  }
  return vocabulary.string();
}

// A schema of 100 properties, for the time that it takes to compile.
std::string hundred_properties() {
  Json schema{{"type", "object"}, {"additionalProperties", false}};
  for (int i = 0; i < 100; ++i) {
    Json& one = schema["properties"][fmt::format("property_{:03}", i)];
    one = i % 3 == 0   ? Json{{"type", "string"}}
          : i % 3 == 1 ? Json{{"type", "integer"}, {"minimum", 0}}
                       : Json{{"enum", {"red", "green", "blue"}}};
    if (i % 2 == 0) schema["required"].push_back(fmt::format("property_{:03}", i));
  }
  return schema.dump();
}

void run(const std::string& vocabulary, const std::string& schemas) {
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(gguf::open_model(vocabulary).metadata);
  const double begin = now();
  const grammar::TokenIndex index = grammar::TokenIndex::of(*tokenizer);
  std::fputs(fmt::format("{} tokens; index: {:.0f} ms, {}\n", index.size(), (now() - begin) / 1000,
                         to_string(index.resident_bytes()))
                 .c_str(),
             stdout);
  std::vector<double> compiling;
  std::vector<double> opening;
  std::vector<double> masks;
  std::vector<double> accepting;
  std::vector<Slow> slow;
  std::uint64_t wrong = 0;
  std::ifstream in(schemas);
  for (std::string line; std::getline(in, line);) {
    const Json one = Json::parse(line);
    const std::string text = one.at("schema").dump();
    const double start = now();
    try {
      const grammar::Grammar compiled = compile(text);
      compiling.push_back(now() - start);
      for (const Json& instance : one.at("instances")) {
        if (!instance.at("valid").get<bool>()) continue;
        const auto ids = tokenizer->encode(instance.at("json_text").get<std::string>(), {.add_special = false});
        const double opened = now();
        std::string written;
        Session session(compiled, index);
        opening.push_back(now() - opened);
        for (const auto id : ids) {
          const std::uint64_t nodes = session.nodes_walked();
          const double before = now();
          const auto mask = session.mask();
          masks.push_back(now() - before);
          slow.push_back({masks.back(), session.nodes_walked() - nodes, text, written});
          written += tokenizer->piece(id, false);
          const bool allowed = (mask[static_cast<std::size_t>(id) / 64] >> (id & 63) & 1) != 0;
          const double taking = now();
          const bool taken = session.accept(id);
          accepting.push_back(now() - taking);
          if (taken != allowed) ++wrong;
          if (!taken) break;
        }
      }
    } catch (const Error&) {
      // Refused schemas are another test's.
    }
  }
  print("compile", compiling);
  print("session", opening);
  print("mask", masks);
  print("accept", accepting);
  if (std::getenv("LOADLINE_SLOWEST") != nullptr) print_slowest(slow);
  std::vector<double> hundred;
  const std::string text = hundred_properties();
  for (int i = 0; i < 20; ++i) {
    const double start = now();
    compile(text);
    hundred.push_back(now() - start);
  }
  print("100 props", hundred);
  if (wrong != 0) std::fputs(fmt::format("{} tokens on which mask and step disagree\n", wrong).c_str(), stdout);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    if (!std::string(argv[i]).starts_with("--")) paths.emplace_back(argv[i]);
  }
  try {
    const auto root = std::filesystem::current_path();
    const std::string schemas =
        paths.size() > 1 ? paths[1] : (root / "../shared/data/grammar/jsonschema.jsonl").string();
    if (!std::filesystem::exists(schemas)) {
      std::fputs(fmt::format("skipped: {} is missing\n", schemas).c_str(), stdout);
      return 0;
    }
    run(paths.empty() ? llama3_vocabulary() : paths[0], schemas);
  } catch (const std::exception& error) {
    std::fputs(fmt::format("skipped: {}\n", error.what()).c_str(), stdout);
  }
  return 0;
}

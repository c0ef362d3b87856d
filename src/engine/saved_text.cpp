#include "engine/saved_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/output_file.h"
#include "base/sha256.h"
#include "base/text.h"
#include "plan/fingerprint.h"

namespace loadline::engine {
namespace {

// The file: kMagic, the model's fingerprint, four numbers, the tokens, the pages, and the sum of all that; each but the
// sum as long as said here, numbers little-endian.
constexpr std::string_view kMagic = "loadline cache 1";
constexpr std::size_t kFingerprint = 16;
constexpr std::size_t kSum = 64;
struct Numbers {
  std::uint32_t k_type = 0, v_type = 0;
  std::uint64_t page = 0;   // bytes
  std::uint64_t cells = 0;  // and as many tokens
};
static_assert(sizeof(Numbers) == 24 && kMagic.size() == 16);
constexpr std::size_t kHead = kMagic.size() + kFingerprint + sizeof(Numbers);

// A page's parts, K and V of each layer one after the other, in memory.
std::vector<std::span<std::byte>> parts_of(Engine& engine, std::uint32_t page) {
  std::vector<std::span<std::byte>> parts;
  for (const plan::KvRegions& kv : engine.plan().kv) {
    for (const plan::RegionIndex region : {kv.k, kv.v}) {
      if (region == plan::kNoRegion) continue;
      const std::span<std::byte> all = engine.host_memory(region);
      const std::size_t bytes = all.size() / kv.pages;
      parts.push_back(all.subspan(page * bytes, bytes));
    }
  }
  return parts;
}

std::uint64_t page_bytes(Engine& engine) {
  std::uint64_t bytes = 0;
  for (const auto& part : parts_of(engine, 0)) bytes += part.size();
  return bytes;
}

Numbers numbers_of(Engine& engine, std::size_t cells) {
  const plan::Shape& shape = engine.plan().shape;
  return {static_cast<std::uint32_t>(shape.k_type), static_cast<std::uint32_t>(shape.v_type), page_bytes(engine),
          cells};
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The sum goes on from part to part.
void add(std::string& sum, std::span<const std::byte> bytes) { sum = sha256(sum + std::string(text_of(bytes))); }

// Takes a sequence's cells off again, whatever happens.
class Guard {
 public:
  Guard(exec::KvCache& cache, std::uint32_t sequence) : cache_(cache), sequence_(sequence) {}
  ~Guard() { cache_.cut(sequence_, 0); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  exec::KvCache& cache_;
  std::uint32_t sequence_;
};

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view why) {
  throw bad_input(fmt::format("{} {}", printable(path.filename().string()), why));
}

}  // namespace

std::string why_not_saved(Engine& engine) {
  const exec::KvCache& cache = engine.executor().cache();
  if (cache.has_window_pages() || !cache.cuts_anywhere()) {
    return "this model keeps windows or states of its text, which are not saved";
  }
  for (const plan::KvRegions& kv : engine.plan().kv) {
    for (const plan::RegionIndex region : {kv.k, kv.v}) {
      if (region != plan::kNoRegion && engine.host_memory(region).empty()) {
        return "this model's cache is in a GPU's memory, from where it is not saved";
      }
    }
  }
  return {};
}

Saved save_text(Engine& engine, std::uint32_t sequence, std::span<const Token> text,
                const std::filesystem::path& path) {
  exec::KvCache& cache = engine.executor().cache();
  const Guard guard(cache, sequence);
  const std::uint32_t cells = cache.adopt(sequence, text, static_cast<std::uint32_t>(text.size()));
  if (cells == 0) throw bad_input("nothing of this text is in the cache");
  const Numbers numbers = numbers_of(engine, cells);
  const std::string fingerprint = plan::fingerprint(engine.model());
  OutputFile file(path);
  std::string sum;
  const auto put = [&](std::span<const std::byte> bytes) {
    file.write(bytes);
    add(sum, bytes);
  };
  put(std::as_bytes(std::span(kMagic)));
  put(std::as_bytes(std::span(fingerprint)));
  put(std::as_bytes(std::span(&numbers, 1)));
  put(std::as_bytes(text.first(cells)));
  for (std::uint32_t page = 0; page < exec::pages_for(cells); ++page) {
    for (const auto& part : parts_of(engine, cache.pages(sequence)[page])) put(part);
  }
  file.write(sum);
  const Bytes size = file.size();
  file.finish();
  return {cells, size};
}

Restored restore_text(Engine& engine, std::uint32_t sequence, const std::filesystem::path& path) {
  const File file = File::open(path);
  Bytes at;
  std::string sum;
  const auto take = [&](std::span<std::byte> out) {
    file.read_at(at, out);
    at += Bytes(out.size());
    add(sum, out);
  };
  if (file.size().value < kHead + kSum) refuse(path, "holds no saved text");
  std::string magic(kMagic.size(), ' '), fingerprint(kFingerprint, ' ');
  Numbers numbers;
  take(std::as_writable_bytes(std::span(magic)));
  take(std::as_writable_bytes(std::span(fingerprint)));
  take(std::as_writable_bytes(std::span(&numbers, 1)));
  if (magic != kMagic) refuse(path, "holds no saved text");
  if (fingerprint != plan::fingerprint(engine.model())) refuse(path, "was saved with another model");
  const Numbers ours = numbers_of(engine, 0);
  if (numbers.k_type != ours.k_type || numbers.v_type != ours.v_type || numbers.page != ours.page) {
    refuse(path, "was saved with another format of the cache");
  }
  exec::KvCache& cache = engine.executor().cache();
  if (numbers.cells == 0 || numbers.cells > cache.most_cells()) {
    refuse(path, fmt::format("has {} tokens, and the context holds {}", numbers.cells, cache.most_cells()));
  }
  const std::uint32_t pages = exec::pages_for(numbers.cells);
  if (file.size().value != kHead + numbers.cells * sizeof(Token) + pages * numbers.page + kSum) {
    refuse(path, "is not as long as it should be");
  }
  Restored out;
  out.file = file.size();
  out.text.resize(numbers.cells);
  take(std::as_writable_bytes(std::span(out.text)));
  for (const Token token : out.text) {
    if (token < 0 || static_cast<std::uint32_t>(token) >= engine.executor().vocabulary()) {
      refuse(path, "has tokens that this model does not");
    }
  }
  const Guard guard(cache, sequence);
  if (!cache.extend(sequence, static_cast<std::uint32_t>(numbers.cells))) {
    throw Error(ErrorCode::DoesNotFit, "there are not enough free cells in the cache",
                "Try again when other texts have ended.");
  }
  for (std::uint32_t page = 0; page < pages; ++page) {
    for (const auto& part : parts_of(engine, cache.pages(sequence)[page])) take(part);
  }
  std::string expected(kSum, ' ');
  file.read_at(at, std::as_writable_bytes(std::span(expected)));
  if (sum != expected) refuse(path, "is damaged");  // and what was read is not kept
  cache.commit(sequence, out.text);
  return out;
}

std::size_t forget_text(Engine& engine, std::uint32_t sequence, std::span<const Token> text) {
  exec::KvCache& cache = engine.executor().cache();
  if (text.empty()) return 0;
  const std::uint32_t cells = cache.adopt(sequence, text, static_cast<std::uint32_t>(text.size()));
  cache.forget(sequence);
  return cells;
}

}  // namespace loadline::engine

// Any bytes as a GGUF file: opening them must end in a model whose every part can be used, or in Error(BadInput).
// Bytes with a second magic number inside are the two files of a split model, one after the other.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "gguf/describe.h"
#include "gguf/gguf.h"
#include "support/memory_file.h"

namespace {

using namespace loadline;

// Calls `f`; a refusal of the input is as good as an answer.
template <typename F>
void allow_refusal(F&& f) {
  try {
    static_cast<void>(f());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadInput) std::abort();
  }
}

// Every question one can ask of a model.
void use(const gguf::Model& model) {
  for (const gguf::TensorInfo& tensor : model.tensors) {
    if (tensor.file >= model.files.size()) std::abort();
    const std::uint64_t size = model.files[tensor.file].size().value;
    if (tensor.offset.value > size || tensor.size.value > size - tensor.offset.value) std::abort();
    if (quant::size_of(tensor.type, tensor.elements()) != tensor.size) std::abort();
    if (model.find_tensor(tensor.name) < 0) std::abort();
  }
  for (const auto& [key, value] : model.metadata.entries()) {
    allow_refusal([&] { return model.metadata.get_unsigned(key); });
    allow_refusal([&] { return model.metadata.get_signed(key); });
    allow_refusal([&] { return model.metadata.get_number(key); });
    allow_refusal([&] { return model.metadata.get_bool(key); });
    allow_refusal([&] { return model.metadata.get_string(key); });
    allow_refusal([&] { return model.metadata.get_strings(key); });
    allow_refusal([&] { return model.metadata.get_floats(key); });
    allow_refusal([&] { return model.metadata.get_integers(key); });
    value_text(value);
    value_text(value, true);
  }
  to_line(summarise(model));
  group_by_layer(model);
}

void open_and_use(const std::filesystem::path& path) {
  allow_refusal([&] {
    use(gguf::open_model(path));
    return 0;
  });
}

struct SplitFiles {
  std::unique_ptr<test::MemoryFile> first = std::make_unique<test::MemoryFile>();
  std::unique_ptr<test::MemoryFile> second = std::make_unique<test::MemoryFile>();
  std::filesystem::path folder;

  SplitFiles() {
    std::string name = (std::filesystem::temp_directory_path() / "loadline-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder = name;
    std::filesystem::create_symlink(first->path(), folder / "fuzz-00001-of-00002.gguf");
    std::filesystem::create_symlink(second->path(), folder / "fuzz-00002-of-00002.gguf");
  }
  ~SplitFiles() { std::filesystem::remove_all(folder); }
  SplitFiles(const SplitFiles&) = delete;
  SplitFiles& operator=(const SplitFiles&) = delete;
};

}  // namespace

// The name is libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t second = text.find("GGUF", 1);
  if (second == std::string_view::npos) {
    static test::MemoryFile file;
    file.set(bytes);
    open_and_use(file.path());
  } else {
    // The parts are found by their names, so these are links in a folder, to files in memory.
    static const SplitFiles kFiles;
    kFiles.first->set(bytes.first(second));
    kFiles.second->set(bytes.subspan(second));
    open_and_use(kFiles.folder / "fuzz-00001-of-00002.gguf");
  }
  return 0;
}

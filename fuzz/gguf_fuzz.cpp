// Any bytes as a GGUF file: opening them must end in a model whose every part can be used, or in Error(BadInput).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

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
void use(const gguf::Model& model, std::size_t size) {
  for (const gguf::TensorInfo& tensor : model.tensors) {
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

}  // namespace

// The name is libFuzzer's.
// NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static test::MemoryFile file;
  file.set(std::as_bytes(std::span(data, size)));
  allow_refusal([&] {
    use(gguf::open_model(file.path()), size);
    return 0;
  });
  return 0;
}

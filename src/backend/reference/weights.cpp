#include "backend/reference/weights.h"

#include "quant/format.h"

namespace loadline::reference {

void Weights::row(model::TensorIndex tensor, std::uint64_t index, std::vector<float>& out) {
  const gguf::TensorInfo& t = info(tensor);
  const Bytes size = quant::size_of(t.type, t.columns());
  buffer_.resize(size.value);
  out.resize(t.columns());
  model_.files[t.file].read_at(t.offset + size * index, buffer_);
  quant::decode_row(t.type, buffer_.data(), out.data(), out.size());
}

std::vector<float> Weights::all(model::TensorIndex tensor) {
  std::vector<float> all;
  if (tensor == model::kNoTensor) return all;
  std::vector<float> one;
  for (std::uint64_t r = 0; r < rows(tensor); ++r) {
    row(tensor, r, one);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

}  // namespace loadline::reference

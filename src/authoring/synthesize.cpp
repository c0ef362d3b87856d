#include "authoring/synthesize.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <string_view>
#include <vector>

#include "authoring/random_blocks.h"
#include "gguf/writer.h"

namespace loadline::authoring {
namespace {

constexpr std::uint64_t kPieceBytes = 1U << 20;  // bytes made at a time, roughly

// What Llama 3.1 divides its rope frequencies by (config.json, rope_scaling "llama3"): the long wavelengths by the
// whole factor, the short ones by 1, those between by an interpolation in the number of turns over the old context.
std::vector<float> rope_divisors(const Shape& shape) {
  constexpr double kOldContext = 8192;
  constexpr double kLowTurns = 1;
  constexpr double kHighTurns = 4;
  std::vector<float> divisors(shape.head_dim / 2);
  for (std::size_t i = 0; i < divisors.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / shape.head_dim;
    const double wavelength = 2 * std::numbers::pi * std::pow(double{shape.rope_base}, exponent);
    const double smooth = std::clamp((kOldContext / wavelength - kLowTurns) / (kHighTurns - kLowTurns), 0.0, 1.0);
    divisors[i] = static_cast<float>(1 / ((1 - smooth) / shape.rope_factor + smooth));
  }
  return divisors;
}

// Norms and factors lie around 1, biases around 0.
std::vector<float> random_vector(const gguf::TensorInfo& tensor, RandomWords& words) {
  std::vector<float> values(tensor.elements());
  fill_random_blocks(quant::TensorType::F32, 0.05F, words, std::as_writable_bytes(std::span(values)));
  const auto ends = [&](std::string_view end) { return tensor.name.ends_with(end); };
  if (ends("norm.weight") || ends("ffn_norm") || ends(".scale") || ends("_scale.weight")) {
    for (float& value : values) value += 1.0F;
  }
  if (ends("ssm_a")) {
    for (float& value : values) value -= 1.0F;  // states fade
  }
  return values;
}

class Synthesizer {
 public:
  Synthesizer(const Shape& shape, const SynthOptions& options, gguf::Writer& writer, const Progress& progress)
      : shape_(shape), options_(options), writer_(writer), progress_(progress) {
    for (const gguf::TensorInfo& tensor : writer.tensors()) total_ += tensor.size;
  }

  void write_all() {
    std::uint64_t number = 0;
    for (const gguf::TensorInfo& tensor : writer_.tensors()) {
      // Every tensor has its own sequence, so that none depends on what lies before it in the file.
      RandomWords words(RandomWords(options_.seed + (++number << 32U)).next());
      if (tensor.name == "rope_freqs.weight") {
        put_floats(rope_divisors(shape_));
      } else if (tensor.dimensions == 1 || !tensor.name.ends_with(".weight")) {
        put_floats(random_vector(tensor, words));
      } else {
        write_matrix(tensor, words);
      }
    }
  }

 private:
  void write_matrix(const gguf::TensorInfo& tensor, RandomWords& words) {
    const bool output =
        tensor.name == "output.weight" || (shape_.tied_embeddings && tensor.name == "token_embd.weight");
    const float deviation = (output ? 3.0F : 1.0F) / std::sqrt(static_cast<float>(tensor.columns()));
    const std::uint64_t block = quant::format_of(tensor.type).block_bytes;
    buffer_.resize(std::min(kPieceBytes / block * block, tensor.size.value));
    for (Bytes left = tensor.size; left.value > 0;) {
      const auto piece = std::span(buffer_).first(std::min<std::uint64_t>(buffer_.size(), left.value));
      fill_random_blocks(tensor.type, deviation, words, piece);
      put(piece);
      left -= Bytes(piece.size());
    }
  }

  void put_floats(const std::vector<float>& values) { put(std::as_bytes(std::span(values))); }

  void put(std::span<const std::byte> data) {
    writer_.append(data);
    done_ += Bytes(data.size());
    progress_(done_, total_);
  }

  const Shape& shape_;
  const SynthOptions& options_;
  gguf::Writer& writer_;
  const Progress& progress_;
  std::vector<std::byte> buffer_;
  Bytes done_;
  Bytes total_;
};

}  // namespace

void synthesize(const Shape& shape, const model::FormatMix& mix, const SynthOptions& options,
                const std::filesystem::path& path, const Progress& progress) {
  const gguf::Model model = describe(shape, mix);
  std::vector<gguf::NewTensor> tensors;
  for (const gguf::TensorInfo& tensor : model.tensors) {
    tensors.push_back({tensor.name, tensor.type, {tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions}});
  }
  gguf::Writer writer(path, model.metadata, tensors);
  if (options.header_only) {
    writer.leave_hole();
  } else {
    Synthesizer(shape, options, writer, progress).write_all();
  }
  writer.finish();
}

}  // namespace loadline::authoring

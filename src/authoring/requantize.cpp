#include "authoring/requantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "gguf/writer.h"

namespace loadline::authoring {
namespace {

// Values decoded and encoded at a time: enough for every thread to be busy, little enough to hold three times.
constexpr std::uint64_t kPieceValues = 1U << 22;
// Rows are handed to the threads in runs of about this many values.
constexpr std::uint64_t kRun = 1U << 14;

// A format that is only read cannot be asked for.
void require_encoder(const gguf::TensorInfo& tensor, quant::TensorType type) {
  if (tensor.type == type || quant::format_of(type).encode != nullptr) return;
  throw bad_input(fmt::format("tensor {} cannot be written as {}: that format needs an importance matrix", tensor.name,
                              quant::name_of(type)),
                  "Choose another format, such as IQ3_S or Q2_K.");
}

// `source` with the new types, as the writer wants them.
std::vector<gguf::NewTensor> new_tensors(const gguf::Model& source, const model::FormatMix& mix) {
  const model::MixedModel mixed = model::mixed_model(source);
  std::vector<gguf::NewTensor> tensors;
  for (const gguf::TensorInfo& tensor : source.tensors) {
    const quant::TensorType type = model::type_in_mix(mix, mixed, tensor);
    require_encoder(tensor, type);
    tensors.push_back({tensor.name, type, {tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions}});
  }
  return tensors;
}

// Where rows of whole blocks of any format would have got another format.
std::vector<Requantized::Replaced> replaced_formats(const gguf::Model& source, const model::FormatMix& mix) {
  constexpr std::uint64_t kLargestBlock = 256;
  const model::MixedModel mixed = model::mixed_model(source);
  std::vector<Requantized::Replaced> replaced;
  for (gguf::TensorInfo tensor : source.tensors) {
    const quant::TensorType got = model::type_in_mix(mix, mixed, tensor);
    tensor.shape[0] = align_up(tensor.shape[0], kLargestBlock);
    const quant::TensorType wanted = model::type_in_mix(mix, mixed, tensor);
    if (wanted == got) continue;
    auto row = std::ranges::find_if(replaced, [&](const auto& one) { return one.wanted == wanted && one.got == got; });
    if (row == replaced.end()) row = replaced.insert(row, {wanted, got, 0});
    ++row->tensors;
  }
  return replaced;
}

gguf::Metadata new_metadata(const gguf::Metadata& source, const model::FormatMix& mix) {
  gguf::Metadata metadata;
  for (const auto& [key, value] : source.entries()) {
    if (!key.starts_with("split.")) metadata.set(key, value);
  }
  metadata.set("general.file_type", {mix.file_type});
  metadata.set("general.quantization_version", {std::uint32_t{2}});
  return metadata;
}

class Converter {
 public:
  explicit Converter(int threads) : pool_(threads) {}

  // Decodes the rows in `from` and encodes them to `to`, in parallel. False where a value is not finite.
  bool convert(quant::TensorType old_type, quant::TensorType new_type, std::uint64_t columns, std::uint64_t rows) {
    to_.resize(quant::size_of(new_type, rows * columns).value);
    floats_.resize(rows * columns);
    const std::uint64_t least = std::max<std::uint64_t>(1, kRun / columns);
    std::atomic<bool> finite = true;
    queue_.reset();
    pool_.run([&](int /*thread*/) noexcept {
      for (;;) {
        const auto [begin, end] = queue_.claim(rows, pool_.threads(), least);
        if (begin == end) return;
        const std::uint64_t start = begin * columns;
        const std::span<float> part = std::span(floats_).subspan(start, (end - begin) * columns);
        quant::decode_row(old_type, from_.data() + quant::size_of(old_type, start).value, part.data(), part.size());
        if (!std::ranges::all_of(part, [](float value) { return std::isfinite(value); })) finite = false;
        quant::encode_row(new_type, part.data(), to_.data() + quant::size_of(new_type, start).value, part.size());
      }
    });
    return finite;
  }

  std::vector<std::byte>& from() { return from_; }
  [[nodiscard]] std::span<const std::byte> to() const { return to_; }

 private:
  ThreadPool pool_;
  WorkQueue queue_;
  std::vector<std::byte> from_, to_;
  std::vector<float> floats_;
};

}  // namespace

Requantized requantize(const gguf::Model& source, const model::FormatMix& mix, int threads,
                       const std::filesystem::path& path, const Progress& progress) {
  const std::vector<std::filesystem::path> inputs = paths_of(source.files);
  gguf::Writer writer(path, new_metadata(source.metadata, mix), new_tensors(source, mix), inputs);
  Converter converter(threads);
  Requantized result;
  result.replaced = replaced_formats(source, mix);
  const Bytes total = source.tensor_bytes();
  for (std::size_t t = 0; t < source.tensors.size(); ++t) {
    const gguf::TensorInfo& old = source.tensors[t];
    const quant::TensorType new_type = writer.tensors()[t].type;
    const bool same = old.type == new_type;
    result.was_quantised |= !same && quant::format_of(old.type).block_elements > 1;
    const std::uint64_t piece_rows = std::max<std::uint64_t>(1, kPieceValues / old.columns());
    for (std::uint64_t row = 0; row < old.rows(); row += piece_rows) {
      const std::uint64_t rows = std::min(piece_rows, old.rows() - row);
      const std::uint64_t values = rows * old.columns();
      const Bytes size = quant::size_of(old.type, values);
      converter.from().resize(size.value);
      source.files[old.file].read_at(old.offset + quant::size_of(old.type, row * old.columns()), converter.from());
      if (same) {
        writer.append(converter.from());
      } else if (converter.convert(old.type, new_type, old.columns(), rows)) {
        writer.append(converter.to());
      } else {
        throw bad_input(fmt::format("tensor {} holds values that are not finite numbers", printable(old.name)),
                        "The file is damaged, or was converted wrongly; fetch it again.");
      }
      result.before += size;
      result.after += quant::size_of(new_type, values);
      progress(result.before, total);
    }
  }
  writer.finish();
  return result;
}

}  // namespace loadline::authoring

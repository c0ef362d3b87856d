#include "backend/cpu/kernel_cases.h"

#include <cmath>
#include <cstring>

#include "backend/cpu/layout.h"
#include "base/half.h"

namespace loadline::cpu::test {

Buffer::Buffer(std::size_t bytes, int fill)
    : data_(static_cast<std::byte*>(std::aligned_alloc(64, align_up(std::max<std::size_t>(bytes, 1), 64)))) {
  std::memset(data_.get(), fill, bytes);
}

std::string_view name_of(Style style) {
  switch (style) {
    case Style::Normal: return "Normal";
    case Style::Extreme: return "Extreme";
    case Style::Zero: return "Zero";
    case Style::Denormal: return "Denormal";
    case Style::Constant: return "Constant";
    case Style::Lowest: return "Lowest";
  }
  return "";
}

namespace {

float random_value(Style style, Random& random) {
  std::normal_distribution<float> normal;
  switch (style) {
    case Style::Normal: return normal(random);
    case Style::Extreme:  // nine orders of magnitude, within what a half holds
      return std::ldexp(normal(random), static_cast<int>(random() % 30) - 20);
    case Style::Denormal: return std::ldexp(normal(random), -135);
    case Style::Constant: return 1.0F;
    case Style::Lowest: return -1.0F;
    case Style::Zero: break;
  }
  return 0.0F;
}

// A scale stored as a power of two (MXFP4).
std::byte random_exponent(Style style, Random& random) {
  switch (style) {
    case Style::Normal: return static_cast<std::byte>(115 + random() % 10);
    case Style::Extreme: return static_cast<std::byte>(100 + random() % 56);
    case Style::Denormal: return static_cast<std::byte>(1 + random() % 6);
    case Style::Constant:
    case Style::Lowest: return std::byte{127};
    case Style::Zero: break;
  }
  return std::byte{1};  // the smallest that kernels tell from zero
}

// A scale stored as a half.
std::uint16_t random_half(Style style, Random& random) {
  switch (style) {
    case Style::Normal: return float_to_half(std::normal_distribution<float>()(random) * 0.1F);
    case Style::Extreme:  // any finite half
      return static_cast<std::uint16_t>((random() & 0x83FFU) | ((random() % 31) << 10));
    case Style::Denormal: return static_cast<std::uint16_t>(random() & 0x83FFU);
    case Style::Constant:
    case Style::Lowest: return float_to_half(0.5F);
    case Style::Zero: break;
  }
  return 0;
}

}  // namespace

TestMatrix::TestMatrix(TensorType weights, std::uint32_t row_count, std::uint32_t column_count, Style style,
                       Random& random)
    : type(weights),
      rows(row_count),
      columns(column_count),
      values(std::size_t{row_count} * column_count),
      packed(quant::size_of(weights, std::uint64_t{row_count} * column_count).value) {
  const std::size_t row_bytes = quant::size_of(type, columns).value;
  file.resize(row_bytes * rows);
  if (quant::activation_kind(type) != ActivationKind::Int8) {
    for (float& value : values) value = random_value(style, random);
    for (std::uint32_t r = 0; r < rows; ++r) {
      quant::encode_row(type, values.data() + std::size_t{r} * columns, file.data() + r * row_bytes, columns);
    }
  } else {
    for (std::byte& byte : file) {
      byte = static_cast<std::byte>(style == Style::Constant ? 0xFF : style == Style::Lowest ? 0x00 : random());
    }
    const BlockLayout& layout = block_layout(type);
    for (std::size_t block = 0; block < file.size(); block += layout.bytes) {
      for (const LayoutField& field : layout.fields) {
        if (field.unit == 1) file[block + field.offset] = random_exponent(style, random);
        if (field.unit != 2) continue;
        for (std::uint32_t i = 0; i < field.size; i += 2) {
          const std::uint16_t bits = random_half(style, random);
          std::memcpy(file.data() + block + field.offset + i, &bits, 2);
        }
      }
    }
  }
  // The scale of IQ1_M is in the top bits of its last four words.
  for (std::size_t block = 0; type == TensorType::IQ1_M && block < file.size(); block += 56) {
    const std::uint16_t bits = random_half(style, random);
    for (std::size_t i = 0; i < 4; ++i) {
      std::byte& top = file[block + 48 + 2 * i + 1];
      top = (top & std::byte{0x0F}) | static_cast<std::byte>((bits >> (4 * i) & 15U) << 4U);
    }
  }
  for (std::uint32_t r = 0; r < rows; ++r) {
    quant::decode_row(type, file.data() + r * row_bytes, values.data() + std::size_t{r} * columns, columns);
  }
  repack_rows(type, columns, rows, 0, rows, file.data(), packed.data());
}

std::vector<float> random_activations(std::uint32_t tokens, std::uint32_t columns, Style style, Random& random) {
  std::vector<float> x(std::size_t{tokens} * columns);
  for (float& value : x) value = random_value(style, random);
  return x;
}

Buffer prepared(const KernelTable& table, TensorType type, const std::vector<float>& x, std::uint32_t tokens,
                std::uint32_t columns) {
  const ActivationKind kind = quant::activation_kind(type);
  Buffer out(quant::activation_bytes(kind, columns, tokens).value);
  table.prepare(kind, x.data(), columns, columns, 0, tokens, tokens, out.data());
  return out;
}

std::vector<float> restored(ActivationKind kind, const Buffer& activations, std::uint32_t tokens,
                            std::uint32_t columns) {
  std::vector<float> x(std::size_t{tokens} * columns);
  for (std::uint32_t t = 0; t < tokens; ++t) {
    for (std::uint32_t c = 0; c < columns; ++c) {
      float& value = x[std::size_t{t} * columns + c];
      if (kind == ActivationKind::Float32) {
        value = activations.as<float>()[t * align_up(columns, 16) + c];
      } else {
        const auto& block = activations.as<quant::Int8Block>()[std::size_t{c} / 256 * tokens + t];
        value = block.scale * static_cast<float>(block.values[c % 256]);
      }
    }
  }
  return x;
}

Expected expected_product(const TestMatrix& weights, const std::vector<float>& x, std::uint32_t row,
                          std::uint32_t token) {
  const float* w = weights.values.data() + std::size_t{row} * weights.columns;
  const float* v = x.data() + std::size_t{token} * weights.columns;
  double sum = 0;
  double magnitudes = 0;
  double largest = 0;
  double total = 0;
  for (std::uint32_t c = 0; c < weights.columns; ++c) {
    sum += double{w[c]} * v[c];
    magnitudes += std::fabs(double{w[c]} * v[c]);
    largest = std::max(largest, std::fabs(double{w[c]}));
    total += std::fabs(double{v[c]});
  }
  // The second term is for formats whose values are differences (scale * q - min): the difference may be small.
  return {sum, 4e-6 * magnitudes + 2e-6 * largest * total / 16 + 1e-36};
}

std::vector<const KernelTable*> tables() {
  const auto available = available_kernels();
  return {available.begin(), available.end()};
}

std::vector<TensorType> weight_types() {
  std::vector<TensorType> types;
  for (const quant::Format& format : quant::all_formats()) types.push_back(format.type);
  return types;
}

}  // namespace loadline::cpu::test

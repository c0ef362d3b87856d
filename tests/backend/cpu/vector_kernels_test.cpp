#include "backend/cpu/vector_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "backend/cpu/kernel_cases.h"

namespace loadline::cpu::test {
namespace {

constexpr float kUntouched = -777.0F;

class VectorKernelsOf : public testing::TestWithParam<const KernelTable*> {
 protected:
  std::vector<float> numbers(std::uint32_t count, float spread = 1.0F) {
    std::vector<float> x(count);
    std::normal_distribution<float> normal(0.0F, spread);
    for (float& value : x) value = normal(random_);
    return x;
  }
  const VectorKernels& kernels_ = *GetParam()->vectors;
  Random random_{7};
};
INSTANTIATE_TEST_SUITE_P(Kernels, VectorKernelsOf, testing::ValuesIn(tables()),
                         [](const auto& row) { return std::string(row.param->name); });

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST_P(VectorKernelsOf, norms_agree_with_double_arithmetic) {
  for (const NormKind kind : {NormKind::Rms, NormKind::Layer, NormKind::L2}) {
    for (const std::uint32_t columns : {1U, 15U, 64U, 100U, 130U, 4096U}) {
      for (const bool weighted : {false, true}) {
        std::vector<float> x = numbers(columns);
        for (float& value : x) value += 3;  // a mean that matters
        const std::vector<float> weight = numbers(columns);
        const std::vector<float> bias = numbers(columns);
        const double mean = std::accumulate(x.begin(), x.end(), 0.0) / columns;
        const double middle = kind == NormKind::Layer ? mean : 0;
        double squares = 0;
        for (const float value : x) squares += (value - middle) * (value - middle);
        const double length =
            kind == NormKind::L2 ? std::max(std::sqrt(squares), 1e-5) : std::sqrt(squares / columns + 1e-5);
        const Norm norm{kind, 1e-5F, weighted ? weight.data() : nullptr, weighted ? bias.data() : nullptr};
        std::vector<float> out(columns, kUntouched);
        const std::uint32_t half = columns / 2 / 16 * 16;
        kernels_.norm(norm, x.data(), out.data(), columns, half, columns);
        for (std::uint32_t c = 0; c < half; ++c) ASSERT_EQ(out[c], kUntouched);
        kernels_.norm(norm, x.data(), out.data(), columns, 0, half);
        for (std::uint32_t c = 0; c < columns; ++c) {
          const double plain = (x[c] - middle) / length;
          ASSERT_NEAR(out[c], weighted ? plain * weight[c] + bias[c] : plain, 1e-5 * (1 + std::fabs(plain)))
              << columns << " columns";
        }
        kernels_.norm(norm, x.data(), x.data(), columns, 0, columns);
        EXPECT_EQ(x, out) << "in place";
      }
    }
  }
}

TEST_P(VectorKernelsOf, activations_agree_with_double_arithmetic) {
  struct Case {
    Activation activation;
    std::function<double(double)> f;
  };
  const Case cases[] = {
      {{ActivationFunction::Identity}, [](double x) { return x; }},
      {{ActivationFunction::Silu}, [](double x) { return x * sigmoid(x); }},
      {{ActivationFunction::Gelu},
       [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {{ActivationFunction::Relu2}, [](double x) { return x > 0 ? x * x : 0; }},
      {{ActivationFunction::Sigmoid}, [](double x) { return sigmoid(x); }},
      {{ActivationFunction::Softplus}, [](double x) { return std::log1p(std::exp(x)); }},
      {{ActivationFunction::Softcap, 2.5F}, [](double x) { return 2.5 * std::tanh(x / 2.5); }},
      {{ActivationFunction::Xielu, 0.8F, 0.6F, 0.5F, -1e-6F},
       [](double x) { return x > 0 ? 0.8F * x * x + 0.5 * x : (std::expm1(std::min(x, -1e-6)) - x) * 0.6F + 0.5 * x; }},
  };
  for (const Case& c : cases) {
    for (const std::uint32_t count : {1U, 16U, 37U, 200U}) {
      std::vector<float> x = numbers(count, 4.0F);
      std::vector<float> up = numbers(count, 4.0F);
      x[0] = 0;
      if (count > 16) x[1] = 60, x[2] = -60;
      std::vector<float> out(count + 1, kUntouched);
      kernels_.activate(c.activation, x.data(), nullptr, out.data(), count);
      for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_NEAR(out[i], c.f(x[i]), 1e-5 + 2e-6 * std::fabs(c.f(x[i])))
            << "function " << static_cast<int>(c.activation.function) << " of " << x[i];
      }
      kernels_.activate(c.activation, x.data(), up.data(), out.data(), count);
      for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_NEAR(out[i], c.f(x[i]) * up[i], (1e-5 + 2e-6 * std::fabs(c.f(x[i]))) * (1 + std::fabs(up[i])));
      }
      EXPECT_EQ(out[count], kUntouched);
      kernels_.activate(c.activation, x.data(), up.data(), up.data(), count);
      EXPECT_TRUE(std::equal(up.begin(), up.end(), out.begin())) << "in place";
    }
  }
}

TEST_P(VectorKernelsOf, the_clamped_swiglu_clamps_both_sides_of_up_and_one_of_the_gate) {
  const std::vector<float> gate = {-30, 30, 1, 1, 1, 0.5F};
  const std::vector<float> up = {2, 2, 30, -30, 0, 3};
  std::vector<float> out(gate.size());
  kernels_.activate({ActivationFunction::SwigluOai, 1.702F, 7.0F}, gate.data(), up.data(), out.data(), gate.size());
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double g = std::min(gate[i], 7.0F);
    const double u = std::clamp(up[i], -7.0F, 7.0F);
    EXPECT_NEAR(out[i], g * sigmoid(1.702 * g) * (u + 1), 1e-5) << i;
  }
}

TEST_P(VectorKernelsOf, sums_products_and_factors_are_exact) {
  for (const std::uint32_t count : {1U, 16U, 33U, 1001U}) {
    const std::vector<float> a = numbers(count);
    const std::vector<float> b = numbers(count);
    std::vector<float> product(count);
    kernels_.multiply(a.data(), b.data(), product.data(), count);
    std::vector<float> scaled = a;
    kernels_.scale(scaled.data(), 0.3F, count);
    std::vector<float> sum = a;
    kernels_.add_scaled(sum.data(), b.data(), 0.5F, count);  // exact, fused or not
    for (std::uint32_t i = 0; i < count; ++i) {
      ASSERT_EQ(product[i], a[i] * b[i]);
      ASSERT_EQ(scaled[i], a[i] * 0.3F);
      ASSERT_EQ(sum[i], a[i] + 0.5F * b[i]);
    }
  }
}

// Written down a second time, with sorting.
struct Choice {
  std::vector<std::uint32_t> experts;
  std::vector<double> weights;
};
Choice expected_choice(const Routing& routing, const std::vector<float>& logits) {
  using Gating = Routing::Gating;
  const std::uint32_t n = routing.experts;
  std::vector<double> chances(logits.begin(), logits.end());
  if (routing.gating == Gating::Softmax) {
    double sum = 0;
    for (double& c : chances) sum += c = std::exp(c);
    for (double& c : chances) c /= sum;
  }
  if (routing.gating == Gating::Sigmoid) std::ranges::transform(chances, chances.begin(), sigmoid);
  if (routing.gating == Gating::SqrtSoftplus) {
    std::ranges::transform(chances, chances.begin(), [](double x) { return std::sqrt(std::log1p(std::exp(x))); });
  }
  std::vector<double> scores = chances;
  for (std::uint32_t i = 0; i < n && routing.choice_bias != nullptr; ++i) scores[i] += routing.choice_bias[i];
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  if (routing.groups > 1) {
    const std::uint32_t size = n / routing.groups;
    std::vector<std::pair<double, std::uint32_t>> groups;
    for (std::uint32_t g = 0; g < routing.groups; ++g) {
      std::vector<double> own(scores.begin() + g * size, scores.begin() + (g + 1) * size);
      std::ranges::sort(own, std::greater<>());
      groups.emplace_back(own[0] + own[1], g);
    }
    std::ranges::sort(groups, std::greater<>());
    std::erase_if(order, [&](std::uint32_t e) {
      return std::none_of(groups.begin(), groups.begin() + routing.groups_used,
                          [&](const auto& g) { return g.second == e / size; });
    });
  }
  std::ranges::stable_sort(order, [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  Choice choice;
  double sum = 0;
  for (std::uint32_t i = 0; i < routing.used; ++i) {
    const std::uint32_t e = order[i];
    double weight = chances[e];
    if (routing.gating == Gating::SoftmaxOfChosen) weight = std::exp(weight);
    if (routing.gating == Gating::SigmoidOfChosen) weight = sigmoid(weight);
    choice.experts.push_back(e);
    choice.weights.push_back(weight);
    sum += weight;
  }
  for (double& weight : choice.weights) {
    if (routing.gating == Gating::SoftmaxOfChosen) weight /= sum;
    if (routing.normalise) weight /= routing.gating == Gating::SoftmaxOfChosen ? 1 : std::max(sum, 6.1035e-5);
    weight *= routing.scale;
  }
  return choice;
}

TEST_P(VectorKernelsOf, experts_are_chosen_and_weighed) {
  using Gating = Routing::Gating;
  for (const Gating gating :
       {Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen, Gating::SqrtSoftplus, Gating::SigmoidOfChosen}) {
    for (const auto& [experts, used, groups, groups_used] :
         {std::array{8U, 2U, 1U, 1U}, {128U, 8U, 1U, 1U}, {256U, 8U, 8U, 4U}, {60U, 4U, 4U, 2U}, {5U, 5U, 1U, 1U}}) {
      for (const bool biased : {false, true}) {
        const std::vector<float> logits = numbers(experts, 2.0F);
        const std::vector<float> bias = numbers(experts, 0.5F);
        const Routing routing{
            gating, experts, used, groups, groups_used, biased, biased ? 2.5F : 1.0F, biased ? bias.data() : nullptr};
        std::vector<std::uint32_t> chosen(used);
        std::vector<float> weights(used);
        kernels_.route(routing, logits.data(), chosen.data(), weights.data());
        const Choice expected = expected_choice(routing, logits);
        EXPECT_EQ(chosen, expected.experts) << experts << " experts, gating " << static_cast<int>(gating);
        for (std::uint32_t i = 0; i < used; ++i) ASSERT_NEAR(weights[i], expected.weights[i], 2e-6);
      }
    }
  }
}

TEST_P(VectorKernelsOf, equal_and_meaningless_logits_still_choose_different_experts) {
  for (const float value : {0.0F, std::nanf("")}) {
    const std::vector<float> logits(16, value);
    std::vector<std::uint32_t> chosen(4);
    std::vector<float> weights(4);
    kernels_.route({.gating = Routing::Gating::Softmax, .experts = 16, .used = 4}, logits.data(), chosen.data(),
                   weights.data());
    EXPECT_EQ(chosen, (std::vector<std::uint32_t>{0, 1, 2, 3}));
  }
}

TEST_P(VectorKernelsOf, a_convolution_goes_on_where_the_tokens_before_ended) {
  for (const std::uint32_t channels : {1U, 16U, 50U}) {
    for (const std::uint32_t taps : {2U, 3U, 4U}) {
      constexpr std::uint32_t kTokens = 11;
      const std::vector<float> weight = numbers(channels * taps);
      const std::vector<float> bias = numbers(channels);
      const std::vector<float> x = numbers(kTokens * channels);
      const Convolution convolution{weight.data(), taps == 3 ? nullptr : bias.data(), taps, channels, taps == 4};
      std::vector<float> state((taps - 1) * channels, 0.0F);
      std::vector<float> out(kTokens * channels, kUntouched);
      const std::uint32_t half = channels / 2 / 16 * 16;
      std::uint32_t done = 0;
      for (const std::uint32_t count : {1U, 2U, 7U, 1U}) {
        for (const auto& [begin, end] : {std::pair{half, channels}, std::pair{0U, half}}) {
          kernels_.convolve(convolution, x.data() + done * channels, channels, out.data() + done * channels, channels,
                            count, state.data(), begin, end);
        }
        done += count;
      }
      for (std::uint32_t t = 0; t < kTokens; ++t) {
        for (std::uint32_t c = 0; c < channels; ++c) {
          double sum = taps == 3 ? 0 : bias[c];
          for (std::uint32_t k = 0; k < taps && k <= t; ++k) {
            sum += double{weight[c * taps + taps - 1 - k]} * x[(t - k) * channels + c];
          }
          if (taps == 4) sum *= sigmoid(sum);
          ASSERT_NEAR(out[t * channels + c], sum, 1e-5) << "token " << t << " channel " << c;
        }
      }
    }
  }
}

TEST_P(VectorKernelsOf, the_delta_net_agrees_with_double_arithmetic_in_any_cut_of_the_tokens) {
  for (const auto& [keys, values, dim, tiled] :
       {std::tuple{2U, 4U, 32U, true}, {2U, 4U, 16U, false}, {1U, 1U, 7U, true}}) {
    constexpr std::uint32_t kTokens = 9;
    const std::vector<float> q = numbers(kTokens * keys * dim);
    const std::vector<float> k = numbers(kTokens * keys * dim, 0.3F);
    const std::vector<float> v = numbers(kTokens * values * dim);
    std::vector<float> decay = numbers(kTokens * values);
    std::vector<float> beta = numbers(kTokens * values);
    for (float& d : decay) d = -std::fabs(d);
    for (float& b : beta) b = static_cast<float>(sigmoid(b));
    std::vector<float> state(std::size_t{values} * dim * dim, 0.0F);
    std::vector<float> out(kTokens * values * dim, kUntouched);
    const DeltaNet net{keys, values, dim, tiled};
    std::uint32_t done = 0;
    for (const std::uint32_t count : {1U, 6U, 2U}) {
      const DeltaRows rows{q.data() + done * keys * dim,
                           k.data() + done * keys * dim,
                           v.data() + done * values * dim,
                           keys * dim,
                           keys * dim,
                           values * dim,
                           decay.data() + done * values,
                           beta.data() + done * values,
                           values,
                           out.data() + done * values * dim,
                           values * dim,
                           state.data(),
                           count};
      const std::uint32_t half = dim / 2 / 16 * 16;
      for (std::uint32_t head = values; head-- > 0;) {
        kernels_.delta_net(net, rows, head, half, dim);
        kernels_.delta_net(net, rows, head, 0, half);
      }
      done += count;
    }
    for (std::uint32_t h = 0; h < values; ++h) {
      const std::uint32_t key_head = tiled ? h % keys : h / (values / keys);
      std::vector<double> m(std::size_t{dim} * dim, 0.0);
      for (std::uint32_t t = 0; t < kTokens; ++t) {
        const float* key = k.data() + (t * keys + key_head) * dim;
        const float* query = q.data() + (t * keys + key_head) * dim;
        for (double& value : m) value *= std::exp(double{decay[t * values + h]});
        for (std::uint32_t c = 0; c < dim; ++c) {
          double known = 0;
          for (std::uint32_t i = 0; i < dim; ++i) known += key[i] * m[i * dim + c];
          const double change = beta[t * values + h] * (v[(t * values + h) * dim + c] - known);
          double expected = 0;
          for (std::uint32_t i = 0; i < dim; ++i) expected += query[i] * (m[i * dim + c] += key[i] * change);
          ASSERT_NEAR(out[(t * values + h) * dim + c], expected, 2e-4) << "head " << h << " token " << t;
        }
      }
    }
  }
}

TEST_P(VectorKernelsOf, the_mamba2_scan_agrees_with_double_arithmetic_in_any_cut_of_the_tokens) {
  for (const auto& [heads, dim, groups, n] : {std::array{4U, 32U, 2U, 16U}, {3U, 10U, 1U, 9U}}) {
    constexpr std::uint32_t kTokens = 9;
    const std::uint32_t width = heads * dim + 2 * groups * n;
    const std::vector<float> x = numbers(kTokens * width);
    std::vector<float> dt = numbers(kTokens * heads);
    std::vector<float> a = numbers(heads);
    const std::vector<float> d = numbers(heads);
    for (float& value : dt) value = std::fabs(value);
    for (float& value : a) value = -std::fabs(value);
    std::vector<float> state(std::size_t{heads} * n * dim, 0.0F);
    std::vector<float> out(kTokens * heads * dim, kUntouched);
    const Mamba2 scan{heads, dim, groups, n, a.data(), d.data()};
    std::uint32_t done = 0;
    for (const std::uint32_t count : {1U, 6U, 2U}) {
      const float* first = x.data() + done * width;
      const MambaRows rows{first,
                           first + heads * dim,
                           first + heads * dim + groups * n,
                           width,
                           dt.data() + done * heads,
                           heads,
                           out.data() + done * heads * dim,
                           heads * dim,
                           state.data(),
                           count};
      const std::uint32_t half = dim / 2 / 16 * 16;
      for (std::uint32_t head = heads; head-- > 0;) {
        kernels_.mamba2(scan, rows, head, half, dim);
        kernels_.mamba2(scan, rows, head, 0, half);
      }
      done += count;
    }
    for (std::uint32_t h = 0; h < heads; ++h) {
      const std::uint32_t group = h / (heads / groups);
      std::vector<double> s(std::size_t{n} * dim, 0.0);
      for (std::uint32_t t = 0; t < kTokens; ++t) {
        const float* b = x.data() + t * width + heads * dim + group * n;
        const float* c = b + groups * n;
        const double step = dt[t * heads + h];
        for (std::uint32_t p = 0; p < dim; ++p) {
          const double input = x[t * width + h * dim + p];
          double expected = d[h] * input;
          for (std::uint32_t i = 0; i < n; ++i) {
            double& cell = s[i * dim + p];
            cell = cell * std::exp(step * a[h]) + step * input * b[i];
            expected += cell * c[i];
          }
          ASSERT_NEAR(out[(t * heads + h) * dim + p], expected, 1e-4) << "head " << h << " token " << t;
        }
      }
    }
  }
}

}  // namespace
}  // namespace loadline::cpu::test

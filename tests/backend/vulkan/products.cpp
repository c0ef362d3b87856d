#include "backend/vulkan/products.h"

#include <cmath>

namespace loadline::vulkan::test {

double silu(double x) { return x / (1 + std::exp(-x)); }

Result run(Gpu& gpu, const Request& request) {
  const TestMatrix& m = request.weights;
  Result result{{}, m.rows + 3};
  const Buffer weights = gpu.buffer(m.file);
  const Buffer second = request.second != nullptr ? gpu.buffer(request.second->file) : Buffer();
  const Buffer x = gpu.buffer(request.x);
  const Buffer norm = request.norm.empty() ? Buffer() : gpu.buffer(request.norm);
  const Buffer bias = request.bias.empty() ? Buffer() : gpu.buffer(request.bias);
  const Buffer out = gpu.buffer(std::vector<float>(std::size_t{request.tokens + 1} * result.stride, request.prior));
  const bool selected = (request.flags & kSelected) != 0;
  const Buffer table = gpu.buffer(selected ? std::vector<std::uint32_t>{request.tokens + 9, request.tokens}
                                           : std::vector<std::uint32_t>{request.tokens, 0});
  ProductArguments arguments{weights.address(), second.address(), x.address(),    norm.address(),
                             bias.address(),    out.address(),    table.address()};
  arguments.columns = m.columns;
  arguments.row_bytes = static_cast<std::uint32_t>(quant::size_of(m.type, m.columns).value);
  arguments.first_row = request.first_row;
  arguments.end_row = m.rows;
  arguments.result_stride = result.stride;
  arguments.flags = request.flags;
  arguments.epsilon = 1e-5F;
  arguments.first_token = request.first_token;
  gpu.run([&](CommandList& list) { gpu.operations.product(list, m.type, arguments, request.most); });
  result.values.assign(as<float>(out), as<float>(out) + std::size_t{request.tokens + 1} * result.stride);
  return result;
}

void expect_untouched(const Result& result, const Request& request) {
  for (std::uint32_t t = 0; t <= request.tokens; ++t) {
    for (std::uint32_t r = t == request.tokens ? 0 : request.weights.rows; r < result.stride; ++r) {
      ASSERT_EQ(result.at(t, r), request.prior) << "row " << r << " token " << t;
    }
  }
}

}  // namespace loadline::vulkan::test

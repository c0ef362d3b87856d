// What kernels reach is found again for the same processor and instruction set, and nothing is made of a damaged file.
#include "hardware/kernel_rates.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/test_data.h"

namespace loadline::hardware {
namespace {

TEST(KernelRates, are_found_again_for_the_same_processor_and_set_alone) {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "below" / "kernels.json";
  Cpu cpu;
  cpu.model = "Test CPU";
  cpu.cores = 2;
  const KernelRates rates{{{"Q4_K", 20e9, 2e11}, {"F16", 30e9, 1e11}}, 31e9, 15e9, 4e10, 1.5e9};
  EXPECT_FALSE(recall_kernels(file, cpu, ""));
  remember_kernels(file, cpu, "", rates);
  remember_kernels(file, cpu, "scalar", {{}, 1e9, 1e9, 1e9, 1e9});
  EXPECT_EQ(recall_kernels(file, cpu, ""), rates);
  EXPECT_EQ(recall_kernels(file, cpu, "scalar")->products.size(), 0U);
  EXPECT_FALSE(recall_kernels(file, cpu, "avx512"));
  cpu.cores = 4;
  EXPECT_FALSE(recall_kernels(file, cpu, ""));
}

TEST(KernelRates, of_a_damaged_file_are_nothing) {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "kernels.json";
  Cpu cpu;
  cpu.model = "m";
  const std::string good = R"("read_bandwidth": 1, "cache_bandwidth": 1, "attention_ops": 1, "loading": 1)";
  for (const std::string& text :
       {std::string(), std::string("["), std::string("[]"), std::string(R"({"m, 1 cores": 5})"),
        R"({"m, 1 cores": {"": {"products": 1, )" + good + "}}}",
        R"({"m, 1 cores": {"": {"products": [{"format": "F16", "bandwidth": -1, "ops": 1}], )" + good + "}}}",
        R"({"m, 1 cores": {"": {"products": [{"format": 7, "bandwidth": 1, "ops": 1}], )" + good + "}}}",
        R"({"m, 1 cores": {"": {"products": [3], )" + good + "}}}",
        std::string(R"({"m, 1 cores": {"": {"products": []}}})")}) {
    std::ofstream(file) << text;
    EXPECT_FALSE(recall_kernels(file, cpu, "")) << text;
  }
  std::ofstream(file) << R"({"m, 1 cores": {"": {"products": [{"format": "F16", "bandwidth": 1, "ops": 1}], )" + good +
                             "}}}";
  EXPECT_TRUE(recall_kernels(file, cpu, ""));
}

}  // namespace
}  // namespace loadline::hardware

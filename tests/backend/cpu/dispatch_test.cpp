#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "backend/cpu/kernel_cases.h"
#include "base/error.h"

namespace loadline::cpu::test {
namespace {

// Of the program, whether or not this processor runs them.
constexpr std::string_view kSets[] = {
#define LOADLINE_SET(name, unit, runs) #name,
#include "backend/cpu/kernels.inc"
};

class InstructionSets : public testing::TestWithParam<std::string_view> {};
INSTANTIATE_TEST_SUITE_P(Kernels, InstructionSets, testing::ValuesIn(kSets),
                         [](const auto& row) { return std::string(row.param); });

// All other tests go over those that this processor runs: what they do not see is said here, and by CTest.
TEST_P(InstructionSets, are_tested_or_skipped_visibly) {
  const auto available = available_kernels();
  if (std::ranges::find(available, GetParam(), &KernelTable::name) == available.end()) {
    GTEST_SKIP() << "this processor cannot run " << GetParam() << ": none of its kernels was tested";
  }
}

// Each in a process of its own: the choice is made once per process.
class Dispatch : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(Dispatch, every_set_has_all_kernels_and_products_of_its_own_under_its_own_name) {
  std::set<std::string_view> names;
  std::set<const void*> products;
  for (const KernelTable* table : available_kernels()) {
    names.insert(table->name);
    products.insert(reinterpret_cast<const void*>(table->matmul));
    products.insert(reinterpret_cast<const void*>(table->gated));
    for (const void* kernel :
         {reinterpret_cast<const void*>(table->prepare), reinterpret_cast<const void*>(table->matmul),
          reinterpret_cast<const void*>(table->gated), reinterpret_cast<const void*>(table->rms_norm),
          reinterpret_cast<const void*>(table->rope), reinterpret_cast<const void*>(table->add),
          reinterpret_cast<const void*>(table->store_kv), reinterpret_cast<const void*>(table->attention),
          reinterpret_cast<const void*>(table->attention_finish)}) {
      EXPECT_NE(kernel, nullptr) << table->name;
    }
  }
  EXPECT_EQ(names.size(), available_kernels().size());
  EXPECT_EQ(products.size(), 2 * available_kernels().size());
  EXPECT_EQ(available_kernels().front()->name, "scalar");
}

TEST_F(Dispatch, the_environment_forces_a_set) {
  for (const KernelTable* table : available_kernels()) {
    EXPECT_EXIT(
        {
          ::setenv("LOADLINE_ISA", std::string(table->name).c_str(), 1);
          std::exit(&kernels() == table ? 0 : 1);
        },
        testing::ExitedWithCode(0), "")
        << table->name;
  }
}

TEST_F(Dispatch, without_it_the_best_set_is_taken) {
  EXPECT_EXIT(
      {
        ::unsetenv("LOADLINE_ISA");
        std::exit(&kernels() == available_kernels().back() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(Dispatch, an_unknown_set_is_refused_with_those_there_are) {
  EXPECT_EXIT(
      {
        ::setenv("LOADLINE_ISA", "mmx", 1);
        try {
          kernels();
        } catch (const Error& error) {
          const bool named = std::string(error.what()).find("mmx") != std::string::npos &&
                             error.hint().find("scalar") != std::string::npos;
          std::exit(named && error.code() == ErrorCode::BadInput ? 0 : 1);
        }
        std::exit(2);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace loadline::cpu::test

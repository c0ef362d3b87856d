// Device memory: exact sizes, arenas in parts, and refusals.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "backend/vulkan/gpu.h"
#include "base/error.h"
#include "hardware/probe.h"
#include "hardware/unusable_gpus.h"

namespace loadline::vulkan::test {
namespace {

std::vector<Bytes> bytes(std::initializer_list<std::uint64_t> counts) {
  std::vector<Bytes> all;
  for (const std::uint64_t count : counts) all.emplace_back(count);
  return all;
}

TEST(CutArena, LeavesASmallOneWhole) { EXPECT_EQ(cut_arena(Bytes(100), Bytes(100), {}, ""), bytes({100})); }

TEST(CutArena, CutsWhereNothingIsCutInTwo) {
  const std::vector<Piece> pieces = {
      {Bytes(0), Bytes(60)}, {Bytes(60), Bytes(90)}, {Bytes(90), Bytes(150)}, {Bytes(160), Bytes(200)}};
  EXPECT_EQ(cut_arena(Bytes(210), Bytes(100), pieces, ""), bytes({90, 160, 210}));
}

TEST(CutArena, KeepsOverlappingPiecesTogether) {
  const std::vector<Piece> pieces = {{Bytes(0), Bytes(50)}, {Bytes(40), Bytes(80)}, {Bytes(80), Bytes(120)}};
  EXPECT_EQ(cut_arena(Bytes(120), Bytes(100), pieces, ""), bytes({80, 120}));
}

TEST(CutArena, RefusesAPieceThatIsTooLarge) {
  EXPECT_THROW(cut_arena(Bytes(300), Bytes(100), {{Bytes(0), Bytes(50)}, {Bytes(50), Bytes(200)}}, "it"), Error);
}

using Memory = GpuTest;

TEST_F(Memory, AnArenaInPartsHoldsExactlyItsBytesAndFindsEachPlace) {
  Messages messages;
  {
    DeviceOptions options = options_for_tests(messages);
    options.largest_allocation = 1 << 20;
    Context context(options);
    std::vector<Piece> pieces;
    for (std::uint64_t i = 0; i < 10; ++i) pieces.push_back({Bytes(i * 300 * 1024), Bytes((i + 1) * 300 * 1024)});
    const Arena arena(context, MemoryKind::Host, 3 * kMiB, pieces, "a test");
    EXPECT_EQ(arena.allocated(), 3 * kMiB);
    std::set<VkBuffer> buffers;
    for (const Piece& piece : pieces) {
      const Place place = arena.place(piece.begin);
      const Place end = arena.place(piece.end - Bytes(1));
      EXPECT_EQ(place.buffer, end.buffer);
      EXPECT_EQ(end.address - place.address, 300 * 1024 - 1);
      EXPECT_EQ(end.data - place.data, 300 * 1024 - 1);
      buffers.insert(place.buffer);
    }
    EXPECT_EQ(buffers.size(), 4U);
  }
  EXPECT_EQ(messages.take(), std::vector<std::string>{});
}

TEST_F(Memory, TheValidationLayerIsListening) {
  const Buffer small = gpu().buffer(256);
  gpu().run([&](CommandList& list) {
    const Place from{small.handle(), 0, small.address(), small.data()};
    const Place to{small.handle(), 128, small.address(), small.data()};
    list.copy(from, to, Bytes(0));  // a copy of nothing is not allowed
  });
  EXPECT_FALSE(gpu().messages.take().empty());
  EXPECT_THROW(gpu().context.check_messages(), Error);
}

TEST_F(Memory, AnUnknownDeviceIsRefusedByName) {
  Messages messages;
  DeviceOptions options = options_for_tests(messages);
  options.device = "Voodoo 2";
  try {
    const Context context(options);
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::DeviceFailure);
    EXPECT_NE(std::string(error.what()).find("Voodoo 2"), std::string::npos);
    EXPECT_NE(error.hint().find(gpu().context.info().name), std::string::npos);
  }
}

// SwiftShader has Vulkan 1.3 and less than we need.
TEST(UnusableGpus, AreNamedWithWhatTheyLack) {
  const char* driver = "/usr/lib/chromium/vk_swiftshader_icd.json";
  if (!std::filesystem::exists(driver)) GTEST_SKIP() << "no SwiftShader (package chromium-common)";
  const char* before = std::getenv("VK_ICD_FILENAMES");
  const std::string kept = before != nullptr ? before : "";
  ::setenv("VK_ICD_FILENAMES", driver, 1);
  const std::vector<hardware::UnusableGpu> unusable = hardware::list_unusable_gpus();
  std::string refusal;
  try {
    hardware::probe_gpus({"SwiftShader"});
  } catch (const Error& error) {
    refusal = error.what();
  }
  before != nullptr ? ::setenv("VK_ICD_FILENAMES", kept.c_str(), 1) : ::unsetenv("VK_ICD_FILENAMES");
  ASSERT_EQ(unusable.size(), 1U);
  EXPECT_NE(unusable[0].name.find("SwiftShader"), std::string::npos) << unusable[0].name;
  EXPECT_NE(std::ranges::find(unusable[0].lacks, "storageBuffer8BitAccess"), unusable[0].lacks.end());
  for (const std::string& lack : unusable[0].lacks) EXPECT_NE(refusal.find(lack), std::string::npos) << refusal;
}

}  // namespace
}  // namespace loadline::vulkan::test

// Device memory: exact sizes, arenas in parts, and refusals.
#include <set>

#include "backend/vulkan/gpu.h"
#include "base/error.h"

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

}  // namespace
}  // namespace loadline::vulkan::test

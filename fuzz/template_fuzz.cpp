// Any bytes as a chat template, rendered with a conversation under tight limits: it ends, with text or with an error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "chat/template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace loadline;
  constexpr std::string_view kVariables =
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "é"}]},
          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.0}}}]}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "x": "text", "n": null, "i": 7,
          "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})";
  chat::RenderOptions options;
  options.limits.output = Bytes(std::uint64_t{1} << 16);
  options.limits.memory = Bytes(std::uint64_t{1} << 20);
  options.limits.steps = 20000;
  try {
    (void)chat::Template(std::string_view(reinterpret_cast<const char*>(data), size)).render(kVariables, options);
  } catch (const Error&) {  // refused, which is fine
  }
  return 0;
}

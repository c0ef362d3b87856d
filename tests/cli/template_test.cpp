// `loadline template` as a user runs it: the prompt and nothing else, refusals, and answers taken apart.
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "support/process.h"
#include "support/test_data.h"

namespace loadline::test {
namespace {

ProcessResult run(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program().string());
  return run_process(arguments);
}

class TemplateCommand : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << content;
    return (folder_.path() / name).string();
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(TemplateCommand, writes_the_prompt_byte_for_byte_and_nothing_else) {
  const std::string source =
      file("t.jinja", "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n\n{% endfor %}{{ strftime_now('%Y') }}");
  const std::string input = file("i.json", R"({"messages": [{"role": "user", "content": "é"}]})");
  const auto result = run({"template", "--chat-template", source, "--input", input, "--now", "2026-01-02T00:00:00"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "<user>é\n\n2026");
  EXPECT_EQ(result.err, "");
}

TEST_F(TemplateCommand, a_refusal_is_bad_input_with_the_templates_sentence) {
  const std::string source = file("t.jinja", "{{ raise_exception('roles must alternate') }}");
  const auto result = run({"template", "--chat-template", source, "--input", file("i.json", "{}")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("the chat template refuses this conversation: \"roles must alternate\""), std::string::npos)
      << result.err;
}

TEST_F(TemplateCommand, what_cannot_be_read_is_named) {
  const auto broken =
      run({"template", "--chat-template", file("t.jinja", "a\n{% nosuch %}"), "--input", file("i.json", "{}")});
  EXPECT_EQ(broken.exit_code, 2);
  EXPECT_NE(broken.err.find("line 2: Encountered unknown tag 'nosuch'"), std::string::npos) << broken.err;
  const auto no_json = run({"template", "--chat-template", "chatml", "--input", file("bad.json", "{")});
  EXPECT_EQ(no_json.exit_code, 2);
  EXPECT_NE(no_json.err.find("not JSON"), std::string::npos) << no_json.err;
  EXPECT_EQ(run({"template", "--chat-template", "nosuch", "--input", file("j.json", "{}")}).exit_code, 2);
  EXPECT_EQ(run({"template", "--chat-template", "chatml"}).exit_code, 2);
}

TEST_F(TemplateCommand, continues_the_last_answer_and_fits_only_when_asked) {
  const std::string open =
      file("c.json", R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "so"}]})");
  const auto continued = run({"template", "--chat-template", "chatml", "--input", open, "--continue"});
  EXPECT_EQ(continued.out, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nso");
  const std::string strict = file("s.jinja",
                                  "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') "
                                  "}}{% endif %}{{ m.content }}{% endfor %}");
  const std::string input =
      file("s.json", R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]})");
  EXPECT_EQ(run({"template", "--chat-template", strict, "--input", input}).exit_code, 2);
  const auto fitted = run({"template", "--chat-template", strict, "--input", input, "--fit"});
  EXPECT_EQ(fitted.out, "s\n\nu");
}

TEST_F(TemplateCommand, takes_an_answer_apart) {
  const std::string output = file("o.json", R"({"format": "hermes", "tools": ["look"], "partial": false,
      "output": "<think>hm</think>Let me see.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": 1.0}}\n</tool_call>"})");
  const auto result = run({"template", "--parse", output});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out,
            "{\"content\": \"Let me see.\", \"reasoning_content\": \"hm\", \"tool_calls\": [{\"name\": \"look\", "
            "\"arguments\": {\"at\": 1.0}}]}\n");
}

}  // namespace
}  // namespace loadline::test

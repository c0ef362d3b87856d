// Fitting conversations to templates, continuing answers, the known templates, and transcripts.
#include "chat/conversation.h"

#include <gtest/gtest.h>

#include <string>

#include "chat/model_template.h"
#include "chat/transcript.h"

namespace loadline::chat {
namespace {

// Takes user and assistant in turn, and nothing else: like the first Mistral templates.
constexpr const char* kStrict =
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<' + m.role + '>' + m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

std::string fitted(const std::string& source, const std::string& messages, std::vector<std::string>* said = nullptr) {
  const Template chat_template(source);
  Conversation conversation;
  conversation.set("messages", messages);
  conversation.set("add_generation_prompt", "true");
  const auto changes = conversation.fit(capabilities_of(chat_template));
  if (said != nullptr) *said = changes;
  return conversation.render(chat_template, {});
}

TEST(capabilities, are_found_by_rendering) {
  const Capabilities strict = capabilities_of(Template(kStrict));
  EXPECT_FALSE(strict.system || strict.neighbours || strict.developer || strict.tools || strict.typed_content);
  const Capabilities chatml = capabilities_of(Template(builtin_template("chatml")));
  EXPECT_TRUE(chatml.system && chatml.neighbours && chatml.late_system);
  EXPECT_FALSE(chatml.tools || chatml.typed_content || chatml.thinking_switch);
  const Capabilities more = capabilities_of(
      Template("{% for t in tools or [] %}{{ t|tojson }}{% endfor %}{% for m in messages %}{% if m.content is string "
               "%}{{ m.content }}"
               "{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}"
               "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}"
               "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"));
  EXPECT_TRUE(more.tools && more.typed_content && more.calls && more.parallel_calls && more.thinking_switch);
}

TEST(fitting, a_system_message_goes_before_the_first_users_text) {
  std::vector<std::string> said;
  EXPECT_EQ(fitted(kStrict, R"([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])", &said),
            "<user>S\n\nU<assistant>");
  EXPECT_EQ(said.size(), 1U);
}

TEST(fitting, the_role_developer_is_system) {
  EXPECT_EQ(fitted(kStrict, R"([{"role": "developer", "content": "S"}, {"role": "user", "content": "U"}])"),
            "<user>S\n\nU<assistant>");
  EXPECT_EQ(fitted(builtin_template("chatml"),
                   R"([{"role": "developer", "content": "S"}, {"role": "user", "content": "U"}])"),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
}

TEST(fitting, equal_neighbours_are_joined_and_text_parts_too) {
  EXPECT_EQ(
      fitted(kStrict, R"([{"role": "user", "content": "A"}, {"role": "user", "content": [{"type": "text", "text": "B"},
                                {"type": "text", "text": "C"}]}])"),
      "<user>A\n\nB\nC<assistant>");
}

TEST(fitting, what_the_template_takes_stays_as_it_is) {
  std::vector<std::string> said;
  fitted(builtin_template("chatml"), R"([{"role": "system", "content": "S"}, {"role": "user", "content": "A"},
                                         {"role": "user", "content": "B"}])",
         &said);
  EXPECT_TRUE(said.empty());
}

TEST(continuing, leaves_the_last_answer_open) {
  const auto continued = [](const std::string& source, const std::string& content) {
    Conversation conversation;
    conversation.set("messages",
                     R"([{"role": "user", "content": "U"}, {"role": "assistant", "content": ")" + content + "\"}]");
    return conversation.render(Template(source), {}, true);
  };
  EXPECT_EQ(continued(builtin_template("chatml"), "so far "),
            "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nso far ");
  EXPECT_EQ(continued("{% for m in messages %}[{{ m.content|trim }}]{% endfor %}", "so far "), "[U][so far");
  Conversation nothing;
  nothing.set("messages", R"([{"role": "user", "content": "U"}])");
  EXPECT_THROW((void)nothing.render(Template(kStrict), {}, true), Error);
}

TEST(known_templates, all_parse_and_show_a_conversation_and_open_the_answer) {
  for (const std::string_view name : builtin_template_names()) {
    Conversation conversation;
    conversation.set("messages", R"([{"role": "system", "content": "SYS"}, {"role": "user", "content": "USR"},
        {"role": "assistant", "content": "ANS"}, {"role": "user", "content": "NEXT"}])");
    conversation.set("add_generation_prompt", "true");
    const std::string prompt = conversation.render(Template(builtin_template(name)), {});
    std::size_t at = 0;
    for (const char* part : {"SYS", "USR", "ANS", "NEXT"}) {
      at = prompt.find(part, at);
      EXPECT_NE(at, std::string::npos) << name << " " << part << "\n" << prompt;
    }
  }
  EXPECT_EQ(builtin_template("no such"), "");
}

TEST(model_template, is_the_models_own_or_known_by_name_or_guessed_from_the_vocabulary) {
  gguf::Metadata metadata;
  EXPECT_EQ(template_of(metadata).name, "chatml");
  EXPECT_TRUE(template_of(metadata).assumed);
  metadata.set("tokenizer.ggml.tokens", gguf::Value{gguf::Array::of(std::vector<std::string>{"a", "<start_of_turn>"})});
  metadata.set("tokenizer.ggml.bos_token_id", gguf::Value{std::uint32_t{1}});
  EXPECT_EQ(template_of(metadata).name, "gemma");
  EXPECT_EQ(bos_text(metadata), "<start_of_turn>");
  metadata.set("tokenizer.chat_template", gguf::Value{std::string("{{ 1 }}")});
  EXPECT_EQ(template_of(metadata).source, "{{ 1 }}");
  EXPECT_FALSE(template_of(metadata).assumed);
  EXPECT_EQ(template_of(metadata, "llama3").name, "llama3");
  EXPECT_THROW(template_of(metadata, "no such"), Error);
}

TEST(transcript, takes_turns_back_and_drops_the_oldest) {
  Transcript transcript = Transcript::from_json(R"([{"role": "user", "content": "1", "own": [1.0]}])");
  transcript.set_system("S");
  transcript.add_answer({"a", "r", {}});
  transcript.add("user", "2");
  EXPECT_EQ(transcript.json(),
            R"([{"role": "system", "content": "S"}, {"role": "user", "content": "1", "own": [1.0]}, )"
            R"({"role": "assistant", "content": "a", "reasoning_content": "r"}, {"role": "user", "content": "2"}])");
  Transcript cleared = transcript;
  cleared.clear();
  EXPECT_EQ(cleared.json(), R"([{"role": "system", "content": "S"}])");
  cleared.set_system("");
  cleared.clear();
  EXPECT_TRUE(cleared.empty());
  Transcript shorter = transcript;
  EXPECT_TRUE(shorter.drop_oldest());
  EXPECT_EQ(shorter.json(), R"([{"role": "system", "content": "S"}, {"role": "user", "content": "2"}])");
  EXPECT_FALSE(shorter.drop_oldest());
  EXPECT_FALSE(transcript.drop_answer());
  EXPECT_EQ(transcript.undo(), "2");
  EXPECT_TRUE(transcript.drop_answer());
  EXPECT_EQ(transcript.undo(), "1");
  EXPECT_EQ(transcript.undo(), "");
  for (const char* bad : {"", "{}", "[1]", "[{}]", "3"}) EXPECT_THROW(Transcript::from_json(bad), Error) << bad;
}

TEST(transcript, what_lies_within_the_tokens_to_keep_is_not_dropped) {
  const auto transcript = [] {
    Transcript out;
    out.set_system("sys");
    for (const char* text : {"one", "two", "three"}) {
      out.add("user", text);
      out.add("assistant", "yes");
    }
    return out;
  };
  const auto bytes = [](std::string_view text) { return text.size(); };
  Transcript all = transcript();
  ASSERT_TRUE(all.drop_oldest());
  EXPECT_EQ(all.json().find("one"), std::string::npos);
  Transcript kept = transcript();
  ASSERT_TRUE(kept.drop_oldest(5, bytes));  // "sys", and "one" begins within
  EXPECT_NE(kept.json().find("one"), std::string::npos);
  EXPECT_EQ(kept.json().find("two"), std::string::npos);
  EXPECT_NE(kept.json().find("three"), std::string::npos);
  EXPECT_FALSE(transcript().drop_oldest(-1, bytes));
  EXPECT_FALSE(transcript().drop_oldest(100, bytes));
}

}  // namespace
}  // namespace loadline::chat

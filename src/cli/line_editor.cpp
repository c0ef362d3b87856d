#include "cli/line_editor.h"

#include <histedit.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <filesystem>
#include <mutex>
#include <utility>

#include "base/visible.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "hardware/measurements.h"

namespace loadline::cli {
namespace {

constexpr int kKept = 500;  // lines of history

volatile std::sig_atomic_t interrupted = 0;
void note_interrupt(int) { interrupted = 1; }

// What is to be said while a line is edited: libedit is one thread's, which is woken to say it.
struct Aside {
  std::mutex mutex;
  bool editing = false;
  int wakes = -1;  // an eventfd; kept for good once it is made
  std::string lines;
};
Aside& aside() {
  static Aside one;
  return one;
}

// What was not said yet.
std::string take_lines() {
  const std::lock_guard lock(aside().mutex);
  std::uint64_t count = 0;
  (void)!::read(aside().wakes, &count, sizeof(count));
  return std::exchange(aside().lines, {});
}

void set_editing(bool editing) {
  const std::lock_guard lock(aside().mutex);
  aside().editing = editing && aside().wakes >= 0;
}

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt;
  std::filesystem::path file;
  bool marks_pastes = false;  // the terminal is asked to say where pasted text begins and ends
};

namespace {

// libedit asks for the prompt and gives nothing to find it by but its own handle.
char* current_prompt(EditLine* editor) {
  void* data = nullptr;
  ::el_get(editor, EL_CLIENTDATA, &data);
  return const_cast<char*>(static_cast<std::string*>(data)->c_str());
}

// The next character that is typed; before it, what others have to say. libedit's own function does the first alone.
int read_character(EditLine* editor, wchar_t* out) {
  std::mbstate_t state{};
  while (true) {
    std::array<pollfd, 2> waits = {{{STDIN_FILENO, POLLIN, 0}, {aside().wakes, POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0) return -1;  // Ctrl-C
    if (waits[1].revents != 0) {
      draw("\r\033[K" + take_lines());
      ::el_set(editor, EL_REFRESH);
      continue;
    }
    char byte = 0;
    const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
    if (count <= 0) return static_cast<int>(count);
    std::size_t length = std::mbrtowc(out, &byte, 1, &state);
    if (length == static_cast<std::size_t>(-1)) {  // it belongs to nothing before it
      state = {};
      length = std::mbrtowc(out, &byte, 1, &state);
      if (length == static_cast<std::size_t>(-1)) state = {};
    }
    if (length <= 1) return 1;
  }
}

// Pasted text is one text, however many lines it has: it waits to be sent like what was typed.
unsigned char take_paste(EditLine* editor, int) {
  constexpr std::wstring_view kEnd = L"\033[201~";
  std::wstring text;
  wchar_t c = 0;
  while (!text.ends_with(kEnd) && ::el_wgetc(editor, &c) == 1) text += c;
  if (text.ends_with(kEnd)) text.resize(text.size() - kEnd.size());
  std::wstring lines;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == L'\r') {
      if (i + 1 == text.size() || text[i + 1] != L'\n') lines += L'\n';
    } else if (text[i] == L'\t' || text[i] == L'\n' || text[i] >= L' ') {
      lines += text[i];
    }
  }
  while (lines.ends_with(L'\n')) lines.pop_back();
  ::el_winsertstr(editor, lines.c_str());
  return CC_REFRESH;
}

}  // namespace

LineEditor::LineEditor() : state_(std::make_unique<State>()) {
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) return;
  std::setlocale(LC_CTYPE, "C.UTF-8");
  state_->editor = ::el_init("loadline", stdin, stderr, stderr);
  if (state_->editor == nullptr) return;
  ::el_set(state_->editor, EL_CLIENTDATA, static_cast<void*>(&state_->prompt));
  ::el_set(state_->editor, EL_PROMPT, &current_prompt);
  ::el_set(state_->editor, EL_EDITOR, "emacs");
  {
    const std::lock_guard lock(aside().mutex);
    if (aside().wakes < 0) aside().wakes = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (aside().wakes >= 0) ::el_wset(state_->editor, EL_GETCFN, &read_character);
  }
  ::el_set(state_->editor, EL_ADDFN, "take-paste", "Insert what is pasted", &take_paste);
  ::el_set(state_->editor, EL_BIND, "\\e[200~", "take-paste", nullptr);
  const char* terminal = std::getenv("TERM");
  state_->marks_pastes = terminal != nullptr && std::string_view(terminal) != "dumb";
  state_->history = ::history_init();
  if (state_->history == nullptr) return;
  ::history(state_->history, &state_->event, H_SETSIZE, kKept);
  ::history(state_->history, &state_->event, H_SETUNIQUE, 1);
  ::el_set(state_->editor, EL_HIST, ::history, state_->history);
  state_->file = hardware::measurements_path().parent_path() / "chat_history";
  ::history(state_->history, &state_->event, H_LOAD, state_->file.c_str());
}

LineEditor::~LineEditor() {
  if (state_->history != nullptr) {
    std::error_code ignored;
    std::filesystem::create_directories(state_->file.parent_path(), ignored);
    ::history(state_->history, &state_->event, H_SAVE, state_->file.c_str());
    ::history_end(state_->history);
  }
  if (state_->editor != nullptr) ::el_end(state_->editor);
}

std::optional<LineEditor::Line> LineEditor::read(const std::string& prompt) {
  Line line;
  if (state_->editor == nullptr) {
    char* buffer = nullptr;
    std::size_t size = 0;
    const ssize_t length = ::getline(&buffer, &size, stdin);
    if (length >= 0) line.text.assign(buffer, static_cast<std::size_t>(length));
    std::free(buffer);
    if (length < 0) return std::nullopt;
  } else {
    state_->prompt = prompt;
    interrupted = 0;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = note_interrupt;  // no SA_RESTART: reading ends
    ::sigaction(SIGINT, &action, &before);
    int length = 0;
    if (state_->marks_pastes) draw("\033[?2004h");
    set_editing(true);
    const char* text = ::el_gets(state_->editor, &length);
    set_editing(false);
    if (const std::string lines = take_lines(); !lines.empty()) draw(lines);
    if (state_->marks_pastes) draw("\033[?2004l");
    ::sigaction(SIGINT, &before, nullptr);
    if (interrupted != 0) {
      say("^C");
      ::el_reset(state_->editor);
      line.interrupted = true;
      return line;
    }
    if (text == nullptr || length <= 0) return std::nullopt;
    line.text.assign(text, static_cast<std::size_t>(length));
  }
  while (line.text.ends_with('\n') || line.text.ends_with('\r')) line.text.pop_back();
  return line;
}

void LineEditor::remember(const std::string& text) {
  if (state_->history != nullptr && !text.empty()) ::history(state_->history, &state_->event, H_ENTER, text.c_str());
}

void say_aside(std::string_view line) {
  {
    const std::lock_guard lock(aside().mutex);
    if (aside().editing) {
      aside().lines += printable_lines(line) + "\n";
      const std::uint64_t one = 1;
      (void)!::write(aside().wakes, &one, sizeof(one));
      return;
    }
  }
  // An answer's line may be half written.
  say((stderr_is_terminal() && stdout_is_terminal() ? "\n" : "") + std::string(line));
}

}  // namespace loadline::cli

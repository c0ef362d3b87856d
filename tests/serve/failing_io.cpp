// Preloaded into a program (LD_PRELOAD): has one call of the system fail. Which one is said, while the program runs, in
// the file that FAILING_IO names: four numbers of 32 bits, a kind of call, how many such calls from now, what happens
// then, and, written here, whether it has happened. What cannot fail in earnest, such as writing to an eventfd, does
// not.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// As failing_io.py has them.
enum class Kind : std::int32_t { Accept, Read, Write, Open, Sync, Rename, Link, Close, Wait, Option };
enum class How : std::int32_t { Fails, IsInterrupted, IsShort, Kills };

struct Control {
  std::atomic<std::int32_t> kind, left, how, happened;
};
Control* control = nullptr;

__attribute__((constructor)) void find_control() {
  const char* path = std::getenv("FAILING_IO");
  if (path == nullptr) return;
  const int descriptor = ::open(path, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return;
  void* memory = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  if (memory != MAP_FAILED) control = static_cast<Control*>(memory);
}

bool is_now(Kind kind) {
  if (control == nullptr || control->kind.load() != static_cast<std::int32_t>(kind)) return false;
  if (control->left.fetch_sub(1) != 1) return false;
  control->happened = 1;
  if (control->how == static_cast<std::int32_t>(How::Kills)) ::kill(::getpid(), SIGKILL);
  return true;
}

bool how(How one) { return control->how == static_cast<std::int32_t>(one); }

int error_of(Kind kind, bool socket) {
  if (how(How::IsInterrupted)) return EINTR;
  switch (kind) {
    case Kind::Accept:
    case Kind::Open: return EMFILE;
    case Kind::Read: return socket ? ECONNRESET : EIO;
    case Kind::Write: return socket ? EPIPE : ENOSPC;
    case Kind::Sync:
    case Kind::Rename:
    case Kind::Close: return EIO;
    case Kind::Link: return ENOSPC;
    case Kind::Wait: return EINTR;  // nothing else can happen to it
    case Kind::Option: return ENOBUFS;
  }
  return EIO;
}

bool fails(Kind kind, bool socket = false) {
  if (!is_now(kind)) return false;
  errno = error_of(kind, socket);
  return true;
}

// Of what is read and written: how much of it, where it is less than asked for; -1: it fails; -2: as usual.
constexpr ssize_t kUsual = -2;
ssize_t verdict(Kind kind, int descriptor) {
  if (control == nullptr || control->kind.load() != static_cast<std::int32_t>(kind)) return kUsual;
  struct stat there{};
  if (::fstat(descriptor, &there) != 0) return kUsual;
  const bool socket = S_ISSOCK(there.st_mode);
  if (!socket && !S_ISREG(there.st_mode) && !S_ISFIFO(there.st_mode)) return kUsual;
  if (!is_now(kind)) return kUsual;
  if (how(How::IsShort)) return 1;
  errno = error_of(kind, socket);
  return -1;
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

mode_t mode_of(int flags, va_list more) { return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0; }

}  // namespace

// The usual function of this name and type.
#define NEXT(name) static auto* const kNext = next<decltype(name)>(#name)

extern "C" {

int accept(int descriptor, sockaddr* address, socklen_t* size) {
  NEXT(accept);
  return fails(Kind::Accept, true) ? -1 : kNext(descriptor, address, size);
}
int accept4(int descriptor, sockaddr* address, socklen_t* size, int flags) {
  NEXT(accept4);
  return fails(Kind::Accept, true) ? -1 : kNext(descriptor, address, size, flags);
}

ssize_t read(int descriptor, void* out, size_t size) {
  NEXT(read);
  const ssize_t less = verdict(Kind::Read, descriptor);
  return less == -1 ? -1 : kNext(descriptor, out, less == 1 && size > 0 ? 1 : size);
}
ssize_t pread(int descriptor, void* out, size_t size, off_t at) {
  NEXT(pread);
  const ssize_t less = verdict(Kind::Read, descriptor);
  return less == -1 ? -1 : kNext(descriptor, out, less == 1 && size > 0 ? 1 : size, at);
}
ssize_t pread64(int descriptor, void* out, size_t size, off64_t at) {
  NEXT(pread64);
  const ssize_t less = verdict(Kind::Read, descriptor);
  return less == -1 ? -1 : kNext(descriptor, out, less == 1 && size > 0 ? 1 : size, at);
}
ssize_t recv(int descriptor, void* out, size_t size, int flags) {
  NEXT(recv);
  const ssize_t less = verdict(Kind::Read, descriptor);
  return less == -1 ? -1 : kNext(descriptor, out, less == 1 && size > 0 ? 1 : size, flags);
}
ssize_t recvmsg(int descriptor, msghdr* message, int flags) {
  NEXT(recvmsg);
  const ssize_t less = verdict(Kind::Read, descriptor);
  if (less == -1) return -1;
  if (less == kUsual || message->msg_iovlen == 0) return kNext(descriptor, message, flags);
  iovec first = message->msg_iov[0];
  first.iov_len = first.iov_len > 0 ? 1 : 0;
  msghdr part = *message;
  part.msg_iov = &first;
  part.msg_iovlen = 1;
  return kNext(descriptor, &part, flags);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  NEXT(write);
  const ssize_t less = verdict(Kind::Write, descriptor);
  return less == -1 ? -1 : kNext(descriptor, data, less == 1 && size > 0 ? 1 : size);
}
ssize_t writev(int descriptor, const iovec* parts, int count) {
  NEXT(writev);
  const ssize_t less = verdict(Kind::Write, descriptor);
  if (less == -1) return -1;
  if (less == kUsual || count == 0) return kNext(descriptor, parts, count);
  iovec first = parts[0];
  first.iov_len = first.iov_len > 0 ? 1 : 0;
  return kNext(descriptor, &first, 1);
}
ssize_t send(int descriptor, const void* data, size_t size, int flags) {
  NEXT(send);
  const ssize_t less = verdict(Kind::Write, descriptor);
  return less == -1 ? -1 : kNext(descriptor, data, less == 1 && size > 0 ? 1 : size, flags);
}
ssize_t sendmsg(int descriptor, const msghdr* message, int flags) {
  NEXT(sendmsg);
  const ssize_t less = verdict(Kind::Write, descriptor);
  if (less == -1) return -1;
  if (less == kUsual || message->msg_iovlen == 0) return kNext(descriptor, message, flags);
  iovec first = message->msg_iov[0];
  first.iov_len = first.iov_len > 0 ? 1 : 0;
  msghdr part = *message;
  part.msg_iov = &first;
  part.msg_iovlen = 1;
  return kNext(descriptor, &part, flags);
}

int open(const char* path, int flags, ...) {
  NEXT(open);
  va_list more;
  va_start(more, flags);
  const mode_t mode = mode_of(flags, more);
  va_end(more);
  return fails(Kind::Open) ? -1 : kNext(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  NEXT(open64);
  va_list more;
  va_start(more, flags);
  const mode_t mode = mode_of(flags, more);
  va_end(more);
  return fails(Kind::Open) ? -1 : kNext(path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  NEXT(openat);
  va_list more;
  va_start(more, flags);
  const mode_t mode = mode_of(flags, more);
  va_end(more);
  return fails(Kind::Open) ? -1 : kNext(folder, path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
  NEXT(fopen);
  return fails(Kind::Open) ? nullptr : kNext(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  NEXT(fopen64);
  return fails(Kind::Open) ? nullptr : kNext(path, mode);
}

int fsync(int descriptor) {
  NEXT(fsync);
  return fails(Kind::Sync) ? -1 : kNext(descriptor);
}
int rename(const char* from, const char* to) noexcept {
  NEXT(rename);
  return fails(Kind::Rename) ? -1 : kNext(from, to);
}
int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  NEXT(linkat);
  return fails(Kind::Link) ? -1 : kNext(from_folder, from, to_folder, to, flags);
}
// It is closed, whatever it says.
int close(int descriptor) {
  NEXT(close);
  const bool now = is_now(Kind::Close);
  const int result = kNext(descriptor);
  if (!now) return result;
  errno = error_of(Kind::Close, false);
  return -1;
}

int epoll_wait(int descriptor, epoll_event* events, int most, int patience) {
  NEXT(epoll_wait);
  return fails(Kind::Wait) ? -1 : kNext(descriptor, events, most, patience);
}
int setsockopt(int descriptor, int level, int name, const void* value, socklen_t size) noexcept {
  NEXT(setsockopt);
  return fails(Kind::Option, true) ? -1 : kNext(descriptor, level, name, value, size);
}
int getpeername(int descriptor, sockaddr* address, socklen_t* size) noexcept {
  NEXT(getpeername);
  return fails(Kind::Option, true) ? -1 : kNext(descriptor, address, size);
}

}  // extern "C"

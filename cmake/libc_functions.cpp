// What libstdc++ takes of a libc newer than many machines have, for a program that is carried to them (portable.cmake).
#include <stdlib.h>
#include <sys/random.h>

#include <cstdint>

// glibc has it since 2.36, std::random_device asks for it.
extern "C" std::uint32_t arc4random() noexcept {
  std::uint32_t value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
  }
  return value;
}

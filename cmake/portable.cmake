# A program to carry: libraries of Debian's as archives, so that the machine it comes to needs libc alone. Included by
# options.cmake; objects are compiled as for other builds, so that ccache has them.

set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
set(OPENSSL_USE_STATIC_LIBS TRUE)
# -u: libstdc++ comes last, and would find its libc's.
add_link_options(-static-libstdc++ -static-libgcc -Wl,-u,arc4random)

# Debian has libfmt as a shared library alone; its headers hold the source.
add_library(loadline_fmt STATIC ${CMAKE_CURRENT_LIST_DIR}/fmt_functions.cpp ${CMAKE_CURRENT_LIST_DIR}/libc_functions.cpp)
target_compile_definitions(loadline_fmt INTERFACE FMT_SHARED)  # as with the shared one
add_library(fmt::fmt ALIAS loadline_fmt)

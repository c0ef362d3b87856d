# Compiler settings every target shares, and the helpers the module lists are written with.

option(LOADLINE_TESTS "Build the tests" ON)
option(LOADLINE_BENCHMARKS "Offer the benchmarks in bench/ as target `benchmarks`" ON)
option(LOADLINE_FUZZERS "Build the libFuzzer targets (needs clang)" OFF)
option(LOADLINE_TOGETHER "Compile the sources of a module together: much sooner built from nothing, later after a change" ON)
option(LOADLINE_PORTABLE "Link everything into the program but libc and what is opened at run time" OFF)
set(LOADLINE_SANITIZE "" CACHE STRING "Sanitizers to build with: address,undefined or thread")

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(LOADLINE_CCACHE ccache)
if(LOADLINE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LOADLINE_CCACHE})
endif()

# Each lists the tests of the folders that run under that sanitizer too (tests/CMakeLists.txt says which).
add_custom_target(asan_tests)
add_custom_target(tsan_tests)
add_custom_target(benchmarks)
add_custom_target(fuzzers)

find_package(Threads REQUIRED)
if(LOADLINE_PORTABLE)
  include(cmake/portable.cmake)
else()
  find_package(fmt REQUIRED)
endif()
find_package(nlohmann_json REQUIRED)

add_library(loadline_flags INTERFACE)
target_compile_options(loadline_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # The compiler collects its own garbage from 512 MiB on instead of 128: a seventh of its time.
  target_compile_options(loadline_flags INTERFACE --param=ggc-min-heapsize=524288)
endif()
if(LOADLINE_SANITIZE)
  target_compile_options(loadline_flags INTERFACE
    -fsanitize=${LOADLINE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(loadline_flags INTERFACE -fsanitize=${LOADLINE_SANITIZE})
endif()
if(LOADLINE_FUZZERS)  # the library code too must count its branches, or the fuzzer is blind
  target_compile_options(loadline_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# loadline_module(NAME [COLD] SOURCES ... [DEPENDS ...] [APART source...]): one static library per folder of src/. DEPENDS
# names the modules (and outside libraries) it may use; a module that is not named cannot be linked, which keeps the arrows
# downwards. Sources are compiled together, a dozen at a time: most of a source's time is its headers. Names that two
# sources of a module define for themselves must therefore differ. APART: compiled alone. COLD: little time is spent in it,
# so the compiler need not take long either.
function(loadline_module name)
  cmake_parse_arguments(ARG "COLD" "" "SOURCES;DEPENDS;APART" ${ARGN})
  add_library(loadline_${name} STATIC ${ARG_SOURCES} ${ARG_APART})
  target_include_directories(loadline_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(loadline_${name} PUBLIC loadline_flags ${ARG_DEPENDS})
  if(ARG_COLD)
    loadline_cold(loadline_${name})
  endif()
  loadline_together(loadline_${name})
  set_source_files_properties(${ARG_APART} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# Compiles a target's sources together, with the headers from outside that most of them include compiled once
# (src/headers.h). Not where lint looks at each (the preset of the fuzzers), nor by other compilers.
function(loadline_together target)
  if(NOT LOADLINE_TOGETHER OR LOADLINE_FUZZERS)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12)
  get_target_property(cold ${target} LOADLINE_COLD)
  if(cold)
    set(headers loadline_headers_cold)
  else()
    set(headers loadline_headers)
  endif()
  if(TARGET ${headers})
    target_precompile_headers(${target} REUSE_FROM ${headers})
  endif()
endfunction()

# Less optimised, in about three quarters of the time. (Sanitizers' builds are not optimised further as it is.)
function(loadline_cold target)
  if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo" AND NOT LOADLINE_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
    set_target_properties(${target} PROPERTIES LOADLINE_COLD ON)
  endif()
endfunction()

# loadline_test(NAME SOURCES ... [DEPENDS ...] [LABELS ...]): one GoogleTest program, registered with CTest under NAME.
# Tests are compiled unoptimised, with the headers they have in common compiled once (tests/support/headers.h): what takes
# time in them is the library's code. But for the folders that compute much themselves to compare with.
# The label `slow` keeps a test out of `./dev test --fast`, `asan` and `tsan` take it into the run under these; the name
# of its folder is a label of every test.
function(loadline_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} loadline_test_support)
  cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
  if(LOADLINE_SANITIZE OR NOT folder IN_LIST LOADLINE_OPTIMISED_TESTS)
    loadline_unoptimised(${name})
    if(TARGET loadline_test_headers)
      target_precompile_headers(${name} REUSE_FROM loadline_test_headers)
    endif()
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set(labels ${folder} ${ARG_LABELS})
  foreach(sanitizer asan tsan)
    if(folder IN_LIST LOADLINE_FOLDERS_UNDER_${sanitizer} OR sanitizer IN_LIST ARG_LABELS)
      list(APPEND labels ${sanitizer})
      add_dependencies(${sanitizer}_tests ${name})
    endif()
  endforeach()
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT 600
    ENVIRONMENT "LOADLINE_PROGRAM=$<TARGET_FILE_DIR:loadline>/loadline;LOADLINE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

# With sanitizers it is the library that is watched. Compiling the tests to be watched as closely took most of the time.
function(loadline_unoptimised target)
  target_compile_options(${target} PRIVATE -O0)
  if(LOADLINE_SANITIZE)
    target_compile_options(${target} PRIVATE -fno-sanitize=undefined)
  endif()
endfunction()

# loadline_benchmark(NAME_bench SOURCES ... [DEPENDS ...]): one google-benchmark program in build/PRESET/bench, run by
# `./dev bench`. Not part of the default build.
function(loadline_benchmark name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} loadline_flags benchmark::benchmark benchmark::benchmark_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  add_dependencies(benchmarks ${name})
endfunction()

# loadline_fuzzer(NAME_fuzz SOURCES ... [DEPENDS ...]): one libFuzzer program in build/fuzz/fuzz, run by `./dev fuzz`.
# Seeds, where there are any, lie in fuzz/seeds/NAME_fuzz.
function(loadline_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} loadline_flags)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)  # support/memory_file.h
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  add_dependencies(fuzzers ${name})
endfunction()

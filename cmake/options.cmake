# Compiler settings every target shares, and the helpers the module lists are written with.

option(LOADLINE_TESTS "Build the tests" ON)
option(LOADLINE_BENCHMARKS "Build the benchmarks in bench/" OFF)
option(LOADLINE_FUZZERS "Build the libFuzzer targets (needs clang)" OFF)
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

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)

add_library(loadline_flags INTERFACE)
target_compile_options(loadline_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough)
if(LOADLINE_SANITIZE)
  target_compile_options(loadline_flags INTERFACE
    -fsanitize=${LOADLINE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(loadline_flags INTERFACE -fsanitize=${LOADLINE_SANITIZE})
endif()

# loadline_module(NAME SOURCES ... [DEPENDS ...]): one static library per folder of src/. DEPENDS names the modules
# (and outside libraries) it may use; a module that is not named cannot be linked, which keeps the arrows downwards.
function(loadline_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(loadline_${name} STATIC ${ARG_SOURCES})
  target_include_directories(loadline_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(loadline_${name} PUBLIC loadline_flags ${ARG_DEPENDS})
endfunction()

# loadline_test(NAME SOURCES ... [DEPENDS ...] [LABELS ...]): one GoogleTest program, registered with CTest under NAME.
# The label `slow` keeps a test out of `./dev test --fast`.
function(loadline_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS} loadline_test_support)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600
    ENVIRONMENT "LOADLINE_PROGRAM=$<TARGET_FILE_DIR:loadline>/loadline;LOADLINE_SOURCE_DIR=${PROJECT_SOURCE_DIR}")
endfunction()

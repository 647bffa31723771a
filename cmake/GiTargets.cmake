# SPDX-License-Identifier: Apache-2.0
# Compiler flags common to all targets, and the few helpers the rooms share.

add_library(gi_flags INTERFACE)
target_compile_definitions(gi_flags INTERFACE _GNU_SOURCE GI_VERSION="${PROJECT_VERSION}")
target_compile_options(
  gi_flags
  INTERFACE -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
            -Wformat=2 $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> -Wvla -Wno-unused-parameter -fvisibility=hidden -fno-strict-aliasing)
if(GI_FAILPOINTS)
  target_compile_definitions(gi_flags INTERFACE GI_FAILPOINTS)
endif()
if(GI_CUDART_INTEROP)
  target_compile_definitions(gi_flags INTERFACE GI_CUDART_INTEROP)
endif()
if(GI_SANITIZE)
  target_compile_options(gi_flags INTERFACE -fsanitize=${GI_SANITIZE} -fno-omit-frame-pointer
                                            -fno-sanitize-recover=all)
  target_link_options(gi_flags INTERFACE -fsanitize=${GI_SANITIZE})
endif()
if(GI_FUZZ)
  # Coverage of all our code, or libFuzzer is blind.
  target_compile_options(gi_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(gi_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(GI_HARDENING)
  target_compile_options(
    gi_flags INTERFACE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
                       -fcf-protection)
  target_link_options(gi_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()

# Generated code (protobuf-c) is not held to our warnings.
function(gi_generated_target name)
  target_compile_options(${name} PRIVATE -w)
endfunction()

# gi_add_test(NAME name SOURCES ... LIBS ... [LABELS ...] [TIMEOUT s] [CMOCKA])
# Builds one test program from tests/ and registers it with ctest. A test that
# exits with 77 is reported as skipped, and says what it needs.
function(gi_add_test)
  cmake_parse_arguments(T "CMOCKA" "NAME;TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
  add_executable(${T_NAME} ${T_SOURCES})
  target_link_libraries(${T_NAME} PRIVATE gi_flags ${T_LIBS})
  if(T_CMOCKA)
    target_link_libraries(${T_NAME} PRIVATE cmocka)
  endif()
  add_test(NAME ${T_NAME} COMMAND ${T_NAME} ${T_ARGS})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  set_tests_properties(${T_NAME} PROPERTIES TIMEOUT ${T_TIMEOUT} SKIP_RETURN_CODE 77 LABELS
                                            "${T_LABELS}")
endfunction()

# gi_add_fuzz(NAME name SOURCES ... LIBS ... CORPUS dir)
# One decoder's fuzz target: `int LLVMFuzzerTestOneInput(const uint8_t *, size_t)`.
# With GI_FUZZ it is linked against libFuzzer; always it is linked against
# tests/fuzz/replay.c, which runs every corpus file through it as a ctest.
function(gi_add_fuzz)
  cmake_parse_arguments(F "" "NAME;CORPUS" "SOURCES;LIBS" ${ARGN})
  add_executable(${F_NAME} ${F_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
  target_link_libraries(${F_NAME} PRIVATE gi_flags ${F_LIBS})
  add_test(NAME ${F_NAME} COMMAND ${F_NAME} ${F_CORPUS})
  set_tests_properties(${F_NAME} PROPERTIES TIMEOUT 300 LABELS "fuzz")
  if(GI_FUZZ)
    add_executable(${F_NAME}-libfuzzer ${F_SOURCES})
    target_link_libraries(${F_NAME}-libfuzzer PRIVATE gi_flags ${F_LIBS} -fsanitize=fuzzer)
  endif()
endfunction()

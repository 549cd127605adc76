# What all targets share: warnings, sanitizers, and one way to declare a module and a test.
option(SLUICE_WERROR "warnings are errors (CI)" OFF)
set(SLUICE_SANITIZE "" CACHE STRING "sanitizers for everything, e.g. address,undefined")

add_library(sluice_flags INTERFACE)
target_include_directories(sluice_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(sluice_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
    -Wold-style-cast -Wimplicit-fallthrough
    # GCC 12 sees overlapping copies in std::string's operator+ where there are none (its bug 105651).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    $<$<BOOL:${SLUICE_WERROR}>:-Werror>)
if(CMAKE_UNITY_BUILD)
    # Sources that are included look like headers, and -O1 knows less of what is initialized.
    target_compile_options(sluice_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage -Wno-maybe-uninitialized>)
endif()
if(SLUICE_SANITIZE)
    target_compile_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=all)
    target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
endif()
find_program(SLUICE_MOLD mold)
if(SLUICE_MOLD)
    target_link_options(sluice_flags INTERFACE -fuse-ld=mold)
endif()

# sluice_module(NAME): a static library, `sluice::NAME`. Sources and dependencies are the module's own business.
function(sluice_module name)
    add_library(${name} STATIC)
    add_library(sluice::${name} ALIAS ${name})
    target_link_libraries(${name} PUBLIC sluice_flags)
endfunction()

# sluice_test(NAME LABEL label SOURCES ... LIBRARIES ...): a GoogleTest program that ctest knows under `label`.
# `ninja LABEL_tests` builds all of one label. Without SLUICE_UNIT_TESTS unit tests are neither built by
# default nor known to ctest.
option(SLUICE_UNIT_TESTS "build and run the unit tests in this tree" ON)
function(sluice_test name)
    cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE sluice_flags ${ARG_LIBRARIES} GTest::gtest_main)
    if(NOT TARGET ${ARG_LABEL}_tests)
        add_custom_target(${ARG_LABEL}_tests)
    endif()
    add_dependencies(${ARG_LABEL}_tests ${name})
    if(ARG_LABEL STREQUAL "unit" AND NOT SLUICE_UNIT_TESTS)
        set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
        return()
    endif()
    if(ARG_LABEL STREQUAL "unit")
        # What a unit test itself does needs no speed; without this, a third of its compile time is the optimizer's.
        target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O0>)
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT 600)
endfunction()

# sluice_bench(NAME SOURCES ... LIBRARIES ...): a Google Benchmark program. `ninja bench` builds them all;
# scripts/bench runs them from the release tree.
add_custom_target(bench)
function(sluice_bench name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${name} EXCLUDE_FROM_ALL ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE sluice_flags ${ARG_LIBRARIES} benchmark::benchmark_main)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
    add_dependencies(bench ${name})
endfunction()

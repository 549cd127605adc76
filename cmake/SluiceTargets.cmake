# What all targets share: warnings, sanitizers, and one way to declare a module and a test.
option(SLUICE_WERROR "warnings are errors (CI)" OFF)
set(SLUICE_SANITIZE "" CACHE STRING "sanitizers for everything, e.g. address,undefined")

add_library(sluice_flags INTERFACE)
target_include_directories(sluice_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(sluice_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
    -Wold-style-cast -Wimplicit-fallthrough
    $<$<BOOL:${SLUICE_WERROR}>:-Werror>)
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
function(sluice_test name)
    cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE sluice_flags ${ARG_LIBRARIES} GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT 600)
endfunction()

# Read by ctest, not by the configuration: adds the unit tests of another build tree to this one's.
if(DEFINED ENV{SLUICE_UNIT_TREE})
    foreach(module model config ingest state sinks daemon)
        subdirs("$ENV{SLUICE_UNIT_TREE}/tests/unit/${module}")
    endforeach()
endif()

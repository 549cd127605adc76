#include "daemon/version.h"

#include <gnu/libc-version.h>
#include <librdkafka/rdkafka.h>
#include <sys/utsname.h>
#include <xxhash.h>
#include <zstd.h>

#include <boost/version.hpp>

namespace sluice::daemon {
namespace {

std::string dotted(unsigned number, unsigned scale) {
    return std::to_string(number / scale / scale) + "." + std::to_string(number / scale % scale) +
           "." + std::to_string(number % scale);
}

std::string running_kernel() {
    utsname names{};
    return uname(&names) == 0 ? names.release : "";
}

}  // namespace

std::string version() { return SLUICE_VERSION; }

std::vector<LibraryVersion> library_versions() {
    // What a library does not say in its headers, the build asked its package for.
    return {
        {"compiler", __VERSION__, ""},
        {"libc", std::to_string(__GLIBC__) + "." + std::to_string(__GLIBC_MINOR__),
         gnu_get_libc_version()},
        {"kernel", "", running_kernel()},
        {"librdkafka", SLUICE_RDKAFKA_VERSION, rd_kafka_version_str()},
        {"rocksdb", SLUICE_ROCKSDB_VERSION, ""},
        {"liburing", SLUICE_LIBURING_VERSION, ""},
        {"hiredis", SLUICE_HIREDIS_VERSION, ""},
        {"boost",
         std::to_string(BOOST_VERSION / 100'000) + "." +
             std::to_string(BOOST_VERSION / 100 % 1'000) + "." +
             std::to_string(BOOST_VERSION % 100),
         ""},
        {"simdjson", SLUICE_SIMDJSON_VERSION, ""},
        {"toml++", SLUICE_TOMLPLUSPLUS_VERSION, ""},
        {"xxhash", dotted(XXH_VERSION_NUMBER, 100), dotted(XXH_versionNumber(), 100)},
        {"zstd", ZSTD_VERSION_STRING, ZSTD_versionString()},
        {"spdlog", SLUICE_SPDLOG_VERSION, ""},
        {"nlohmann-json", SLUICE_JSON_VERSION, ""},
        {"CLI11", SLUICE_CLI11_VERSION, ""},
        {"libsystemd", SLUICE_SYSTEMD_VERSION, ""},
    };
}

}  // namespace sluice::daemon

// simulation [--seeds N] [--first S] [--seed S [--narrate]] [--jobs J]: runs seeds, says which
// failed and how to repeat them.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/simulation/simulation.h"

namespace {

using sluice::simulation::Run;

void print(std::uint64_t seed, const Run& run) {
    std::printf(
        "seed %llu: %s (%llu steps, %llu crashes, %llu checkpoints, %llu records, %llu keys, %llu "
        "losses, %llu barriers, "
        "trace %016llx)\n",
        static_cast<unsigned long long>(seed), run.failure.empty() ? "well" : run.failure.c_str(),
        static_cast<unsigned long long>(run.steps), static_cast<unsigned long long>(run.crashes),
        static_cast<unsigned long long>(run.checkpoints),
        static_cast<unsigned long long>(run.records), static_cast<unsigned long long>(run.keys),
        static_cast<unsigned long long>(run.losses), static_cast<unsigned long long>(run.barriers),
        static_cast<unsigned long long>(run.trace));
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t first = 1;
    std::uint64_t seeds = 1000;
    unsigned jobs = std::thread::hardware_concurrency();
    bool one = false;
    sluice::simulation::Limits limits;
    for (int i = 1; i < argc; ++i) {
        const auto number = [&] {
            return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0;
        };
        if (std::strcmp(argv[i], "--seeds") == 0) {
            seeds = number();
        } else if (std::strcmp(argv[i], "--first") == 0) {
            first = number();
        } else if (std::strcmp(argv[i], "--seed") == 0) {
            first = number();
            seeds = 1;
            one = true;
        } else if (std::strcmp(argv[i], "--jobs") == 0) {
            jobs = static_cast<unsigned>(number());
        } else if (std::strcmp(argv[i], "--narrate") == 0) {
            limits.narrate = true;
        } else {
            std::fprintf(stderr,
                         "usage: %s [--seeds N] [--first S] [--jobs J] | --seed S [--narrate]\n",
                         argv[0]);
            return 64;
        }
    }
    std::atomic<std::uint64_t> next = first;
    std::atomic<std::uint64_t> failed = 0;
    std::mutex mutex;
    Run total;
    const auto work = [&] {
        for (std::uint64_t seed = next++; seed < first + seeds; seed = next++) {
            const Run run = sluice::simulation::simulate(seed, limits);
            std::lock_guard lock(mutex);
            total.steps += run.steps;
            total.crashes += run.crashes;
            total.checkpoints += run.checkpoints;
            total.records += run.records;
            total.losses += run.losses;
            total.damages += run.damages;
            total.fresh_starts += run.fresh_starts;
            total.reloads += run.reloads;
            total.live_reloads += run.live_reloads;
            total.ends += run.ends;
            total.barriers += run.barriers;
            total.savepoints += run.savepoints;
            total.completions += run.completions;
            total.rollbacks += run.rollbacks;
            total.full_disks += run.full_disks;
            total.disk_deaths += run.disk_deaths;
            if (one || !run.failure.empty()) {
                print(seed, run);
            }
            if (!run.failure.empty()) {
                ++failed;
                std::printf("    repeat: %s --seed %llu --narrate\n", argv[0],
                            static_cast<unsigned long long>(seed));
                std::fflush(stdout);
            }
        }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::max(1u, one ? 1 : jobs); ++i) {
        threads.emplace_back(work);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::printf(
        "%llu seeds from %llu: %llu failed; %llu steps, %llu crashes, %llu checkpoints, %llu "
        "records, %llu barriers, %llu reloads, %llu of them live, %llu stops and drains, %llu "
        "losses of Redis' data, %llu damaged "
        "checkpoints, %llu fresh starts, %llu savepoints, %llu of them seen complete, %llu starts "
        "from one, %llu full disks, %llu lives ended by the disk\n",
        static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(first),
        static_cast<unsigned long long>(failed.load()),
        static_cast<unsigned long long>(total.steps),
        static_cast<unsigned long long>(total.crashes),
        static_cast<unsigned long long>(total.checkpoints),
        static_cast<unsigned long long>(total.records),
        static_cast<unsigned long long>(total.barriers),
        static_cast<unsigned long long>(total.reloads),
        static_cast<unsigned long long>(total.live_reloads),
        static_cast<unsigned long long>(total.ends), static_cast<unsigned long long>(total.losses),
        static_cast<unsigned long long>(total.damages),
        static_cast<unsigned long long>(total.fresh_starts),
        static_cast<unsigned long long>(total.savepoints),
        static_cast<unsigned long long>(total.completions),
        static_cast<unsigned long long>(total.rollbacks),
        static_cast<unsigned long long>(total.full_disks),
        static_cast<unsigned long long>(total.disk_deaths));
    return failed == 0 ? 0 : 1;
}
